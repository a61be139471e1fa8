"""Answers name models, never local paths."""

from pathlib import Path

import httpx
import pytest

from finerank.errors import InvalidSetting, ModelError
from finerank.reranker import Reranker
from finerank.serving.dialects import ROUTES
from finerank.testing import OverlapBackend, stub_reranker

TEXTS = ["Keep it dry.", "Hold the reset button.", "Press reset."]
NATIVE = {"query": "reset button", "documents": TEXTS}
ANY = {"model": "any", "texts": TEXTS, "passages": [{"text": text} for text in TEXTS], "text_1": "q", "text_2": TEXTS}
"""Fields that some dialect reads; `documents` are in `NATIVE`."""


SECRET = "finerank-secret-folder"


def texts_of(server) -> list[str]:
    """Everything a caller can get to read."""
    http = server.http
    gets = ["/info", "/v1/models", "/models", "/v1/models/any", "/health", "/metrics", "/finerank/v1/info"]
    gets += ["/finerank/v1/health/ranking", "/finerank/v1/stats", "/openapi.json", "/tei/info"]
    answers: list[httpx.Response] = [http.get(path) for path in gets]
    answers += [
        http.post(path, json={**NATIVE, **ANY} if ROUTES[path].dialect in ("vllm_score", "tei", "nvidia") else NATIVE)
        for path in ROUTES
    ]
    answers += [http.post("/finerank/v1/rerank", json={**NATIVE, "model": "gpt"})]
    answers += [http.post("/finerank/v1/rerank", json={**NATIVE, "model": "broken"})]
    answers += [http.get("/finerank/v1/info")]
    return [answer.text + str(dict(answer.headers)) for answer in answers]


class TestNames:
    def start(self, start_server, folder: Path, **settings: object):
        first = folder / SECRET / "bge-m3"
        broken = folder / SECRET / "broken"
        for path in (first, broken):
            path.mkdir(parents=True)

        def load(name: str) -> Reranker:
            if name == str(broken):
                raise ModelError(f"{name}: has no config.json; look into {Path(name).resolve()}/config.json")
            reranker = stub_reranker()
            reranker.model = name
            return reranker

        return start_server(load, model=str(first), more_models=(str(broken),), **settings)

    def test_a_local_model_is_called_by_its_folder(self, start_server, tmp_path) -> None:
        server = self.start(start_server, tmp_path)
        told = texts_of(server)
        assert [text for text in told if SECRET in text] == []
        assert server.http.post("/v1/rerank", json=NATIVE).json()["model"] == "bge-m3"
        assert [model["id"] for model in server.http.get("/v1/models").json()["data"]] == ["bge-m3", "broken"]
        broken = server.http.post("/finerank/v1/rerank", json={**NATIVE, "model": "broken"})
        assert broken.status_code == 503
        message = broken.json()["error"]["message"]
        assert message == "model broken: broken: has no config.json; look into broken/config.json"

    def test_aliases(self, start_server, tmp_path) -> None:
        server = self.start(start_server, tmp_path, served_model_name=("rerank-large", "bge"))
        assert [text for text in texts_of(server) if SECRET in text or "bge-m3" in text] == []
        listed = [model["id"] for model in server.http.get("/v1/models").json()["data"]]
        assert listed == ["rerank-large", "bge", "broken"]
        assert server.http.get("/v1/models/bge").json()["id"] == "bge"
        info = server.http.get("/finerank/v1/info").json()["models"][0]
        assert (info["name"], info["aliases"]) == ("rerank-large", ["bge"])
        for name in ("rerank-large", "bge", str(tmp_path / SECRET / "bge-m3")):
            answer = server.http.post("/finerank/v1/rerank", json={**NATIVE, "model": name})
            assert (answer.status_code, answer.json()["model"]) == (200, "rerank-large")
        unknown = server.http.post("/finerank/v1/rerank", json={**NATIVE, "model": "gpt"})
        assert unknown.json()["error"]["message"].endswith("there are rerank-large, bge, broken")

    def test_a_failure_of_scoring_does_not_show_the_path(self, start_server, tmp_path) -> None:
        folder = tmp_path / SECRET / "m"
        folder.mkdir(parents=True)
        error = RuntimeError(f"cannot map {folder}/model.onnx")
        for fail_open in (False, True):
            server = start_server(
                lambda name: stub_reranker(OverlapBackend(error=error)), model=str(folder), fail_open=fail_open
            )
            answer = server.http.post("/finerank/v1/rerank", json=NATIVE)
            assert "cannot map m/model.onnx" in answer.text
            assert SECRET not in answer.text + str(dict(answer.headers))

    def test_two_models_of_one_name_are_refused(self, start_server, tmp_path) -> None:
        for name in ("a", "b"):
            (tmp_path / name / "bge").mkdir(parents=True)
        models = {"model": str(tmp_path / "a/bge"), "more_models": (str(tmp_path / "b/bge"),)}
        with pytest.raises(InvalidSetting, match="served as 'bge'; give the first another served_model_name"):
            start_server(**models)
        assert start_server(**models, served_model_name=("first",)).http.get("/health").status_code == 200

    def test_a_hub_id_stays_as_it_is(self, start_server) -> None:
        server = start_server(model="BAAI/bge-reranker-v2-m3")
        assert server.http.get("/finerank/v1/info").json()["models"][0]["name"] == "BAAI/bge-reranker-v2-m3"
