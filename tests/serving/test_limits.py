"""Work that a request may not cause, however it is made: on every path, within every limit and deadline."""

import json
import threading
import time

import pytest

from finerank.errors import RequestTooLarge
from finerank.scoring.batch import Batch
from finerank.serving.problems import MAX_MESSAGE
from finerank.serving.reading import VALUES_PER_DOCUMENT, decode_json
from finerank.testing import OverlapBackend, stub_reranker
from finerank.text.terms import bm25

BODY = {"query": "q", "documents": ["a"]}
MANY = {
    "numbers": b"[" + b"1," * 200_000 + b"1]",
    "objects": b"[" + b'{"a":1},' * 100_000 + b"1]",
    "nested": b"[" * 200_000,
    "strings": b"[" + b'"a",' * 200_000 + b"1]",
    "after an escaped quote": b'["\\\\\\"",' + b"1," * 200_000 + b"1]",
}


@pytest.mark.parametrize(
    "path",
    [
        "/finerank/v1/rerank",
        "/v1/rerank",
        "/v2/rerank",
        "/rerank",
        "/score",
        "/finerank/v1/explain",
        "/finerank/v1/overlap",
    ],
)
@pytest.mark.parametrize("value", MANY.values(), ids=MANY)
def test_fields_with_very_many_values_are_refused(server, path, value) -> None:
    body = b'{"query":"q","documents":["a"],"ignored":%b}' % value
    answer = server.http.post(path, content=body)
    assert answer.status_code == 413
    assert "JSON values" in answer.text


def test_punctuation_inside_texts_is_no_value(server) -> None:
    texts = ["a, b, [c], {d}, " * 5000, '\\",' * 50_000, "\\\\" * 9999 + '"']
    body = json.dumps({"query": "b", "documents": texts}).encode()
    assert decode_json(body, 1) == {"query": "b", "documents": texts}
    assert server.http.post("/finerank/v1/rerank", content=body).status_code == 200


def test_more_documents_may_have_more_values() -> None:
    body = b"[" + b"1," * (VALUES_PER_DOCUMENT * 3000) + b"1]"
    with pytest.raises(RequestTooLarge, match="raise max_documents"):
        decode_json(body, 2000)
    assert len(decode_json(body, 4000)) == VALUES_PER_DOCUMENT * 3000 + 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/finerank/v1/overlap", {"query": "q", "documents": ["a"] * 2001}),
        ("/finerank/v1/explain", {"query": "q", "documents": ["a"] * 2001}),
        ("/finerank/v1/overlap", {"query": "q", "documents": ["a b " * 300_000]}),
        ("/finerank/v1/overlap", {"query": "a b " * 300_000, "documents": ["a"]}),
    ],
)
def test_limits_hold_on_every_path(server, path, body) -> None:
    assert server.http.post(path, json=body).status_code == 413


def test_explaining_has_the_limit_of_tokens(start_server) -> None:
    server = start_server(max_request_tokens=400)
    sentences = "The lamp is green. " * 20
    answer = server.http.post("/finerank/v1/explain", json={"query": "lamp", "documents": [sentences]})
    assert answer.status_code == 413
    assert "max_request_tokens" in answer.json()["error"]["message"]
    assert server.http.post("/finerank/v1/explain", json={"query": "lamp", "documents": ["It is."]}).status_code == 200


def test_an_explanation_that_is_late_scores_no_more(start_server) -> None:
    reached, gate = threading.Event(), threading.Event()

    class Gated(OverlapBackend):
        def forward(self, batch: Batch):
            reached.set()
            assert gate.wait(30)
            return super().forward(batch)

    backend = Gated()
    server = start_server(lambda name: stub_reranker(backend, batch_tokens=64))
    asked = {"query": "lamp", "documents": ["The lamp is green. " * 50] * 20}
    late = server.http.post("/finerank/v1/explain", json=asked, headers={"x-request-timeout": "0.2"})
    assert late.status_code == 504
    gate.set()
    server.until(lambda: server.application.models.queued() == (0, 0))
    time.sleep(0.1)
    assert len(backend.batches) <= 2


@pytest.mark.parametrize(
    "path",
    ["/finerank/v1/explain", "/finerank/v1/overlap", "/finerank/v1/text", "/finerank/v1/health/ranking/baseline"],
)
def test_deadlines_hold_on_every_path(start_server, path) -> None:
    server = start_server(timeout_s=1e-6, body_timeout_s=5)
    answer = server.http.post(path, json=BODY, headers={"x-filename": "a.pdf"})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (504, "timeout")


def test_a_request_without_time_or_with_too_many_tokens_is_not_encoded_to_its_end(start_server) -> None:
    server = start_server(max_request_tokens=1000)
    texts = ["word " * 50_000] * 12  # of which 512 tokens each are read
    encoded: list[int] = []
    encoder = server.application.models.default.loaded.reranker._encoder
    encode = encoder.encode
    encoder.encode = lambda query, part, room: encoded.append(len(part)) or encode(query, part, room)
    assert server.http.post("/finerank/v1/rerank", json={"query": "q", "documents": texts}).status_code == 413
    assert sum(encoded) < len(texts)


def test_long_values_are_not_repeated_in_errors(server) -> None:
    answer = server.http.post("/finerank/v1/rerank", json={**BODY, "model": "x" * 1_000_000})
    assert answer.status_code == 404
    assert len(answer.json()["error"]["message"]) <= MAX_MESSAGE + 20
    assert "there are stub" in answer.json()["error"]["message"]


def test_many_rank_fields_are_refused(server) -> None:
    body = {"query": "q", "documents": [{"text": "a"}] * 2000, "rank_fields": [f"f{n}" for n in range(40_000)]}
    assert server.http.post("/v1/rerank", json=body).status_code == 400


def test_word_overlap_takes_time_by_length_alone() -> None:
    words = [str(number) for number in range(30_000)]
    start = time.perf_counter()
    scores = bm25(" ".join(words), [" ".join(words[at : at + 15]) for at in range(0, 30_000, 15)])
    assert time.perf_counter() - start < 5  # by query times passages it is minutes
    assert min(scores) > 0
