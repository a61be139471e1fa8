import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import cohere
from finerank.serving.request import Problem, RerankRequest


def test_a_request_is_read():
    body = {
        "model": "rerank-v3.5",
        "query": "reset?",
        "documents": ["Keep it dry.", "Hold the button."],
        "top_n": 1,
        "max_tokens_per_doc": 256,
        "priority": 3,
    }
    assert cohere.parse(body) == (
        RerankRequest(
            "reset?",
            (Document("Keep it dry."), Document("Hold the button.")),
            model="rerank-v3.5",
            max_passage_tokens=256,
            top_n=1,
        ),
    )


def test_documents_are_cut_at_4096_tokens_where_the_request_says_nothing():
    body = {"query": "reset?", "documents": ["a"], "top_n": None, "max_tokens_per_doc": None}
    assert cohere.parse(body) == (RerankRequest("reset?", (Document("a"),), max_passage_tokens=4096),)


def test_an_answer_is_written(answer_to):
    request = RerankRequest("reset?", (Document("Keep it dry."), Document("Hold the button.")))
    assert cohere.render([answer_to(request, [-2.0, 0.0])], "id-1") == {
        "id": "id-1",
        "results": [
            {"index": 1, "relevance_score": 0.5},
            {"index": 0, "relevance_score": 0.11920292202211755},
        ],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }


@pytest.mark.parametrize(("documents", "units"), [(1, 1), (100, 1), (101, 2)])
def test_a_search_unit_is_a_hundred_documents(answer_to, documents, units):
    request = RerankRequest("reset?", (Document("a"),) * documents, top_n=1)
    assert cohere.render([answer_to(request)], "id-1")["meta"]["billed_units"] == {"search_units": units}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"documents": []}, "documents is empty; give at least one"),
        ({"documents": ["a", {"text": "b"}]}, "documents[1] is an object; it must be a string"),
        ({"documents": "a"}, "documents is a string; it must be a list"),
        ({"query": None}, "query is null; it must be a string"),
        ({"top_n": 0}, "top_n is 0; it must be at least 1"),
        ({"top_n": 1.5}, "top_n is 1.5; it must be a whole number"),
        ({"top_n": "many"}, "top_n is a string; it must be a whole number"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc is 0; it must be at least 1"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    body = {"query": "reset?", "documents": ["a"]} | change
    with pytest.raises(InvalidInput) as raised:
        cohere.parse(body)
    assert str(raised.value) == message


def test_a_missing_field_is_named():
    with pytest.raises(InvalidInput, match=r"^documents is missing$"):
        cohere.parse({"query": "reset?"})


@pytest.mark.parametrize(
    ("kind", "status"),
    [("invalid", 400), ("unauthorized", 401), ("overloaded", 429), ("failed", 500), ("unavailable", 503)],
)
def test_a_failure_is_a_message(kind, status):
    assert cohere.render_error(Problem(kind, "what went wrong", "top_n", 2)) == (status, {"message": "what went wrong"})
