"""The LangChain compressor, with LangChain."""

import asyncio
from copy import deepcopy

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from finerank.errors import InvalidInput
from finerank.integrations.langchain import FinerankReranker
from finerank.testing import OverlapBackend, stub_reranker

from .conftest import BEST_FIRST, QUERY, TEXTS


def documents() -> list[Document]:
    return [
        Document(page_content=text, id=f"id-{index}", metadata={"place": index, "tags": ["a"]})
        for index, text in enumerate(TEXTS)
    ]


class Recall(BaseRetriever):
    """Finds everything."""

    def _get_relevant_documents(self, query, *, run_manager):
        return documents()


def test_copies_come_back_best_first_with_scores_ids_and_metadata(source):
    given = documents()
    before = deepcopy(given)
    compressor = FinerankReranker(**source)
    found = compressor.compress_documents(given, QUERY)
    awaited = asyncio.run(compressor.acompress_documents(given, QUERY))
    expected = stub_reranker().rank(QUERY, TEXTS)
    assert [document.metadata["place"] for document in found] == BEST_FIRST
    assert [document.metadata["relevance_score"] for document in found] == [result.score for result in expected]
    assert [document.id for document in found] == [f"id-{index}" for index in BEST_FIRST]
    assert found[0].metadata["tags"] == ["a"]
    assert awaited == found
    assert given == before


def test_in_a_contextual_compression_retriever(source):
    retriever = ContextualCompressionRetriever(
        base_compressor=FinerankReranker(**source, top_n=3, threshold=0.55), base_retriever=Recall()
    )
    found = retriever.invoke(QUERY)
    assert [document.page_content for document in found] == ["Hold the reset button.", "Hold it."]
    assert asyncio.run(retriever.ainvoke(QUERY)) == found


def test_no_documents_give_none(source):
    compressor = FinerankReranker(**source)
    assert compressor.compress_documents([], QUERY) == []
    assert asyncio.run(compressor.acompress_documents([], QUERY)) == []


def test_limits_can_be_changed_afterwards():
    compressor = FinerankReranker(ranker=stub_reranker(), top_n=1)
    compressor.top_n = 2
    assert len(compressor.compress_documents(documents(), QUERY)) == 2


def test_errors_are_ours_and_name_the_index():
    compressor = FinerankReranker(ranker=stub_reranker(OverlapBackend(nan_word="dry")))
    with pytest.raises(Exception, match=r"documents\[0\]: the model answered nan"):
        compressor.compress_documents(documents(), QUERY)
    with pytest.raises(InvalidInput, match="query is empty"):
        compressor.compress_documents(documents(), "")


def test_documents_without_text_come_last_and_fail_nothing(source):
    bare = Document.model_construct(page_content=None, metadata={"place": "image"}, id=None, type="Document")
    compressor = FinerankReranker(**source)
    for found in (
        compressor.compress_documents([bare, *documents()], QUERY),
        asyncio.run(compressor.acompress_documents([bare, *documents()], QUERY)),
    ):
        assert [document.metadata["place"] for document in found] == [*BEST_FIRST, "image"]
        assert found[-1].metadata["relevance_score"] is None
