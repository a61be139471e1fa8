"""Keys, origins, hosts, policies, and what the log holds."""

import json
import logging

import pytest

from finerank import InvalidSetting
from finerank.errors import Unauthorized
from finerank.serving import server
from finerank.serving.keys import Keys, load_keys
from finerank.serving.log import JsonFormatter
from finerank.settings import ServeSettings
from finerank.testing import OverlapBackend, stub_reranker

BODY = {"query": "where is the treasure", "documents": ["the treasure is under the oak"]}


def test_a_network_is_not_served_without_a_key(tmp_path) -> None:
    with pytest.raises(InvalidSetting, match="api_keys_file"):
        load_keys(ServeSettings(host="0.0.0.0"))
    assert not load_keys(ServeSettings(host="127.0.0.1"))
    assert not load_keys(ServeSettings(host="0.0.0.0", auth="off"))
    assert not load_keys(ServeSettings(host="0.0.0.0", auth="optional"))
    assert len(load_keys(ServeSettings(host="0.0.0.0", auth="optional", api_keys=("first",)))) == 1
    file = tmp_path / "keys"
    file.write_text("# team A\nfirst\n\n second \n", encoding="utf-8")
    keys = load_keys(ServeSettings(host="0.0.0.0", api_keys=("third",), api_keys_file=str(file)))
    assert len(keys) == 3
    keys.check({"authorization": "Bearer second"})
    file.write_text("\n# none\n", encoding="utf-8")
    for wrong in (file, tmp_path / "missing"):
        with pytest.raises(InvalidSetting, match="api_keys_file"):
            load_keys(ServeSettings(api_keys_file=str(wrong)))


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"host": "0.0.0.0", "auth": "optional"}, True),
        ({"host": "0.0.0.0", "auth": "off", "api_keys": ("ignored",)}, True),
        ({"host": "0.0.0.0", "auth": "optional", "api_keys": ("sesame",)}, False),
        ({"host": "127.0.0.1"}, False),
    ],
)
def test_a_server_that_is_open_to_a_network_says_so(settings, warned, monkeypatch, caplog, tmp_path) -> None:
    monkeypatch.setattr(server._Stoppable, "run", lambda *_, **__: None)
    settings = ServeSettings(port=0, state_dir=str(tmp_path), **settings)
    server.Server("m", lambda name: stub_reranker(), settings).run()
    assert ("no API keys: whoever reaches this port may rank" in caplog.text) == warned


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sesame"},
        {"authorization": "bearer  sesame"},
        {"authorization": "sesame"},
        {"x-api-key": "sesame"},
        {"authorization": "Basic a proxy's", "x-api-key": "sesame"},
    ],
)
def test_a_key_may_be_shown_in_several_ways(headers) -> None:
    Keys(["open", "sesame"]).check(headers)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sesam"}, {"authorization": "Basic sesame"}])
def test_a_wrong_key(headers) -> None:
    with pytest.raises(Unauthorized):
        Keys(["sesame"]).check(headers)


def test_what_needs_a_key_and_what_does_not(start_server) -> None:
    server = start_server(api_keys=("sesame",))
    for path in ("/", "/health", "/health/live", "/docs", "/openapi.json"):
        assert server.http.get(path).status_code == 200
    for path in (
        "/finerank/v1/info",
        "/finerank/v1/stats",
        "/finerank/v1/health/ranking",
        "/metrics",
        "/info",
        "/v1/models",
    ):
        assert server.http.get(path).status_code == 401
    shapes = {"/v2/rerank": "message", "/jina/v1/rerank": "detail", "/rerank": "error", "/finerank/v1/rerank": "error"}
    for path, field in shapes.items():
        answer = server.http.post(path, json=BODY)
        assert answer.status_code == 401
        assert field in answer.json()
        assert answer.headers["www-authenticate"] == "Bearer"
    server.http.headers["authorization"] = "sesame"
    assert server.http.post("/finerank/v1/rerank", json=BODY).status_code == 200
    assert server.http.get("/metrics").status_code == 200


ADMIN, CLIENT, READER = "root", "team", "prometheus"
ACTIONS = {
    "rank": ("POST", "/finerank/v1/rerank", BODY),
    "metrics": ("GET", "/metrics", None),
    "stats": ("GET", "/finerank/v1/stats", None),
    "health": ("GET", "/finerank/v1/health/ranking", None),
    "baseline": ("POST", "/finerank/v1/health/ranking/baseline", {}),
    "model": ("POST", "/finerank/v1/model", {"model": "stub"}),
}


@pytest.mark.parametrize(
    ("settings", "key", "allowed"),
    [
        ({"api_keys": (CLIENT,)}, CLIENT, "rank metrics stats health"),
        ({"api_keys": (CLIENT,), "admin_keys": (ADMIN,)}, CLIENT, "rank metrics stats health"),
        ({"api_keys": (CLIENT,), "admin_keys": (ADMIN,)}, ADMIN, "rank metrics stats health baseline model"),
        ({"api_keys": (CLIENT,), "metrics_key": READER}, CLIENT, "rank"),
        ({"api_keys": (CLIENT,), "metrics_key": READER}, READER, "metrics stats health"),
        ({"api_keys": (CLIENT,), "admin_keys": (ADMIN,), "metrics_key": READER}, ADMIN, " ".join(ACTIONS)),
        ({"admin_keys": (ADMIN,)}, "", "rank metrics stats health"),
        ({"metrics_key": READER}, "", "rank"),
        ({"auth": "off", "api_keys": (CLIENT,), "admin_keys": (ADMIN,)}, "", "rank metrics stats health"),
        ({}, "", "rank metrics stats health baseline"),
    ],
)
def test_what_each_key_may_do(start_server, settings, key, allowed) -> None:
    server = start_server(**settings)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    may = set()
    for action, (method, path, body) in ACTIONS.items():
        answer = server.http.request(method, path, json=body, headers=headers)
        if answer.status_code in (401, 403):
            assert answer.status_code == 401 or key or action == "model"
            assert "key" in answer.json()["error"]["message"]
        else:
            may.add(action)
            assert answer.status_code == (422 if action == "baseline" else 200)  # too few requests for a baseline
    assert may == set(allowed.split())


