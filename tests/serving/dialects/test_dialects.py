"""What holds for every dialect, and which one a request is spoken in."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.errors import InvalidInput
from finerank.serving.dialects import DIALECTS, PREFIXES, ROUTES, dialect_for
from finerank.serving.request import PROBLEMS, Problem

each_dialect = pytest.mark.parametrize("name", DIALECTS)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 10**30])
    | st.floats()
    | st.text(st.characters())
    | st.text("\ud800\udfffa"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters), inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.lists(st.text() | st.fixed_dictionaries({"text": st.text()}) | VALUES, max_size=4)


@st.composite
def bodies(draw, name):
    """A body with the dialect's own fields: most of them as they should be, some of them anything."""
    fields = DIALECTS[name].REQUEST.model_fields
    body = {}
    for field in draw(st.sets(st.sampled_from(sorted(fields)))) | set(DIALECTS[name].EXAMPLE):
        usual = DIALECTS[name].EXAMPLE.get(field, None)
        texts = field in ("documents", "texts", "text_2", "passages", "input")
        body[field] = draw(st.just(usual) | (TEXTS if texts else VALUES))
    return body


@each_dialect
@settings(deadline=None)
@given(data=st.data())
def test_any_body_is_read_or_refused_and_what_is_read_can_be_answered(name, answer_to, data):
    dialect = DIALECTS[name]
    body = data.draw(bodies(name) | VALUES)
    try:
        requests = dialect.parse(body)
    except InvalidInput:
        return
    assert requests
    answer = dialect.render([answer_to(request) for request in requests], "id-1")
    json.dumps(answer, allow_nan=False)
    dialect.RESPONSE.model_validate(answer, extra="forbid")


@each_dialect
def test_the_example_is_answered_in_the_shape_described(name, answer_to):
    dialect = DIALECTS[name]
    requests = dialect.parse(dialect.EXAMPLE)
    answer = dialect.render([answer_to(request) for request in requests], "id-1")
    described = dialect.RESPONSE.model_validate(answer, extra="forbid")
    assert (
        set(json.loads(described.model_dump_json(exclude_unset=True))) == set(answer)
        if isinstance(answer, dict)
        else isinstance(answer, list)
    )


@each_dialect
@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_kind_of_failure_is_told_in_the_shape_described(name, kind):
    dialect = DIALECTS[name]
    status, body = dialect.render_error(Problem(kind, "what went wrong", "documents[3]", 2))
    assert status >= 400
    assert "what went wrong" in json.dumps(body)
    dialect.ERROR.model_validate(body, extra="forbid")


@each_dialect
def test_unknown_fields_are_ignored(name):
    dialect = DIALECTS[name]
    assert dialect.parse({**dialect.EXAMPLE, "priority": 1, "user": "me", "verbose": {}}) == dialect.parse(
        dialect.EXAMPLE
    )


@each_dialect
def test_texts_are_not_copied(name):
    dialect = DIALECTS[name]
    texts = ["long " * 100, "longer " * 100]
    body = dict.fromkeys(("documents", "texts", "text_2", "passages", "input"), texts)
    body |= {"query": "reset?", "text_1": "reset?"}
    if name != "vllm_score":
        del body["text_2"]
    else:
        del body["documents"]
    (request,) = dialect.parse(body)
    assert all(document.text is text for document, text in zip(request.documents, texts, strict=True))


@each_dialect
def test_requests_and_answers_are_described(name):
    dialect = DIALECTS[name]
    for model in (dialect.REQUEST, dialect.RESPONSE, dialect.ERROR):
        assert model.model_json_schema()["title"]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/finerank/v1/rerank", {}, "native"),
        ("/finerank/v1/rerank", {"model": "bge"}, "native"),
        ("/api/rerank", {"documents": ["a"]}, "native"),
        ("/api/rerank", {"model": "bge", "documents": ["a"]}, "ollama"),
        ("/api/rerank", {"model": "bge", "documents": ["a"], "top_n": 1}, "ollama"),
        ("/api/rerank", {"model": "bge", "documents": ["a"], "return_documents": False}, "native"),
        ("/api/rerank", {"model": "bge", "documents": ["a"], "tag": "faq"}, "native"),
        ("/v2/rerank", {"documents": ["a"]}, "superset_v2"),
        ("/v2/rerank", {"documents": ["a"], "truncate_prompt_tokens": 128}, "superset_v2"),
        ("/v1/rerank", {"documents": ["a"], "top_n": 1}, "superset"),
        ("/v1/rerank", {"documents": ["a"], "top_k": 1}, "superset"),
        ("/v1/rerank", {"documents": ["a"], "truncation": True}, "superset"),
        ("/v1/rerank", {"documents": ["a"], "rank_fields": ["a"]}, "superset"),
        ("/v1/rerank", {"documents": ["a"], "texts": None}, "superset"),
        ("/v1/rerank", {"texts": ["a"]}, "tei"),
        ("/v1/rerank", {"passages": [{"text": "a"}]}, "nvidia"),
        ("/rerank", {"input": ["a"]}, "mixedbread"),
        ("/v1/reranking", {"input": ["a"]}, "mixedbread"),
        ("/v1/ranking", {"passages": [{"text": "a"}]}, "nvidia"),
        ("/v1/retrieval/{name}/reranking", {"passages": [{"text": "a"}]}, "nvidia"),
        ("/rerank", {"documents": ["a"]}, "superset"),
        ("/rerank", {"texts": ["a"]}, "tei"),
        ("/reranking", {"documents": ["a"]}, "llamacpp"),
        ("/reranking", {"texts": ["a"]}, "llamacpp_texts"),
        ("/score", {"text_1": "a"}, "vllm_score"),
        ("/jina/v1/rerank", {"top_k": 1}, "jina"),
        ("/cohere/v1/rerank", {"top_k": 1}, "cohere_v1"),
        ("/tei/rerank", {"documents": ["a"]}, "tei"),
        ("/llamacpp/rerank", {"texts": ["a"]}, "llamacpp_texts"),
        ("/rerank", None, "superset"),
        ("/rerank", ["texts"], "superset"),
        ("/v2/rerank", None, "superset_v2"),
    ],
)
def test_path_and_body_say_the_dialect(path, body, name):
    assert dialect_for(path, body) == (name, DIALECTS[name])


@each_dialect
def test_a_dialect_can_be_forced(name):
    body = {"texts": [], "top_k": 1} if name not in ("llamacpp", "superset") else {"top_k": 1}
    assert dialect_for("/rerank", body, name) == (name, DIALECTS[name])


def test_llamacpp_looks_at_the_body_when_forced_too():
    assert dialect_for("/rerank", {"texts": []}, "llamacpp")[0] == "llamacpp_texts"


def test_an_unknown_dialect_is_refused_with_those_there_are():
    with pytest.raises(InvalidInput, match="X-Finerank-Dialect is 'klingon'; it must be one of native, superset, coh"):
        dialect_for("/rerank", {}, "klingon")


def test_every_prefix_is_a_dialect_and_every_route_leads_to_some():
    assert set(PREFIXES) <= set(DIALECTS)
    assert {name for route in ROUTES.values() for name in route.dialects} == set(DIALECTS)
    assert all(route.summary for route in ROUTES.values())
