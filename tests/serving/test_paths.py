"""Slashes, wrong paths and wrong methods."""

import re

import pytest

from finerank.serving.dialects import ROUTES
from finerank.serving.paths import nearest_path

TEXTS = ["Keep it dry.", "Hold the reset button.", "Press reset."]
NATIVE = {"query": "reset button", "documents": TEXTS}
SCORE = {"text_1": "reset button", "text_2": TEXTS}


class TestPaths:
    @pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank", "/score", "/jina/v1/rerank"])
    @pytest.mark.parametrize("form", ["{}/", "/{}", "{}//", "//{}/", "{}///"])
    def test_slashes_do_not_matter_to_a_post(self, server, path, form) -> None:
        body = SCORE if path == "/score" else NATIVE
        answer = server.http.post(server.url + form.format(path), json=body)
        assert (answer.status_code, answer.history) == (200, [])
        assert len(answer.json().get("results") or answer.json()["data"]) == 3

    @pytest.mark.parametrize(
        "path",
        [
            *(
                "/info/",
                "//info",
                "/v1//models/",
                "/models/",
                "/health/",
                "//health//ready",
                "/metrics/",
                "/docs/",
                "//",
            ),
            *("/openapi.json/", "//css/theme.css", "/v1/models/any/", "/finerank//v1/info", "/js//main.js"),
        ],
    )
    def test_nor_to_a_get(self, server, path) -> None:
        expected = server.http.get(server.url + (re.sub("/+", "/", path).rstrip("/") or "/"))
        answer = server.http.get(server.url + path)
        assert (answer.status_code, answer.text[:40]) == (expected.status_code, expected.text[:40])
        assert not answer.is_redirect

    def test_nothing_redirects(self, server) -> None:
        for path in ("/v1/nothing/", "/docs/nothing/", "/css/", "/v1/rerank/"):
            answer = server.http.get(server.url + path)
            assert answer.status_code in (404, 405)
            assert "location" not in answer.headers

    @pytest.mark.parametrize(
        ("path", "near"),
        [
            ("/v1/v1/rerank", "/v1/rerank"),
            ("/v1/v2/rerank", "/v2/rerank"),
            ("/v1/rerank/rerank", "/v1/rerank"),
            ("/v1/reranks", "/v1/rerank"),
            ("/api/v1/rerank", "/v1/rerank"),
            ("/V1/Rerank", "/v1/rerank"),
            ("/v1/scores", "/v1/score"),
            ("/finerank/rerank", "/finerank/v1/rerank"),
        ],
    )
    def test_a_404_names_the_nearest_path(self, server, path, near) -> None:
        answer = server.http.post(path, json=NATIVE)
        assert answer.status_code == 404
        body = answer.json()
        assert body["detail"] == body["message"] == body["error"]["message"]
        assert f"POST {path}: Not Found; did you mean {near}?" in body["detail"]

    @pytest.mark.parametrize("path", ["/v1/rernk", "/V1/rerank", "/v1/v1/rerank", "/v1/scores"])
    def test_the_nearest_path_may_take_another_method(self, server, path) -> None:
        near = "/v1/score" if "score" in path else "/v1/rerank"
        assert f"did you mean {near}?" in server.http.get(path).json()["detail"]

    def test_a_404_without_a_near_path_points_to_the_list(self, server) -> None:
        message = server.http.get("/q").json()["detail"]
        assert "did you mean" not in message
        assert "/docs" in message

    def test_a_wrong_method_is_told_the_right_one(self, server) -> None:
        answer = server.http.get(server.url + "//v1/rerank/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert "it takes POST" in answer.json()["message"]
        assert answer.json()["message"].startswith("GET //v1/rerank/: ")

    def test_every_path_is_its_own_nearest(self, server) -> None:
        routes = server.application.asgi.routes
        assert all(nearest_path(path, "POST", routes) == path for path in ROUTES if "{" not in path)