def test_a_refusal_says_which_key_is_needed(start_server) -> None:
    server = start_server(api_keys=(CLIENT,), metrics_key=READER)
    shown = {"authorization": f"Bearer {CLIENT}"}
    swap = server.http.post("/finerank/v1/model", json={"model": "stub"}, headers=shown)
    assert "FINERANK_SERVE_ADMIN_KEYS" in swap.json()["error"]["message"]
    assert "www-authenticate" not in swap.headers  # there is no key that would do
    assert (
        server.http.post("/finerank/v1/model", json={"model": "stub"}).headers["www-authenticate"]
        == 'Bearer scope="admin"'
    )
    metrics = server.http.get("/metrics", headers=shown)
    assert 'scope="metrics"' in metrics.headers["www-authenticate"]
    assert "metrics key" in metrics.json()["error"]["message"]
    assert all(key not in swap.text + metrics.text for key in (CLIENT, READER))
    managed = start_server(api_keys=(CLIENT,), admin_keys=(ADMIN,))
    refused = managed.http.post("/finerank/v1/health/ranking/baseline", json={}, headers=shown)
    assert refused.status_code == 403
    assert "an admin key" in refused.json()["error"]["message"]
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="admin"'


def test_admin_keys_alone_open_no_network(tmp_path) -> None:
    with pytest.raises(InvalidSetting, match="api_keys_file"):
        load_keys(ServeSettings(host="0.0.0.0", admin_keys=(ADMIN,), metrics_key=READER))
    file = tmp_path / "admins"
    file.write_text(f"{ADMIN}\n", encoding="utf-8")
    load_keys(ServeSettings(admin_keys_file=str(file))).check({"x-api-key": ADMIN}, "admin")


def test_keys_are_not_printed() -> None:
    settings = ServeSettings(api_keys=(CLIENT,), admin_keys=(ADMIN,), metrics_key=READER)
    assert not any(key in repr(settings) for key in (CLIENT, ADMIN, READER))


def test_a_model_is_not_changed_without_a_key(server) -> None:
    answer = server.http.post("/finerank/v1/model", json={"model": "stub"})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "forbidden")


def test_other_origins_may_not_call_unless_told(start_server) -> None:
    asking = {"origin": "https://app.example", "access-control-request-method": "POST"}
    closed = start_server().http.options("/finerank/v1/rerank", headers=asking)
    assert "access-control-allow-origin" not in closed.headers
    opened = start_server(cors_origins=("https://app.example",)).http
    assert (
        opened.options("/finerank/v1/rerank", headers=asking).headers["access-control-allow-origin"] == asking["origin"]
    )
    other = opened.options("/finerank/v1/rerank", headers={**asking, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    # an origin that may call, may read errors too
    wrong = opened.post("/finerank/v1/rerank", json={}, headers={"origin": "https://app.example"})
    assert wrong.headers["access-control-allow-origin"] == asking["origin"]
    assert "retry-after" in wrong.headers["access-control-expose-headers"]


def test_the_page_runs_only_its_own_scripts(server) -> None:
    policy = server.http.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "unsafe-eval" not in server.http.get("/docs").headers["content-security-policy"]
    assert server.http.get("/finerank/v1/info").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/app.py", "/docs/../app.py", "/docs/%2e%2e%2fapp.py"])
def test_files_beside_the_page_are_not_served(server, path) -> None:
    assert server.http.get(path).status_code == 404


@pytest.mark.parametrize("fault", [None, RuntimeError("the GPU fell off the bus")])
def test_no_text_of_a_request_is_logged(start_server, caplog, fault) -> None:
    caplog.set_level(logging.DEBUG)
    server = start_server(lambda name: stub_reranker(OverlapBackend(error=fault)))
    server.http.post("/finerank/v1/rerank", json=BODY)
    server.http.post("/v2/rerank", json={"model": "m", **BODY})
    server.http.post("/finerank/v1/explain", json=BODY)
    server.http.post("/finerank/v1/overlap", json=BODY)
    server.http.post("/finerank/v1/rerank", json={**BODY, "documents": [["treasure"]]})
    server.http.post("/finerank/v1/rerank", content=b'{"query": "treasure')
    posts = ("/finerank/v1/", "/v2/")
    server.until(
        lambda: sum(record.message == "request" and record.path.startswith(posts) for record in caplog.records) == 6
    )
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name.startswith("finerank")]
    assert not any("treasure" in line or "oak" in line for line in lines)
    requests = [json.loads(line) for line in lines if '"event": "request"' in line]
    assert {"time", "level", "request_id", "peer", "method", "path", "dialect", "status", "ms"} <= set(requests[-1])
    assert any('"event": "scoring failed"' in line and "bus" in line for line in lines) == (fault is not None)


def test_text_is_logged_where_that_was_asked_for(start_server, caplog) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(log_text=True)
    server.http.post("/finerank/v1/rerank", json=BODY)
    server.until(lambda: any(hasattr(record, "requests") for record in caplog.records))
    (record,) = (record for record in caplog.records if hasattr(record, "requests"))
    assert json.loads(JsonFormatter().format(record))["requests"] == [BODY]
