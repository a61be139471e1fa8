import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import superset
from finerank.serving.request import Problem, RerankRequest


def test_the_fields_of_all_are_read():
    body = {
        "model": "bge",
        "query": {"text": "reset?"},
        "documents": ["a", {"text": "b"}],
        "top_n": 1,
        "return_documents": False,
        "instruction": "find the manual",
        "truncate_prompt_tokens": 128,
        "max_tokens_per_doc": 64,
        "max_chunks_per_doc": 10,
        "use_activation": False,
    }
    assert superset.parse(body) == (
        RerankRequest(
            "reset?",
            (Document("a"), Document("b", metadata={"text": "b"})),
            model="bge",
            instruction="find the manual",
            max_passage_tokens=64,
            max_length=128,
            chunk=True,
            top_n=1,
            raw_scores=True,
        ),
    )


def test_nothing_said_is_all_with_documents():
    body = {"query": "reset?", "documents": ["a"], "top_n": 0, "truncate_prompt_tokens": -1}
    assert superset.parse(body) == (RerankRequest("reset?", (Document("a"),), return_documents=True),)


def test_infinitys_raw_scores():
    (request,) = superset.parse({"query": "reset?", "documents": ["a"], "raw_scores": True})
    assert request.raw_scores


def test_an_answer_has_the_fields_of_all(answer_to):
    (request,) = superset.parse({"query": "reset?", "documents": ["a", "b"]})
    assert superset.render([answer_to(request, [0.0, -1.0])], "id-1") == {
        "id": "id-1",
        "object": "rerank",
        "model": "bge-reranker-v2-m3",
        "results": [
            {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}},
            {"index": 1, "relevance_score": 0.2689414213699951, "document": {"text": "b"}},
        ],
        "usage": {"prompt_tokens": 20, "total_tokens": 20},
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}},
    }


@pytest.mark.parametrize("change", [{"top_n": -1}, {"truncate_prompt_tokens": 0}, {"documents": []}, {"query": 3}])
def test_what_does_not_fit_is_named(change):
    (field,) = change
    with pytest.raises(InvalidInput, match=f"^{field} is "):
        superset.parse({"query": "reset?", "documents": ["a"]} | change)


def test_a_failure_has_every_shape():
    error = {"message": "query is 3", "type": "BadRequestError", "param": "query", "code": 400}
    assert superset.render_error(Problem("invalid", "query is 3", "query")) == (
        400,
        {"message": "query is 3", "detail": "query is 3", "error": error},
    )
