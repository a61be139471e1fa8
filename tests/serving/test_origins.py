"""Requests that a page of another site makes a visitor's browser send, and names that such a page points here."""

import pytest
from starlette.routing import Mount

from finerank.serving.origins import SAFE_METHODS, host_name

EVIL = "https://evil.example"
BODY = {"query": "q", "documents": ["a"]}
FOREIGN = [
    {"origin": EVIL},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"origin": "not an [origin"},
    {"sec-fetch-site": "cross-site"},
    {"origin": "http://localhost:1", "sec-fetch-site": "same-site"},
    {"origin": EVIL, "sec-fetch-site": "cross-site"},
]


def acting_paths(server) -> list[tuple[str, str]]:
    """Every path and method that may do something."""
    routes = [route for route in server.application.asgi.routes if not isinstance(route, Mount)]
    return [(method, route.path) for route in routes for method in route.methods if method not in SAFE_METHODS]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_foreign_page_may_do_nothing_on_any_path(start_server, headers) -> None:
    server = start_server()
    paths = acting_paths(server)
    assert {"/finerank/v1/rerank", "/finerank/v1/model", "/finerank/v1/health/ranking/baseline", "/v1/rerank"} <= {
        path for _, path in paths
    }
    for method, path in [*paths, ("PUT", "/finerank/v1/rerank"), ("POST", "/no/such/path"), ("DELETE", "/")]:
        # what mode: "no-cors" sends: no preflight, a content type that forms may have
        answer = server.http.request(method, path, content=b"{}", headers={"content-type": "text/plain", **headers})
        assert answer.status_code == 403, path
        assert "cors_origins" in answer.text
    assert server.http.get("/finerank/v1/health/ranking").json()["requests"] == 0


def test_each_api_says_so_in_its_own_shape(server) -> None:
    assert "detail" in server.http.post("/jina/v1/rerank", json=BODY, headers={"origin": EVIL}).json()
    assert server.http.post("/v2/rerank", json=BODY, headers={"origin": EVIL}).status_code == 403


def test_a_key_does_not_make_a_foreign_page_welcome(start_server) -> None:
    server = start_server(api_keys=("key",))
    answer = server.http.post("/finerank/v1/rerank", json=BODY, headers={"origin": EVIL, "authorization": "Bearer key"})
    assert answer.status_code == 403


def test_own_pages_and_other_programs_may(server) -> None:
    own = server.url
    for headers in (
        {},
        {"origin": own},
        {"origin": own.upper().replace("HTTP", "http"), "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://proxy.example", "sec-fetch-site": "same-origin"},  # a proxy that changes the Host
    ):
        assert server.http.post("/finerank/v1/rerank", json=BODY, headers=headers).status_code == 200


def test_a_link_from_another_site_opens_the_page(server) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "referer": EVIL}
    assert server.http.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("origins", [(EVIL,), ("*",)])
def test_origins_that_are_allowed_may(start_server, origins) -> None:
    server = start_server(cors_origins=origins)
    headers = {"origin": EVIL, "sec-fetch-site": "cross-site"}
    answer = server.http.post("/finerank/v1/rerank", json=BODY, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in (EVIL, "*")
    other = server.http.post("/finerank/v1/rerank", json=BODY, headers={"origin": "https://other.example"})
    assert other.status_code == (200 if origins == ("*",) else 403)


def test_reading_changes_nothing(start_server) -> None:
    """No path acts on a GET: these are not refused, as their answers cannot be read elsewhere."""
    server = start_server()
    before = server.http.get("/finerank/v1/info").json()
    for route in server.application.asgi.routes:
        if not isinstance(route, Mount) and "GET" in route.methods:
            server.http.get(route.path.replace("{name:path}", "stub"), headers={"origin": EVIL})
    after = server.http.get("/finerank/v1/info").json()
    assert {**after, "uptime_s": 0} == {**before, "uptime_s": 0}
    assert server.http.get("/finerank/v1/health/ranking").json()["requests"] == 0


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_without_keys_loopback_names_may_call(server, host) -> None:
    assert server.http.get("/finerank/v1/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("settings", [{}, {"auth": "off"}, {"admin_keys": ("root",)}])
@pytest.mark.parametrize("host", ["evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0"])
def test_another_name_that_points_here_may_not(start_server, settings, host) -> None:
    server = start_server(**settings)
    for method, path in (
        ("GET", "/"),
        ("GET", "/finerank/v1/info"),
        ("GET", "/health"),
        ("POST", "/finerank/v1/rerank"),
    ):
        headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        answer = server.http.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "allowed_hosts" in answer.text


def test_names_that_are_allowed_may(start_server) -> None:
    named = start_server(allowed_hosts=("rank.example",))
    for host, status in (("rank.example", 200), ("RANK.example:8000", 200), ("localhost", 200), ("evil.example", 403)):
        assert named.http.get("/finerank/v1/info", headers={"host": host}).status_code == status
    assert start_server(allowed_hosts=("*",)).http.get("/", headers={"host": "evil.example"}).status_code == 200
    keyed = start_server(api_keys=("key",), allowed_hosts=("rank.example",))
    assert keyed.http.get("/", headers={"host": "evil.example"}).status_code == 403
    assert start_server(api_keys=("key",)).http.get("/", headers={"host": "rank.example"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "name"), [("a.example:80", "a.example"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("A", "a")]
)
def test_the_name_in_a_host_header(host, name) -> None:
    assert host_name(host) == name
