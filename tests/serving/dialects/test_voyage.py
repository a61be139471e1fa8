import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import voyage
from finerank.serving.request import Problem, RerankRequest


def test_a_request_is_read():
    body = {"query": "reset?", "documents": ["a", "b"], "model": "rerank-2.5", "top_k": 1, "truncation": False}
    assert voyage.parse(body) == (
        RerankRequest("reset?", (Document("a"), Document("b")), model="rerank-2.5", truncate=False, top_n=1),
    )


def test_null_is_the_default():
    body = {"query": "reset?", "documents": ["a"], "model": None, "top_k": None, "truncation": None}
    assert voyage.parse(body) == (RerankRequest("reset?", (Document("a"),)),)


def test_documents_come_back_as_strings(answer_to):
    (request,) = voyage.parse({"query": "reset?", "documents": ["a", "b"], "return_documents": True})
    assert voyage.render([answer_to(request, [0.0, -1.0])], "id-1") == {
        "object": "list",
        "data": [
            {"index": 0, "relevance_score": 0.5, "document": "a"},
            {"index": 1, "relevance_score": 0.2689414213699951, "document": "b"},
        ],
        "model": "bge-reranker-v2-m3",
        "usage": {"total_tokens": 20},
    }


def test_documents_stay_where_they_are_by_default(answer_to):
    (request,) = voyage.parse({"query": "reset?", "documents": ["a"]})
    assert voyage.render([answer_to(request)], "id-1")["data"] == [{"index": 0, "relevance_score": 0.5}]


def test_top_k_is_named_as_voyage_names_it():
    with pytest.raises(InvalidInput, match=r"^top_k is 0; it must be at least 1$"):
        voyage.parse({"query": "reset?", "documents": ["a"], "top_k": 0})


@pytest.mark.parametrize(
    ("kind", "status"), [("invalid", 400), ("too_large", 400), ("unauthorized", 401), ("overloaded", 429)]
)
def test_a_failure_is_a_detail(kind, status):
    assert voyage.render_error(Problem(kind, "what went wrong")) == (status, {"detail": "what went wrong"})
