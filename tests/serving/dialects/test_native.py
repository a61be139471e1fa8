from dataclasses import replace

import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import native
from finerank.serving.request import PROBLEMS, Problem, RerankRequest


def test_a_request_is_read():
    body = {
        "query": "reset?",
        "documents": ["a", {"text": "b", "id": "kb-7", "metadata": {"page": 4}}, {"text": "c", "id": 9}],
        "top_n": 2,
        "model": "bge",
        "tag": "support",
        "return_documents": False,
        "long_documents": "chunk",
    }
    assert native.parse(body) == (
        RerankRequest(
            "reset?",
            (Document("a"), Document("b", "kb-7", {"page": 4}), Document("c", 9)),
            model="bge",
            chunk=True,
            tag="support",
            top_n=2,
        ),
    )


def test_no_documents_are_no_error():
    assert native.parse({"query": "reset?", "documents": []})[0].documents == ()


def test_all_that_is_known_is_told(answer_to):
    body = {"query": "reset?", "documents": ["a", {"text": "b", "id": "kb-7", "metadata": {"page": 4}}]}
    answer = answer_to(native.parse(body)[0], [-1.0, 0.0])
    first = replace(answer.ranking[0], truncated=True, best_span=(0, 1), probability=0.75)
    ranking = replace(answer.ranking, results=(first, *answer.ranking.results[1:]), degraded="ran on the CPU")
    assert native.render([replace(answer, ranking=ranking)], "id-1") == {
        "id": "id-1",
        "model": "bge-reranker-v2-m3",
        "device": "Some CPU",
        "precision": "int8",
        "degraded": "ran on the CPU",
        "results": [
            {
                "rank": 1,
                "index": 1,
                "id": "kb-7",
                "document": {"text": "b", "metadata": {"page": 4}},
                "score": 0.5,
                "logit": 0.0,
                "probability": 0.75,
                "truncated": True,
                "best_span": (0, 1),
            },
            {
                "rank": 2,
                "index": 0,
                "id": None,
                "document": {"text": "a", "metadata": {}},
                "score": 0.2689414213699951,
                "logit": -1.0,
                "probability": None,
                "truncated": False,
                "best_span": None,
            },
        ],
        "usage": {"pairs": 2, "tokens": 20, "truncated": 0, "cached": 1, "skipped": 0},
        "timings": {"queue_ms": 1.0, "encode_ms": 2.0, "forward_ms": 30.5, "total_ms": 34.0},
    }


def test_documents_stay_where_they_are_on_request(answer_to):
    (request,) = native.parse({"query": "reset?", "documents": ["a"], "return_documents": False})
    assert native.render([answer_to(request)], "id-1")["results"][0]["document"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"documents": [{"id": 1}]}, "documents[0].text is missing; only text is ranked"),
        ({"documents": ["a", {"text": "b", "id": [1]}]}, "documents[1].id is a list; it must be a string or a whole"),
        ({"documents": [{"text": "b", "metadata": 3}]}, "documents[0].metadata is 3; it must be an object"),
        (
            {"documents": [{"text": "b", "metadata": {"a": float("nan")}}]},
            "documents[0].metadata is nan; it must be a fin",
        ),
        ({"long_documents": "drop"}, "long_documents is a string; it must be 'truncate' or 'chunk'"),
        ({"top_n": 0}, "top_n is 0; it must be at least 1"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(InvalidInput) as raised:
        native.parse({"query": "reset?", "documents": ["a"]} | change)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_failure_names_its_kind(kind):
    problem = Problem(kind, "what went wrong", "documents[3]", 2)
    assert native.render_error(problem) == (
        PROBLEMS[kind],
        {"error": {"kind": kind, "message": "what went wrong", "field": "documents[3]", "retry_after_s": 2}},
    )
