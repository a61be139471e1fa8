import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import vllm_score
from finerank.serving.request import Problem, RerankRequest


def documents(*texts):
    return tuple(map(Document, texts))


@pytest.mark.parametrize(
    ("left", "right"), [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
def test_one_query_is_scored_with_every_text(left, right):
    assert vllm_score.parse({left: "reset?", right: ["a", "b"], "use_activation": False}) == (
        RerankRequest("reset?", documents("a", "b"), return_documents=True, raw_scores=True),
    )


def test_as_many_queries_as_texts_are_pairs():
    assert vllm_score.parse({"text_1": ["q", "r"], "text_2": ["a", "b"]}) == (
        RerankRequest("q", documents("a"), return_documents=True),
        RerankRequest("r", documents("b"), return_documents=True),
    )


def test_scores_are_in_the_order_given(answer_to):
    (request,) = vllm_score.parse({"text_1": "reset?", "text_2": ["a", "b"]})
    answer = vllm_score.render([answer_to(request, [-1.0, 0.0])], "id-1")
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "id": "id-1",
        "object": "list",
        "model": "bge-reranker-v2-m3",
        "data": [
            {"index": 0, "object": "score", "score": 0.2689414213699951},
            {"index": 1, "object": "score", "score": 0.5},
        ],
        "usage": {"prompt_tokens": 20, "total_tokens": 20},
    }


def test_pairs_are_numbered_through(answer_to):
    requests = vllm_score.parse({"text_1": ["q", "r"], "text_2": ["a", "b"], "use_activation": False})
    answers = [answer_to(request, [logit]) for request, logit in zip(requests, [-1.5, 2.5], strict=True)]
    rendered = vllm_score.render(answers, "id-1")
    assert [(row["index"], row["score"]) for row in rendered["data"]] == [(0, -1.5), (1, 2.5)]
    assert rendered["usage"] == {"prompt_tokens": 20, "total_tokens": 20}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text_1": ["q", "r"], "text_2": ["a"]}, "text_1: 2 texts against 1 of text_2"),
        ({"text_1": "q", "text_2": []}, "text_2 is empty"),
        ({"text_1": [], "text_2": ["a"]}, "text_1 is empty"),
        ({"text_1": "q"}, "text_1: it or text_2 is missing"),
        ({"text_1": "q", "text_2": [4]}, "text_2[0] is 4; it must be a string or an object"),
    ],
)
def test_what_does_not_fit_is_named(body, message):
    with pytest.raises(InvalidInput) as raised:
        vllm_score.parse(body)
    assert str(raised.value).startswith(message)


def test_a_failure_has_openais_shape():
    status, body = vllm_score.render_error(Problem("invalid", "text_2 is empty", "text_2"))
    assert (status, body["error"]["param"]) == (400, "text_2")
