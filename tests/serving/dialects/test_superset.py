import pytest

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.serving.dialects import jina, superset, vllm, xinference
from finerank.serving.request import Problem, RerankRequest

TOKENS = {"input_tokens": 20, "output_tokens": 0}


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


@pytest.mark.parametrize("document", ["a", {"text": "a"}, {"content": [{"type": "text", "text": "a"}]}])
def test_a_single_document_may_stand_alone_as_in_vllm(document):
    (request,) = superset.parse({"query": "reset?", "documents": document})
    assert [each.text for each in request.documents] == ["a"]


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
        "data": [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": 0.2689414213699951}],
        "usage": {"prompt_tokens": 20, "total_tokens": 20},
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}, "tokens": TOKENS},
    }


def test_voyages_list_has_strings_if_documents_are_asked_for(answer_to):
    body = {"query": "reset?", "documents": ["a", {"text": "b", "page": 4}], "return_documents": True}
    answer = superset.render([answer_to(superset.parse(body)[0], [0.0, -1.0])], "id-1")
    assert [row["document"] for row in answer["data"]] == ["a", "b"]
    assert [row["document"] for row in answer["results"]] == [{"text": "a"}, {"text": "b", "page": 4}]
    assert [row["index"] for row in answer["data"]] == [row["index"] for row in answer["results"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_k": 1}, {"top_n": 1}),
        ({"top_k": 1, "top_n": 2}, {"top_n": 2}),
        ({"top_k": None}, {}),
        ({"truncation": False}, {"truncate": False}),
        ({"truncation": None}, {}),
        ({"raw_scores": None}, {}),
    ],
)
def test_voyages_options_are_read(options, expected):
    (request,) = superset.parse({"query": "reset?", "documents": ["a", "b"], **options})
    documents = (Document("a"), Document("b"))
    assert request == RerankRequest("reset?", documents, **{"return_documents": True, **expected})


def test_rank_fields_are_joined():
    documents = [{"title": "Reset", "body": "Hold the button."}, "a string"]
    (request,) = superset.parse({"query": "q", "documents": documents, "rank_fields": ["title", "body"]})
    assert [document.text for document in request.documents] == ["Reset\nHold the button.", "a string"]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}]}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, "a\nb"),
        ({"content": "a"}, "a"),
    ],
)
@pytest.mark.parametrize("dialect", [superset, jina, xinference, vllm], ids=lambda dialect: dialect.__name__)
def test_content_in_parts_is_read(dialect, document, text):
    (request,) = dialect.parse({"query": {"content": [{"type": "text", "text": "q"}]}, "documents": ["x", document]})
    assert (request.query, request.documents[1].text) == ("q", text)


@pytest.mark.parametrize("dialect", [superset, jina, xinference], ids=lambda dialect: dialect.__name__)
def test_a_text_beside_content_wins(dialect):
    document = {"text": "a", "content": [{"type": "text", "text": "b"}]}
    (request,) = dialect.parse({"query": "q", "documents": [document]})
    assert request.documents[0].text == "a"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "documents[1].content: must be parts of"),
        ({"content": []}, "documents[1].content: must be parts of type text"),
        ({"content": 3}, "documents[1].content is 3; it must be a string or a list"),
        ({"content": [{"type": "text", "text": 3}]}, "documents[1].content[0] is 3; it must be a string"),
        ({"image": "x"}, "documents[1].text is missing; only text is ranked"),
        ({"text": 3}, "documents[1].text is 3; it must be a string"),
    ],
)
def test_an_object_that_is_no_text_is_named(document, message):
    with pytest.raises(InvalidInput) as raised:
        superset.parse({"query": "reset?", "documents": ["a", document]})
    assert str(raised.value).startswith(message)


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
