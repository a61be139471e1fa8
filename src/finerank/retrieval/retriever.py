"""A question to candidates: the nearest vectors, the matching words, or both, fused. Reranks nothing."""

import time
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np

from finerank.errors import EndpointError, InvalidInput, InvalidSetting, StoreError
from finerank.messages import Message
from finerank.ranking import RankedDocument, Ranking, Usage, is_blank
from finerank.retrieval.embed import Embedder
from finerank.retrieval.fuse import convex_fusion
from finerank.retrieval.store import Found, Store
from finerank.retrieval.where import Filter

Mode = Literal["hybrid", "vector", "text"]

WORDS_WEIGHT = 0.7
"""What words (BM25) count beside vectors. On 83 public sets nDCG@10 is 0.788 within a language (by reciprocal ranks
0.747, by words alone 0.774) and 0.395 across languages (0.405, 0.159); with 0.6 it is 0.785 and 0.404."""


class Retriever(Protocol):
    """Whatever finds candidates for a question in a corpus it knows."""

    def retrieve(self, query: str, k: int, where: Filter | None = None) -> Ranking: ...


class StoreRetriever:
    """Candidates from a `Store`. A result's `score` and `logit` are the search's own: a cosine, BM25, or
    both fused, from 0 to 1.

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
        if is_blank(query):
            raise InvalidInput(Message("the question is empty; there is nothing to search for", "question.empty"))
        start = time.perf_counter()
        vectors: list[Found] = []
        words: list[Found] = []
        seconds: dict[str, float] = {}
        degraded = ""
        if self.mode != "text":
            try:
                vectors = self._nearest(query, k, where)
            except EndpointError as error:
                if self.mode == "vector":
                    raise
                degraded = Message("searched by words alone: {why}", "degraded.words-only", why=error)
            seconds["vector"] = time.perf_counter() - start
        if self.mode != "vector":
            begun = time.perf_counter()
            words = self.store.matching(query, k, where)
            seconds["text"] = time.perf_counter() - begun
        both = self.mode == "hybrid" and not degraded
        found = fuse(words, vectors, k) if both else [*words, *vectors]
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


def fuse(words: Sequence[Found], vectors: Sequence[Found], k: int) -> list[Found]:
    """The two kinds of recall of k passages each as one, by `WORDS_WEIGHT`.

    What words do not find scores 0 by words, or, where they found k, as little as the last of those at most.
    """
    documents = {each.document.id: each.document for each in (*words, *vectors)}
    lists = (
        (WORDS_WEIGHT, words[-1].score if len(words) >= k else 0.0, _scores(words)),
        (1 - WORDS_WEIGHT, vectors[-1].score if vectors else 0.0, _scores(vectors)),
    )
    return [Found(documents[id_], score) for id_, score in convex_fusion(lists)]


def _scores(found: Sequence[Found]) -> list[tuple[str | int | None, float]]:
    """Each passage once: one that is being indexed again may be there twice, old and new."""
    scores: dict[str | int | None, float] = {}
    for each in found:
        scores.setdefault(each.document.id, each.score)
    return list(scores.items())
