"""The LlamaIndex postprocessor, with LlamaIndex."""

import asyncio
from copy import deepcopy

import pytest
from llama_index.core import Settings
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import ImageNode, MediaResource, Node, NodeWithScore, QueryBundle, TextNode

from finerank.errors import InvalidInput
from finerank.integrations.llamaindex import FinerankPostprocessor
from finerank.testing import stub_reranker

from .conftest import BEST_FIRST, QUERY, TEXTS


def nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(
                text=text, id_=f"id-{index}", metadata={"place": index}, excluded_embed_metadata_keys=["place"]
            ),
            score=0.1 * index,
        )
        for index, text in enumerate(TEXTS)
    ]


class Recall(BaseRetriever):
    """Finds everything."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return nodes()


def test_nodes_come_back_best_first_with_scores_ids_and_metadata(source):
    given = nodes()
    before = deepcopy(given)
    reranker = FinerankPostprocessor(**source)
    found = reranker.postprocess_nodes(given, query_str=QUERY)
    awaited = asyncio.run(reranker.apostprocess_nodes(given, QueryBundle(QUERY)))
    expected = stub_reranker().rank(QUERY, TEXTS)
    assert [node.metadata["place"] for node in found] == BEST_FIRST
    assert [node.score for node in found] == [result.score for result in expected]
    assert [node.node_id for node in found] == [f"id-{index}" for index in BEST_FIRST]
    assert awaited == found
    assert given == before


def test_in_a_query_engine(source, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Settings, "_llm", MockLLM())  # unset, LlamaIndex wants OpenAI's
    engine = RetrieverQueryEngine.from_args(
        Recall(),
        response_mode=ResponseMode.NO_TEXT,
        node_postprocessors=[FinerankPostprocessor(**source, top_n=3, threshold=0.55)],
    )
    found = engine.query(QUERY).source_nodes
    assert [node.text for node in found] == ["Hold the reset button.", "Hold it."]
    assert asyncio.run(engine.aquery(QUERY)).source_nodes == found


def test_metadata_is_judged_unless_it_is_excluded():
    (node,) = nodes()[:1]
    judged = TextNode(text="It.", metadata={"title": "hold the reset button"})
    found = FinerankPostprocessor(ranker=stub_reranker()).postprocess_nodes(
        [node, NodeWithScore(node=judged)], query_str=QUERY
    )
    assert found[0].node is judged


def test_no_nodes_give_none(source):
    reranker = FinerankPostprocessor(**source)
    assert reranker.postprocess_nodes([], query_str=QUERY) == []
    assert asyncio.run(reranker.apostprocess_nodes([], query_str=QUERY)) == []


def test_a_missing_query_is_told():
    reranker = FinerankPostprocessor(ranker=stub_reranker())
    with pytest.raises(InvalidInput, match="query is missing"):
        reranker.postprocess_nodes(nodes())
    assert reranker.to_dict()["class_name"] == "FinerankPostprocessor"


def test_nodes_without_text_come_last_and_fail_nothing(source):
    images = [
        NodeWithScore(node=ImageNode(image="aGk=", id_="image")),
        NodeWithScore(node=Node(image_resource=MediaResource(data=b"hi"), id_="media")),
    ]
    reranker = FinerankPostprocessor(**source)
    found = reranker.postprocess_nodes([*images, *nodes()], query_str=QUERY)
    awaited = asyncio.run(reranker.apostprocess_nodes([*images, *nodes()], query_str=QUERY))
    expected = [*(f"id-{index}" for index in BEST_FIRST), "image", "media"]
    assert [each.node.node_id for each in found] == [each.node.node_id for each in awaited] == expected
    assert [each.score for each in found[-2:]] == [None, None]
