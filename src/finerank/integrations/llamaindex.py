"""LlamaIndex: a node postprocessor that reranks.

>>> reranker = FinerankPostprocessor("BAAI/bge-reranker-v2-m3", top_n=5)        # doctest: +SKIP
>>> index.as_query_engine(node_postprocessors=[reranker])                      # doctest: +SKIP
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from finerank.errors import InvalidInput, MissingExtra
from finerank.integrations.ranker import Placed, documents_of, open_ranker, rank, rank_async
from finerank.ranking import Document, Ranker
from finerank.settings import Options

try:
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, Node, NodeWithScore, QueryBundle
except ImportError as error:
    raise MissingExtra("the LlamaIndex integration", "llamaindex") from error


class FinerankPostprocessor(BaseNodePostprocessor):
    """The nodes, best first, each in a new `NodeWithScore` with its score (0..1). Those without text, such as images,
    come last and have none.

    Judged is what LlamaIndex embeds: a node's text with its metadata, but for `excluded_embed_metadata_keys`. Ranks
    with a model loaded here (`options` are those of `Reranker.from_pretrained`), with any `ranker`, or with the server
    at `url`.
    """

    top_n: int | None = None
    threshold: float | None = None
    _ranker: Ranker = PrivateAttr()

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        ranker: Ranker | None = None,
        url: str | None = None,
        api_key: str | None = None,
        top_n: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        self.top_n = top_n
        self.threshold = options.get("threshold")
        self._ranker = open_ranker(model, ranker, url, api_key, options)

    @classmethod
    def class_name(cls) -> str:
        return "FinerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, given = _query(query_bundle), _documents(nodes)
        return _rescored(nodes, rank(self._ranker, query, given, top_n=self.top_n, threshold=self.threshold))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, given = _query(query_bundle), _documents(nodes)
        ranking = await rank_async(self._ranker, query, given, top_n=self.top_n, threshold=self.threshold)
        return _rescored(nodes, ranking)


def _query(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None:
        raise InvalidInput("query is missing; give query_str or query_bundle to postprocess_nodes")
    return query_bundle.query_str


def _documents(nodes: Sequence[NodeWithScore]) -> list[Document | None]:
    return documents_of(_text(node.node) for node in nodes)


def _text(node: BaseNode) -> str | None:
    """What is judged of a node; None of one that holds an image, a sound or a film, and no word."""
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    if text:
        return text
    without = isinstance(node, ImageNode) or (isinstance(node, Node) and node.text_resource is None)
    return None if without else text


def _rescored(nodes: Sequence[NodeWithScore], ranking: Sequence[Placed]) -> list[NodeWithScore]:
    return [NodeWithScore(node=nodes[placed.index].node, score=placed.score) for placed in ranking]
