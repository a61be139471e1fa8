"""LangChain: a document compressor that reranks.

>>> compressor = FinerankReranker("BAAI/bge-reranker-v2-m3", top_n=5)                   # doctest: +SKIP
>>> ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)  # doctest: +SKIP
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from finerank.errors import MissingExtra
from finerank.integrations.ranker import Placed, documents_of, open_ranker, rank, rank_async
from finerank.ranking import Document, Ranker
from finerank.settings import Options

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.documents import Document as LangChainDocument
    from pydantic import PrivateAttr
except ImportError as error:
    raise MissingExtra("the LangChain integration", "langchain") from error


class FinerankReranker(BaseDocumentCompressor):
    """Copies of the documents, best first, each with its score (0..1) in `metadata["relevance_score"]`.

    Ranks with a model loaded here (`options` are those of `Reranker.from_pretrained`), with any `ranker`, or with the
    server at `url`.
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

    def compress_documents(
        self, documents: Sequence[LangChainDocument], query: str, callbacks: Callbacks | None = None
    ) -> list[LangChainDocument]:
        given = _documents(documents)
        return _copies(documents, rank(self._ranker, query, given, top_n=self.top_n, threshold=self.threshold))

    async def acompress_documents(
        self, documents: Sequence[LangChainDocument], query: str, callbacks: Callbacks | None = None
    ) -> list[LangChainDocument]:
        given = _documents(documents)
        ranking = await rank_async(self._ranker, query, given, top_n=self.top_n, threshold=self.threshold)
        return _copies(documents, ranking)


def _documents(documents: Sequence[LangChainDocument]) -> list[Document | None]:
    return documents_of(document.page_content for document in documents)


def _copies(documents: Sequence[LangChainDocument], ranking: Sequence[Placed]) -> list[LangChainDocument]:
    return [
        document.model_copy(update={"metadata": {**document.metadata, "relevance_score": placed.score}})
        for placed in ranking
        for document in (documents[placed.index],)
    ]
