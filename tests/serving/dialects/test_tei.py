import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import tei
from finerank.serving.request import Problem, RerankRequest


def test_a_request_is_read():
    body = {
        "query": "reset?",
        "texts": ["a", "b"],
        "truncate": False,
        "truncation_direction": "right",
        "raw_scores": True,
        "return_text": True,
    }
    assert tei.parse(body) == (
        RerankRequest("reset?", (Document("a"), Document("b")), truncate=False, return_documents=True, raw_scores=True),
    )


def test_texts_are_cut_unless_that_is_forbidden():
    assert tei.parse({"query": "reset?", "texts": ["a"], "truncate": None}) == (
        RerankRequest("reset?", (Document("a"),)),
    )


def test_an_answer_is_a_bare_list_best_first(answer_to):
    (request,) = tei.parse({"query": "reset?", "texts": ["a", "b"]})
    assert tei.render([answer_to(request, [-1.0, 0.0])], "id-1") == [
        {"index": 1, "score": 0.5},
        {"index": 0, "score": 0.2689414213699951},
    ]


def test_raw_scores_and_texts_on_request(answer_to):
    (request,) = tei.parse({"query": "reset?", "texts": ["a"], "raw_scores": True, "return_text": True})
    assert tei.render([answer_to(request, [-7.25])], "id-1") == [{"index": 0, "score": -7.25, "text": "a"}]


def test_texts_are_not_cut_on_the_left():
    with pytest.raises(InvalidInput, match=r"^truncation_direction is Left; texts are cut on the right only"):
        tei.parse({"query": "reset?", "texts": ["a"], "truncation_direction": "left"})


@pytest.mark.parametrize(
    ("kind", "status", "error_type"),
    [
        ("invalid", 422, "Validation"),
        ("too_large", 413, "Validation"),
        ("unauthorized", 401, "Validation"),
        ("overloaded", 429, "Overloaded"),
        ("failed", 424, "Backend"),
        ("unavailable", 503, "Unhealthy"),
        ("timeout", 504, "Backend"),
    ],
)
def test_a_failure_has_a_type(kind, status, error_type):
    answer = (status, {"error": "what went wrong", "error_type": error_type})
    assert tei.render_error(Problem(kind, "what went wrong", "texts[1]")) == answer


def test_no_texts_are_a_failure_of_their_own():
    with pytest.raises(InvalidInput) as raised:
        tei.parse({"query": "reset?", "texts": []})
    problem = Problem("invalid", str(raised.value), "texts")
    assert tei.render_error(problem) == (400, {"error": "texts is empty; give at least one", "error_type": "Empty"})
