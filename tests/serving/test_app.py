"""The server over HTTP: what it answers when all is well."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from finerank.job import FirstLook, SecondStage
from finerank.reranker import Reranker
from finerank.scoring.batch import Batch
from finerank.testing import OverlapBackend, stub_reranker

QUERY = "how do I reset it"
DOCUMENTS = ["keep it dry", "to reset it hold the button", "the lamp is green"]
NATIVE = {"query": QUERY, "documents": DOCUMENTS}


def events_of(response: httpx.Response) -> Iterator[tuple[str, dict]]:
    for block in response.read().decode().split("\n\n"):
        if block:
            name, data = block.split("\n")
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_native_answer_is_the_librarys(server) -> None:
    answer = server.http.post("/finerank/v1/rerank", json=NATIVE)
    expected = stub_reranker().rank(QUERY, DOCUMENTS)
    assert answer.status_code == 200
    rows = answer.json()["results"]
    assert [(row["index"], row["logit"], row["score"]) for row in rows] == [
        (result.index, result.logit, result.score) for result in expected
    ]
    assert answer.json()["usage"]["tokens"] == expected.usage.tokens
    assert answer.json()["id"] == answer.headers["x-request-id"]


def test_timing_headers_tell_the_stages(server) -> None:
    headers = server.http.post("/v2/rerank", json={"model": "any", **NATIVE}).headers
    times = [float(headers[f"x-{stage}-time"]) for stage in ("tokenization", "queue", "inference", "total")]
    assert times[3] >= max(times[:3])
    assert int(headers["x-compute-tokens"]) > 0


def test_a_request_id_is_kept_if_it_is_one(server) -> None:
    given = server.http.post("/finerank/v1/rerank", json=NATIVE, headers={"x-request-id": "trace-7"})
    assert given.headers["x-request-id"] == "trace-7"
    odd = server.http.post("/finerank/v1/rerank", json=NATIVE, headers={"x-request-id": "a b"})
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])


def test_progress_streams_and_ends_with_the_result(start_server) -> None:
    server = start_server(lambda name: stub_reranker(batch_tokens=16, cache="memory"))
    documents = [*(f"passage number {n} to reset" for n in range(10)), "passage number 1 to reset"]
    body = {"query": QUERY, "documents": documents}
    for _ in range(2):  # the second time from the cache
        response = server.http.post("/finerank/v1/rerank", json=body, headers={"accept": "text/event-stream"})
        *progress, (name, result) = events_of(response)
        assert name == "result"
        told = {score["index"]: score["logit"] for _, event in progress for score in event["scores"]}
        assert told == {row["index"]: row["logit"] for row in result["results"]}
        assert [event["done"] for _, event in progress][-1] == 11
    assert result["usage"]["cached"] == 11


def test_with_a_first_look_the_rest_is_neither_scored_nor_waited_for(start_server) -> None:
    def load(name: str) -> Reranker:
        reranker = stub_reranker()
        reranker.first_look = FirstLook(stub_reranker().scorer)
        return reranker

    server = start_server(load)
    body = {"query": QUERY, "documents": [f"passage number {n}" for n in range(19)] + ["how to reset"]}
    everything = server.http.post("/finerank/v1/rerank", json=body).json()
    assert (everything["usage"]["skipped"], len(everything["results"])) == (0, 20)
    response = server.http.post(
        "/finerank/v1/rerank", json={**body, "top_n": 2}, headers={"accept": "text/event-stream"}
    )
    *progress, (_, result) = events_of(response)
    assert (result["usage"]["skipped"], result["usage"]["pairs"]) == (16, 4)
    assert result["results"] == everything["results"][:2]
    assert {event["total"] for _, event in progress} == {4}
    assert progress[-1][1]["done"] == 4


def test_with_a_second_stage_the_best_are_reread_and_streamed_scores_are_on_its_scale(start_server) -> None:
    def load(name: str) -> Reranker:
        reranker = stub_reranker()
        reranker.second_stage = SecondStage(stub_reranker().scorer, candidates=2, scale=0.5, bias=1.0, unread=-4.0)
        return reranker

    server = start_server(load)
    body = {"query": QUERY, "documents": [f"passage number {n}" for n in range(5)] + ["how to reset"]}
    response = server.http.post("/finerank/v1/rerank", json=body, headers={"accept": "text/event-stream"})
    *progress, (_, result) = events_of(response)
    logits = {row["index"]: row["logit"] for row in result["results"]}
    told = {score["index"]: score["logit"] for _, event in progress for score in event["scores"]}
    assert sum(logits[index] != told[index] for index in told) == 2
    with load("") as library:
        expected = {result.index: result.logit for result in library.rank(QUERY, body["documents"])}
    assert logits == expected


def test_chunked_documents_stream_once_all_their_passages_are_scored(start_server) -> None:
    server = start_server(lambda name: stub_reranker(batch_tokens=32, max_length=32))
    body = {"query": QUERY, "documents": ["One two three. " * 30, "short"], "long_documents": "chunk"}
    response = server.http.post("/finerank/v1/rerank", json=body, headers={"accept": "text/event-stream"})
    *progress, (_, result) = events_of(response)
    told = [score["index"] for _, event in progress for score in event["scores"]]
    assert sorted(told) == [0, 1]
    assert result["usage"]["pairs"] > 5


def test_a_stream_where_a_header_asks_for_the_native_dialect(server) -> None:
    headers = {"accept": "text/event-stream", "x-finerank-dialect": "native"}
    *_, (name, result) = events_of(server.http.post("/v1/rerank", json=NATIVE, headers=headers))
    assert (name, "timings" in result) == ("result", True)


def test_a_stream_ends_with_the_error(start_server) -> None:
    server = start_server(lambda name: stub_reranker(OverlapBackend(error=RuntimeError("the GPU fell off the bus"))))
    response = server.http.post("/finerank/v1/rerank", json=NATIVE, headers={"accept": "text/event-stream"})
    assert response.status_code == 200
    ((name, event),) = events_of(response)
    assert (name, event["error"]["kind"]) == ("error", "failed")


def test_explanations(server) -> None:
    text = "Keep it dry. To reset it hold the button."
    body = {"query": QUERY, "documents": [text, DOCUMENTS[0]]}
    (first, _) = server.http.post("/finerank/v1/explain", json=body).json()["explanations"]
    expected = stub_reranker().explain(QUERY, text)
    assert [piece["drop"] for piece in first["sentences"]] == [piece.drop for piece in expected.sentences]
    assert first["words"] == []
    assert max(first["sentences"], key=lambda piece: piece["share"])["text"] == "To reset it hold the button."
    (first, _) = server.http.post("/finerank/v1/explain", json={**body, "words": True}).json()["explanations"]
    assert [piece["text"] for piece in first["words"]] == [piece.text for piece in expected.words]


def test_word_overlap_says_where_the_words_are(server) -> None:
    body = {"query": "Reset 路由器", "documents": ["how to RESET", "如何重置路由器", "nothing"]}
    answer = server.http.post("/finerank/v1/overlap", json=body).json()
    assert answer["spans"] == [[[7, 12]], [[4, 6], [5, 7]], []]
    assert answer["scores"][2] == 0 < answer["scores"][0]


def test_the_text_of_a_pdf(server) -> None:
    pdf = Path(__file__).parent / "manual.pdf"
    answer = server.http.post("/finerank/v1/text", content=pdf.read_bytes(), headers={"x-filename": "manual.PDF"})
    assert " ".join(answer.json()["passages"]) == "Hold the reset button for ten seconds. Keep the router dry."
    wrong = server.http.post("/finerank/v1/text", content=b"hello", headers={"x-filename": "a.pdf"})
    assert (wrong.status_code, wrong.json()["error"]["kind"]) == (422, "invalid")
    other = server.http.post("/finerank/v1/text", content=b"hello", headers={"x-filename": "%E6%96%87.png"})
    assert other.json()["error"]["code"] == "file.kind"
    assert other.json()["error"]["values"]["name"] == "文.png"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.html", b"<p>Hold the button.</p><script>no</script>"),
        ("a.csv", b"id,text\n1,Hold the button.\n"),
        ("a.jsonl", b'{"text": "Hold the button."}\n'),
        ("a.eml", b"Subject: Router\n\nHold the button.\n"),
    ],
)
def test_the_text_of_other_files(server, name, content) -> None:
    answer = server.http.post("/finerank/v1/text", content=content, headers={"x-filename": name}).json()
    assert "Hold the button." in " ".join(answer["passages"])
    assert answer["notes"] == []


def test_what_a_file_loses_is_noted(server) -> None:
    content = b'{"text": "Hold the button."}\n{"text": \n'
    answer = server.http.post("/finerank/v1/text", content=content, headers={"x-filename": "a.jsonl"}).json()
    assert answer["passages"] == ["Hold the button."]
    (note,) = answer["notes"]
    assert "line 2" in note["message"]
    assert "/" not in note["message"]


def test_an_error_has_a_code_and_values(server) -> None:
    body = {"query": "q", "documents": ["a", 7]}
    error = server.http.post("/finerank/v1/rerank", json=body).json()["error"]
    assert (error["code"], error["values"]["field"], error["values"]["kind"]) == ("body.kind", "documents[1]", "7")
    body = {"query": "q", "documents": ["a"] * 2001}
    error = server.http.post("/finerank/v1/rerank", json=body).json()["error"]
    assert (error["code"], error["values"]) == ("documents.count", {"count": 2001, "limit": 2000})
    error = server.http.get("/finerank/v1/nothing").json()["error"]
    assert error["code"] in ("http.no-path", "http.nearest-path")


def test_info_examples_and_other_servers_lists(server) -> None:
    info = server.http.get("/finerank/v1/info").json()
    assert info["models"][0]["state"] == "ready"
    assert info["limits"]["max_documents"] == 2000
    assert {".pdf", ".docx", ".html"} <= set(info["reads"])
    examples = server.http.get("/finerank/v1/examples").json()["examples"]
    assert {example["lang"] for example in examples} >= {"zh", "en", "ar"}
    assert server.http.get("/info").json()["max_client_batch_size"] == 2000
    assert server.http.get("/v1/models").json()["data"][0]["id"]
    assert server.http.get("/v1/models/BAAI/bge-reranker").json()["model_type"] == "rerank"
    assert server.http.get("/v1/cluster/auth").json() == {"auth": False}


def test_metrics_count_what_was_asked(start_server) -> None:
    server = start_server(lambda name: stub_reranker(cache="memory"))
    for _ in range(2):
        server.http.post("/v2/rerank", json={"model": "m", **NATIVE})
    server.http.post("/v2/rerank", json={"model": "m"})
    text = server.http.get("/metrics").text
    assert 'finerank_requests_total{dialect="superset_v2",status="200"} 2.0' in text
    assert 'finerank_requests_total{dialect="superset_v2",status="400"} 1.0' in text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["finerank_pairs_total"]) == 6
    cached = next(value for name, value in values.items() if name.startswith("finerank_cache") and "total" in name)
    assert float(cached) == 3


def test_ranking_health_sees_the_full_ranking_by_tag(start_server) -> None:
    server = start_server()
    for _ in range(3):
        server.http.post("/v2/rerank", json={"model": "m", "top_n": 1, **NATIVE}, headers={"x-finerank-tag": "bot"})
    server.http.post("/finerank/v1/rerank", json={**NATIVE, "tag": "search"})
    health = server.http.get("/finerank/v1/health/ranking", params={"tag": "bot"}).json()
    assert (health["requests"], health["documents"]) == (3, 9)
    figures = {figure["name"]: figure for figure in health["figures"]}
    assert figures["top1_replacement_rate"]["value"] == 1.0
    assert sorted(health["tags"]) == ["bot", "search"]
    assert server.http.get("/finerank/v1/stats").json()["interval_s"] == 5


def test_a_baseline_needs_enough_requests(start_server) -> None:
    server = start_server()
    early = server.http.post("/finerank/v1/health/ranking/baseline", json={})
    assert (early.status_code, early.json()["error"]["kind"]) == (422, "invalid")
    for _ in range(40):
        server.http.post("/finerank/v1/rerank", json=NATIVE)
    assert server.http.post("/finerank/v1/health/ranking/baseline", json={}).json()["scores"]["baseline"]


def test_health_survives_a_restart(start_server) -> None:
    first = start_server()
    first.http.post("/finerank/v1/rerank", json=NATIVE)
    first.stop()
    first.join()
    again = start_server()
    assert again.http.get("/finerank/v1/health/ranking").json()["requests"] == 1


def test_the_docs_open_without_a_network(server) -> None:
    page = server.http.get("/docs")
    assert page.status_code == 200
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert server.http.get("/" + asset).status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    described = server.http.get("/openapi.json").json()
    assert described["paths"]["/cohere/v2/rerank"]["post"]["requestBody"]["content"]["application/json"]["examples"][
        "cohere"
    ]


def test_what_is_not_there(server) -> None:
    missing = server.http.get("/nothing")
    assert (missing.status_code, missing.json()["error"]["kind"]) == (404, "not_found")
    assert server.http.post("/nothing", json={}).status_code == 404
    wrong = server.http.get("/finerank/v1/rerank")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["kind"] == "invalid"


def test_other_models_answer_to_their_names(start_server) -> None:
    class Backwards(OverlapBackend):
        def forward(self, batch: Batch):
            return -super().forward(batch)

    def load(name: str):
        return stub_reranker(Backwards() if name == "backwards" else OverlapBackend())

    server = start_server(load, more_models=("backwards",))
    first = server.http.post("/finerank/v1/rerank", json=NATIVE).json()["results"][0]["index"]
    other = server.http.post("/finerank/v1/rerank", json={**NATIVE, "model": "backwards"}).json()["results"][0]["index"]
    assert first == 1
    assert other != 1
    unknown = server.http.post("/finerank/v1/rerank", json={**NATIVE, "model": "gpt"})
    assert (unknown.status_code, unknown.json()["error"]["kind"]) == (404, "not_found")
    foreign = server.http.post("/v2/rerank", json={**NATIVE, "model": "rerank-v3.5"})
    assert foreign.json()["results"][0]["index"] == 1


@pytest.mark.parametrize(("path", "status"), [("/finerank/v1/rerank", 200), ("/v1/rerank", 400)])
def test_no_documents(server, path: str, status: int) -> None:
    """An empty ranking in finerank's own API, as in the library; an error where the original makes it one."""
    assert server.http.post(path, json={"query": "q", "documents": []}).status_code == status


def test_a_byte_order_mark_is_read(server) -> None:
    body = json.dumps(NATIVE).encode()
    assert server.http.post("/finerank/v1/rerank", content=codecs.BOM_UTF8 + body).status_code == 200


def test_a_tag_in_a_header_is_read_as_utf_8(start_server) -> None:
    server = start_server()
    server.http.post("/v2/rerank", json=NATIVE, headers={"x-finerank-tag": "日本".encode()})
    server.http.post("/finerank/v1/rerank", json={**NATIVE, "tag": "日本"})
    scopes = re.findall(r"finerank_ranking_requests(.*)", server.http.get("/metrics").text)
    assert '{model="OverlapBackend",tag="日本"} 2.0' in scopes


@pytest.mark.parametrize("prefix", ["infinity", "tei", "vllm"])
def test_health_is_there_behind_a_prefix(server, prefix: str) -> None:
    assert server.http.get(f"/{prefix}/health").json() == server.http.get("/health").json()


def test_a_scrape_does_not_count_itself(server) -> None:
    assert "finerank_requests_in_flight 0.0" in server.http.get("/metrics").text
