import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import superset, vllm
from finerank.serving.request import Problem, RerankRequest


def part(text):
    return {"content": [{"type": "text", "text": text}]}


def test_a_request_is_read():
    body = {
        "model": "BAAI/bge-reranker-v2-m3",
        "query": part("reset?"),
        "documents": ["a", part("b")],
        "top_n": 1,
        "truncate_prompt_tokens": 128,
        "max_tokens_per_doc": 64,
        "use_activation": False,
        "instruction": "find the manual",
        "priority": 0,
        "request_id": "abc",
    }
    assert vllm.parse(body) == (
        RerankRequest(
            "reset?",
            (Document("a"), Document("b")),
            model="BAAI/bge-reranker-v2-m3",
            instruction="find the manual",
            max_passage_tokens=64,
            max_length=128,
            top_n=1,
            return_documents=True,
            raw_scores=True,
        ),
    )


@pytest.mark.parametrize("name", ["use_activation", "activation", "softmax"])
def test_logits_are_asked_for_by_every_name_it_has_had(name):
    (request,) = vllm.parse({"query": "q", "documents": ["a"], name: False})
    assert request.raw_scores
    (shared,) = superset.parse({"query": "q", "documents": ["a"], name: False})
    assert shared.raw_scores


@pytest.mark.parametrize("top_n", [0, -1, None])
def test_a_top_n_of_0_or_less_is_all(top_n):
    (request,) = vllm.parse({"query": "reset?", "documents": ["a", "b"], "top_n": top_n})
    assert request.top_n is None


def test_minus_one_is_the_models_length():
    body = {"query": "reset?", "documents": "a", "truncate_prompt_tokens": -1, "max_tokens_per_doc": 0}
    assert vllm.parse(body) == (RerankRequest("reset?", (Document("a"),), return_documents=True),)


def test_an_answer_is_written(answer_to):
    (request,) = vllm.parse({"query": "reset?", "documents": [part("a")]})
    assert vllm.render([answer_to(request)], "id-1") == {
        "id": "id-1",
        "model": "bge-reranker-v2-m3",
        "usage": {"prompt_tokens": 10, "total_tokens": 10},
        "results": [{"index": 0, "relevance_score": 0.5, "document": {"text": "a"}}],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truncation_side": "left"}, "truncation_side is left; texts are cut on the right only"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens is 0, which leaves nothing to score"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens is -2; it must be at least -1"),
        ({"max_tokens_per_query": 9}, "max_tokens_per_query is 9; it must be at most 0"),
        (
            {"documents": ["a", {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "documents[1].content: must be parts of type text",
        ),
        ({"query": {"content": []}}, "query.content: must be parts of type text"),
        ({"documents": []}, "documents is empty"),
    ],
)
def test_what_cannot_be_honoured_is_refused(change, message):
    with pytest.raises(InvalidInput) as raised:
        vllm.parse({"query": "reset?", "documents": ["a"]} | change)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [("invalid", 400, "BadRequestError"), ("not_found", 404, "NotFoundError"), ("timeout", 504, "InternalServerError")],
)
def test_a_failure_has_openais_shape(kind, status, name):
    assert vllm.render_error(Problem(kind, "what went wrong", "query")) == (
        status,
        {"error": {"message": "what went wrong", "type": name, "param": "query", "code": status}},
    )
