"""The Haystack component, with Haystack."""

import asyncio
from copy import deepcopy

import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ByteStream
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret

from finerank.errors import InvalidSetting
from finerank.integrations.haystack import FinerankRanker
from finerank.testing import stub_reranker

from .conftest import BEST_FIRST, QUERY, TEXTS


@pytest.fixture
def options(source: dict[str, object]) -> dict[str, object]:
    """The same with the key as Haystack keeps it."""
    return source | {"api_key": Secret.from_token(str(source["api_key"]))} if "api_key" in source else source


def documents() -> list[Document]:
    return [
        Document(content=text, id=f"id-{index}", meta={"place": index}, score=0.1) for index, text in enumerate(TEXTS)
    ]


def test_copies_come_back_best_first_with_scores_ids_and_meta(options):
    given = documents()
    before = deepcopy(given)
    ranker = FinerankRanker(**options)
    ranker.warm_up()
    found = ranker.run(query=QUERY, documents=given)["documents"]
    awaited = asyncio.run(ranker.run_async(query=QUERY, documents=given))["documents"]
    expected = stub_reranker().rank(QUERY, TEXTS)
    assert [document.meta["place"] for document in found] == BEST_FIRST
    assert [document.score for document in found] == [result.score for result in expected]
    assert [document.id for document in found] == [f"id-{index}" for index in BEST_FIRST]
    assert awaited == found
    assert given == before


def test_in_a_pipeline(options):
    store = InMemoryDocumentStore()
    store.write_documents(documents())
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    pipeline.add_component("ranker", FinerankRanker(**options, top_k=3, threshold=0.55))
    pipeline.connect("retriever", "ranker")
    found = pipeline.run({"retriever": {"query": QUERY}, "ranker": {"query": QUERY}})["ranker"]["documents"]
    assert [document.content for document in found] == ["Hold the reset button.", "Hold it."]
    found = pipeline.run({"retriever": {"query": QUERY}, "ranker": {"query": QUERY, "top_k": 1}})["ranker"]["documents"]
    assert [document.content for document in found] == ["Hold the reset button."]


def test_a_component_survives_a_pipelines_file(default_model):
    ranker = FinerankRanker(str(default_model), top_k=2, threshold=0.1, max_length=64)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    loaded = Pipeline.loads(pipeline.dumps(), allowed_modules=["finerank.*"]).get_component("ranker")
    assert loaded.to_dict() == ranker.to_dict()
    assert len(loaded.run(query=QUERY, documents=documents())["documents"]) <= 2


def test_a_key_is_written_by_its_name_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", "secret")
    ranker = FinerankRanker(url="http://localhost:8000", api_key=Secret.from_env_var("MY_KEY"))
    written = ranker.to_dict()
    assert "secret" not in str(written)
    assert FinerankRanker.from_dict(written).api_key == ranker.api_key


def test_a_ranker_cannot_be_written():
    with pytest.raises(InvalidSetting, match="ranker"):
        FinerankRanker(ranker=stub_reranker()).to_dict()


def test_no_documents_give_none(options):
    ranker = FinerankRanker(**options)
    assert ranker.run(query=QUERY, documents=[]) == {"documents": []}
    assert asyncio.run(ranker.run_async(query=QUERY, documents=[])) == {"documents": []}


def test_documents_without_text_come_last_and_fail_nothing(options):
    image = Document(content=None, blob=ByteStream(b"png"), meta={"place": "image"})
    given = [image, *documents()]
    ranker = FinerankRanker(**options)
    found = ranker.run(query=QUERY, documents=given)["documents"]
    awaited = asyncio.run(ranker.run_async(query=QUERY, documents=given))["documents"]
    assert [document.meta["place"] for document in found] == [*BEST_FIRST, "image"]
    assert (found[-1].score, found[-1].blob) == (None, image.blob)
    assert [document.score for document in found[:-1]] == [r.score for r in stub_reranker().rank(QUERY, TEXTS)]
    assert awaited == found
    assert len(ranker.run(query=QUERY, documents=given, top_k=2)["documents"]) == 2
    assert ranker.run(query=QUERY, documents=[image])["documents"] == [image]
    strict = FinerankRanker(**options, threshold=0.55).run(query=QUERY, documents=given)["documents"]
    assert "image" not in [document.meta["place"] for document in strict]
