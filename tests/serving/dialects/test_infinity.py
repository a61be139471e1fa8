import time

import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import infinity
from finerank.serving.request import Problem, RerankRequest


def test_a_request_is_read():
    body = {
        "query": "reset?",
        "documents": ["a", "b"],
        "model": "default/not-specified",
        "top_n": 1,
        "return_documents": True,
        "raw_scores": True,
    }
    assert infinity.parse(body) == (
        RerankRequest(
            "reset?",
            (Document("a"), Document("b")),
            model="default/not-specified",
            top_n=1,
            return_documents=True,
            raw_scores=True,
        ),
    )


def test_an_answer_is_written(answer_to):
    (request,) = infinity.parse({"query": "reset?", "documents": ["a"], "return_documents": True, "raw_scores": True})
    answer = infinity.render([answer_to(request, [3.5])], "id-1")
    assert abs(answer.pop("created") - time.time()) < 60
    assert answer == {
        "object": "rerank",
        "results": [{"index": 0, "relevance_score": 3.5, "document": "a"}],
        "model": "bge-reranker-v2-m3",
        "usage": {"prompt_tokens": 10, "total_tokens": 10},
        "id": "id-1",
    }


def test_objects_are_refused():
    with pytest.raises(InvalidInput, match=r"^documents\[0\] is an object; it must be a string$"):
        infinity.parse({"query": "reset?", "documents": [{"text": "a"}]})


def test_what_does_not_fit_has_fastapis_shape():
    assert infinity.render_error(Problem("invalid", "documents[3] is 1", "documents[3]")) == (
        422,
        {"detail": [{"type": "value_error", "loc": ["body", "documents", 3], "msg": "documents[3] is 1"}]},
    )


def test_a_wrong_key_has_fastapis_shape():
    assert infinity.render_error(Problem("unauthorized", "no such key")) == (401, {"detail": "no such key"})


@pytest.mark.parametrize(
    ("kind", "status", "name"), [("overloaded", 429, "RateLimitError"), ("failed", 500, "InternalServerError")]
)
def test_any_other_failure_has_openais_shape(kind, status, name):
    assert infinity.render_error(Problem(kind, "what went wrong")) == (
        status,
        {"error": {"message": "what went wrong", "type": name, "param": None, "code": status}},
    )
