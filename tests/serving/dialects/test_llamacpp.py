import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import llamacpp, llamacpp_texts
from finerank.serving.request import Problem, RerankRequest


def test_a_request_is_read():
    body = {"model": "bge", "query": "reset?", "documents": ["a", "b"], "top_n": 1, "return_text": True}
    assert llamacpp.parse(body) == (
        RerankRequest("reset?", (Document("a"), Document("b")), model="bge", top_n=1, raw_scores=True),
    )


def test_a_request_with_texts_is_read():
    body = {"query": "reset?", "texts": ["a", "b"], "top_n": 1, "return_text": True}
    documents = (Document("a"), Document("b"))
    assert llamacpp_texts.parse(body) == (
        RerankRequest("reset?", documents, top_n=1, return_documents=True, raw_scores=True),
    )


def test_scores_are_logits(answer_to):
    (request,) = llamacpp.parse({"query": "reset?", "documents": ["a", "b"]})
    assert llamacpp.render([answer_to(request, [-4.0, 7.5])], "id-1") == {
        "model": "bge-reranker-v2-m3",
        "object": "list",
        "usage": {"prompt_tokens": 20, "total_tokens": 20},
        "results": [{"index": 1, "relevance_score": 7.5}, {"index": 0, "relevance_score": -4.0}],
    }


def test_texts_are_answered_with_a_bare_list(answer_to):
    (request,) = llamacpp_texts.parse({"query": "reset?", "texts": ["a", "b"], "return_text": True, "top_n": 1})
    assert llamacpp_texts.render([answer_to(request, [-4.0, 7.5])], "id-1") == [{"index": 1, "score": 7.5, "text": "b"}]


@pytest.mark.parametrize("dialect", [llamacpp, llamacpp_texts])
def test_a_negative_top_n_is_refused(dialect):
    with pytest.raises(InvalidInput, match=r"^top_n is -1; it must be at least 0$"):
        dialect.parse({"query": "reset?", "documents": ["a"], "texts": ["a"], "top_n": -1})


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        ("invalid", 400, "invalid_request_error"),
        ("unauthorized", 401, "authentication_error"),
        ("unavailable", 503, "unavailable_error"),
        ("failed", 500, "server_error"),
    ],
)
def test_a_failure_has_llamacpps_shape(kind, status, name):
    answer = (status, {"error": {"code": status, "message": "what went wrong", "type": name}})
    assert llamacpp.render_error(Problem(kind, "what went wrong")) == answer
    assert llamacpp_texts.render_error(Problem(kind, "what went wrong")) == answer
