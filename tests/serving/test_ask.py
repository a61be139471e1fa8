"""Questions over HTTP, from a real store with the embedder that ships inside."""

import json
import shutil
import time
from pathlib import Path

import httpx
import pytest

from finerank.errors import StoreError, StoreNotFound
from finerank.rag.open import open_embedder
from finerank.retrieval.index import index
from finerank.scoring.batch import Batch
from finerank.serving.rank import problem
from finerank.serving.server import Server
from finerank.settings import DEFAULT_MODEL, RagSettings, ServeSettings
from finerank.testing import OverlapBackend, stub_reranker

QUESTION = "how do I reset the router?"


class Sure(OverlapBackend):
    """Logits from -4 to 4."""

    def forward(self, batch: Batch):
        return super().forward(batch) * 8 - 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kb")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "router.md").write_text("# Router\n\nYou do reset the router so: hold the button.\n", encoding="utf-8")
    (docs / "lamp.md").write_text("# Lamp\n\nThe lamp is green.\n", encoding="utf-8")
    embedder, made = open_embedder(RagSettings())
    index([docs], folder / "store", embedder, made)
    return folder / "store"


def events_of(response: httpx.Response) -> list[tuple[str, dict]]:
    blocks = [block.split("\n") for block in response.read().decode().split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_an_answer_streams_stage_by_stage(start_server, store) -> None:
    server = start_server(lambda name: stub_reranker(Sure()), store=str(store))
    assert server.http.get("/finerank/v1/info").json()["ask"]
    events = events_of(server.http.post("/finerank/v1/ask", json={"question": QUESTION}))
    names = [name for name, _ in events]
    assert [event["name"] for name, event in events if name == "stage"] == ["recall", "rerank", "merge", "rules"]
    assert names[-2:] == ["text", "answer"]
    search = next(event for name, event in events if name == "search")
    assert search["passages"][0]["metadata"]["source"].endswith("router.md")
    answer = events[-1][1]
    assert answer["kind"] == "extractive"
    assert "hold the button" in answer["answer"]
    assert answer["citations"][0]["number"] == 1
    assert server.http.get("/finerank/v1/health/ranking", params={"tag": "ask"}).json()["requests"] >= 1
    again = events_of(server.http.post("/finerank/v1/ask", json={"question": QUESTION}))
    assert again[-1][1]["cached"]


def test_a_filter(start_server, store) -> None:
    server = start_server(lambda name: stub_reranker(Sure()), store=str(store))
    body = {"question": QUESTION, "where": ["source~lamp"]}
    (*_, (name, answer)) = events_of(server.http.post("/finerank/v1/ask", json=body))
    assert (name, answer["kind"]) == ("answer", "unknown")
    wrong = server.http.post("/finerank/v1/ask", json={"question": QUESTION, "where": ["nonsense"]})
    assert (wrong.status_code, wrong.json()["error"]["kind"]) == (422, "invalid")
    empty = server.http.post("/finerank/v1/ask", json={"question": ""})
    assert empty.status_code == 422


def test_limits_and_deadlines_hold_for_questions_too(start_server, store) -> None:
    class Slow(Sure):
        def forward(self, batch: Batch):
            time.sleep(1)
            return super().forward(batch)

    server = start_server(lambda name: stub_reranker(Slow()), store=str(store))
    for body in ({"question": "q" * 100_000}, {"question": QUESTION, "where": ["lang=en"] * 1000}):
        assert server.http.post("/finerank/v1/ask", json=body).status_code == 422
    assert server.http.post("/finerank/v1/ask", content=b'{"x": [' + b"1," * 200_000 + b"1]}").status_code == 413
    start = time.monotonic()
    late = server.http.post("/finerank/v1/ask", json={"question": "is it late?"}, headers={"x-request-timeout": "0.3"})
    name, error = events_of(late)[-1]
    assert (name, error["error"]["kind"]) == ("error", "timeout")
    assert time.monotonic() - start < 1
    wrong = server.http.post("/finerank/v1/ask", json={"question": QUESTION}, headers={"x-request-timeout": "soon"})
    assert wrong.status_code == 422


def test_a_reranker_that_fails_leaves_the_first_stages_order_and_says_so(start_server, store) -> None:
    failing = OverlapBackend(error=RuntimeError("the GPU fell off the bus"))
    server = start_server(lambda name: stub_reranker(failing), store=str(store))
    (*_, (name, answer)) = events_of(server.http.post("/finerank/v1/ask", json={"question": "is the lamp green?"}))
    assert name == "answer"
    assert any("bus" in note for note in answer["notes"])


def test_without_a_store_there_is_nothing_to_ask(server) -> None:
    assert not server.http.get("/finerank/v1/info").json()["ask"]
    answer = server.http.post("/finerank/v1/ask", json={"question": QUESTION})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "not_found")
    assert "--store" in answer.json()["error"]["message"]


def test_a_store_that_is_not_there_is_told_before_the_server_listens(tmp_path) -> None:
    settings = ServeSettings(port=0, store=str(tmp_path / "none"), state_dir=str(tmp_path))
    with pytest.raises(StoreNotFound):
        Server("stub", lambda name: stub_reranker(), settings)


def test_the_servers_threshold_hides_nothing_from_the_funnel(start_server, store) -> None:
    server = start_server(lambda name: stub_reranker(Sure(), threshold=0.99), store=str(store))
    events = events_of(server.http.post("/finerank/v1/ask", json={"question": "which lamp is green?"}))
    search = next(event for name, event in events if name == "search")
    assert len(search["reranked"]) == 2
    assert (
        len(server.http.post("/finerank/v1/rerank", json={"query": "lamp", "documents": ["x"]}).json()["results"]) == 0
    )


def test_a_model_in_anothers_place_gives_its_own_answers(start_server, store) -> None:
    server = start_server(lambda name: stub_reranker(Sure()), store=str(store), admin_keys=("key",))
    server.http.headers["authorization"] = "key"
    question = {"question": QUESTION}
    events_of(server.http.post("/finerank/v1/ask", json=question))
    assert events_of(server.http.post("/finerank/v1/ask", json=question))[-1][1]["cached"]
    assert server.http.post("/finerank/v1/model", json={"model": "other"}).status_code == 200
    assert not events_of(server.http.post("/finerank/v1/ask", json=question))[-1][1]["cached"]


def test_the_light_model_goes_first(start_server, store, monkeypatch) -> None:
    monkeypatch.setenv("FINERANK_RAG_LIGHT_MODEL", DEFAULT_MODEL)
    monkeypatch.setenv("FINERANK_RAG_LIGHT_TOP", "1")
    server = start_server(lambda name: stub_reranker(Sure()), store=str(store))
    events = events_of(server.http.post("/finerank/v1/ask", json={"question": "what do I do to reset the router?"}))
    stages = [(event["name"], event["kept"]) for name, event in events if name == "stage"]
    assert stages[:3] == [("recall", 2), ("light rerank", 1), ("rerank", 1)]


def test_an_error_does_not_show_where_the_store_is(start_server, store, tmp_path) -> None:
    folder = tmp_path / "secret-folder" / "kb"
    shutil.copytree(store, folder)
    server = start_server(lambda name: stub_reranker(Sure()), store=str(folder))
    error = StoreError(f"{folder}: damaged; look into {folder}/passages.lance")
    assert problem(server.application.service, error).message == (
        "the store: damaged; look into the store/passages.lance"
    )
