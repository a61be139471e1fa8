import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import xinference
from finerank.serving.request import Problem, RerankRequest


def test_a_request_is_read_as_xinferences_client_sends_it():
    body = {
        "model": "bge-reranker-v2-m3",
        "documents": ["a", "b"],
        "query": "reset?",
        "top_n": None,
        "max_chunks_per_doc": None,
        "return_documents": None,
        "return_len": None,
        "kwargs": '{"instruction": "find the manual"}',
    }
    assert xinference.parse(body) == (
        RerankRequest(
            "reset?", (Document("a"), Document("b")), model="bge-reranker-v2-m3", instruction="find the manual"
        ),
    )


def test_an_instruction_may_stand_in_the_body():
    body = {"query": "reset?", "documents": ["a"], "instruction": "find the manual", "kwargs": "{}"}
    assert xinference.parse(body)[0].instruction == "find the manual"


@pytest.mark.parametrize("kwargs", ["{", "[]", '{"instruction": 3}', "[" * 100_000])
def test_options_that_are_no_json_object_are_named(kwargs):
    with pytest.raises(InvalidInput, match=r"^kwargs: not a JSON object"):
        xinference.parse({"query": "reset?", "documents": ["a"], "kwargs": kwargs})


def test_every_result_has_a_document(answer_to):
    (request,) = xinference.parse({"query": "reset?", "documents": ["a"]})
    answer = xinference.render([answer_to(request)], "id-1")
    assert answer == {
        "id": "id-1",
        "results": [{"index": 0, "relevance_score": 0.5, "document": None}],
        "meta": {
            "api_version": None,
            "billed_units": None,
            "tokens": {"input_tokens": 10, "output_tokens": 0},
            "warnings": None,
        },
    }
    (request,) = xinference.parse({"query": "reset?", "documents": ["a"], "return_documents": True})
    assert xinference.render([answer_to(request)], "id-1")["results"][0]["document"] == {"text": "a"}


@pytest.mark.parametrize(("kind", "status"), [("invalid", 400), ("overloaded", 429), ("failed", 500)])
def test_a_failure_is_a_detail(kind, status):
    assert xinference.render_error(Problem(kind, "what went wrong")) == (status, {"detail": "what went wrong"})
