import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import jina
from finerank.serving.request import Problem, RerankRequest


def test_a_request_is_read():
    body = {
        "model": "jina-reranker-v2-base-multilingual",
        "query": {"text": "reset?"},
        "documents": ["Keep it dry.", {"text": "Hold it.", "page": 4}],
        "top_n": 3,
        "return_documents": False,
    }
    assert jina.parse(body) == (
        RerankRequest(
            "reset?",
            (Document("Keep it dry."), Document("Hold it.", metadata={"text": "Hold it.", "page": 4})),
            model="jina-reranker-v2-base-multilingual",
            top_n=3,
        ),
    )


def test_an_answer_has_documents_unless_they_are_not_wanted(answer_to):
    (request,) = jina.parse({"query": "reset?", "documents": ["Keep it dry.", {"text": "Hold it.", "page": 4}]})
    assert jina.render([answer_to(request, [-1.0, 0.0])], "id-1") == {
        "model": "bge-reranker-v2-m3",
        "object": "list",
        "usage": {"total_tokens": 20},
        "results": [
            {"index": 1, "relevance_score": 0.5, "document": {"text": "Hold it.", "page": 4}},
            {"index": 0, "relevance_score": 0.2689414213699951, "document": {"text": "Keep it dry."}},
        ],
    }
    (request,) = jina.parse({"query": "reset?", "documents": ["Keep it dry."], "return_documents": False})
    assert jina.render([answer_to(request)], "id-1")["results"] == [{"index": 0, "relevance_score": 0.5}]


def test_images_are_refused():
    with pytest.raises(InvalidInput, match=r"^documents\[1\].text is missing; only text is ranked$"):
        jina.parse({"query": "reset?", "documents": ["a", {"image": "https://example.com/a.png"}]})


def test_a_field_that_could_not_be_sent_back_is_refused():
    with pytest.raises(InvalidInput, match=r"^documents\[0\].weight is nan; it must be a finite number$"):
        jina.parse({"query": "reset?", "documents": [{"text": "a", "weight": float("nan")}]})


def test_embeddings_are_refused():
    with pytest.raises(InvalidInput, match=r"^return_embeddings is true, but a cross-encoder has none"):
        jina.parse({"query": "reset?", "documents": ["a"], "return_embeddings": True})


@pytest.mark.parametrize(("kind", "status"), [("invalid", 422), ("unauthorized", 401), ("overloaded", 429)])
def test_a_failure_is_a_detail(kind, status):
    assert jina.render_error(Problem(kind, "what went wrong")) == (status, {"detail": "what went wrong"})
