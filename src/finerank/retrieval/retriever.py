"""A question to candidates: the nearest vectors, the matching words, or both, fused. Reranks nothing."""

import time
from typing import Literal, Protocol, get_args

import numpy as np

from finerank.errors import EndpointError, InvalidInput, InvalidSetting, StoreError
from finerank.ranking import RankedDocument, Ranking, Usage
from finerank.retrieval.embed import Embedder
from finerank.retrieval.fuse import reciprocal_rank_fusion
from finerank.retrieval.store import Found, Store
from finerank.retrieval.where import Filter

Mode = Literal["hybrid", "vector", "text"]


class Retriever(Protocol):
    """Whatever finds candidates for a question in a corpus it knows."""

    def retrieve(self, query: str, k: int, where: Filter | None = None) -> Ranking: ...


class StoreRetriever:
    """Candidates from a `Store`. A result's `score` and `logit` are the search's own: a cosine, BM25, or a fused sum.

    >>> retriever = StoreRetriever(Store.open(Path("store")), load_embedder())    # doctest: +SKIP
    >>> retriever.retrieve("how do I reset it?", 100)                             # doctest: +SKIP
    """

    def __init__(self, store: Store, embedder: Embedder, mode: Mode = "hybrid") -> None:
        if mode not in get_args(Mode):
            raise InvalidSetting(f"mode={mode!r}: must be one of {', '.join(get_args(Mode))}")
        self.store = store
        self.mode = mode
        self._embedder = embedder

    def retrieve(self, query: str, k: int, where: Filter | None = None) -> Ranking:
        """The first k candidates, best first; `where` leaves out passages before they are counted.

        An embedding endpoint that fails leaves the words, and the ranking is marked degraded.
        """
        if not query.strip():
            raise InvalidInput("the question is empty; there is nothing to search for")
        start = time.perf_counter()
        lists: list[list[Found]] = []
        seconds: dict[str, float] = {}
        degraded = ""
        if self.mode != "text":
            try:
                lists.append(self._nearest(query, k, where))
            except EndpointError as error:
                if self.mode == "vector":
                    raise
                degraded = f"searched by words alone: {error}"
            seconds["vector"] = time.perf_counter() - start
        if self.mode != "vector":
            begun = time.perf_counter()
            lists.append(self.store.matching(query, k, where))
            seconds["text"] = time.perf_counter() - begun
        found = lists[0] if len(lists) == 1 else _fused(lists)
        results = tuple(
            RankedDocument(each.document, each.score, each.score, index=rank - 1, rank=rank)
            for rank, each in enumerate(found[:k], start=1)
        )
        usage = Usage(seconds={**seconds, "total": time.perf_counter() - start})
        return Ranking(results, f"recall: {self.mode}", usage, degraded)

    def _nearest(self, query: str, k: int, where: Filter | None) -> list[Found]:
        vector = np.asarray(self._embedder.embed_queries([query])[0], np.float32)
        if len(vector) != self.store.made.dimensions:
            raise StoreError(
                f"{self.store.folder}: holds vectors of {self.store.made.dimensions} numbers, and the embedder makes "
                f"{len(vector)}; search with the embedder it was indexed with ({self.store.made.embedder})"
            )
        return self.store.nearest(vector, k, where)


def _fused(lists: list[list[Found]]) -> list[Found]:
    documents = {each.document.id: each.document for found in lists for each in found}
    fused = reciprocal_rank_fusion([[each.document.id for each in found] for found in lists])
    return [Found(documents[id_], score) for id_, score in fused]
