import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import cohere_v1
from finerank.serving.request import Problem, RerankRequest

CARE = {"title": "Care", "text": "Keep it dry.", "page": 4}
RESET = {"title": "Reset", "steps": ["Hold.", "Wait."]}


def test_a_request_is_read():
    body = {"query": "reset?", "documents": ["Keep it dry.", {"text": "Hold it."}], "model": "rerank-english-v3.0"}
    assert cohere_v1.parse(body) == (
        RerankRequest(
            "reset?",
            (Document("Keep it dry."), Document("Hold it.", metadata={"text": "Hold it."})),
            model="rerank-english-v3.0",
        ),
    )


def test_rank_fields_are_joined_in_their_order():
    body = {"query": "reset?", "documents": [CARE, RESET, "As it is."], "rank_fields": ["steps", "title", "text"]}
    (request,) = cohere_v1.parse(body)
    assert [document.text for document in request.documents] == [
        "Care\nKeep it dry.",
        '["Hold.", "Wait."]\nReset',
        "As it is.",
    ]


@pytest.mark.parametrize(("chunks", "chunk"), [(None, None), (1, False), (10, True)])
def test_more_than_one_chunk_scores_passages(chunks, chunk):
    (request,) = cohere_v1.parse({"query": "reset?", "documents": ["a"], "max_chunks_per_doc": chunks})
    assert request.chunk is chunk


def test_documents_come_back_as_they_were_given(answer_to):
    body = {"query": "reset?", "documents": [CARE, "As it is."], "return_documents": True}
    (request,) = cohere_v1.parse(body)
    assert cohere_v1.render([answer_to(request, [0.0, -1.0])], "id-1") == {
        "id": "id-1",
        "results": [
            {"index": 0, "relevance_score": 0.5, "document": CARE},
            {"index": 1, "relevance_score": 0.2689414213699951, "document": {"text": "As it is."}},
        ],
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}},
    }


def test_documents_stay_where_they_are_by_default(answer_to):
    (request,) = cohere_v1.parse({"query": "reset?", "documents": ["a"]})
    assert cohere_v1.render([answer_to(request)], "id-1")["results"] == [{"index": 0, "relevance_score": 0.5}]


def test_an_object_without_the_fields_is_named():
    with pytest.raises(InvalidInput, match=r"^documents\[1\]: no field text; name its fields in rank_fields$"):
        cohere_v1.parse({"query": "reset?", "documents": [CARE, RESET]})


def test_an_object_that_could_not_be_sent_back_is_named():
    with pytest.raises(InvalidInput, match=r"^documents\[0\].weight is inf; it must be a finite number$"):
        cohere_v1.parse({"query": "reset?", "documents": [{"text": "a", "weight": float("inf")}]})


def test_a_failure_is_a_message():
    assert cohere_v1.render_error(Problem("invalid", "top_n is 0")) == (400, {"message": "top_n is 0"})
