"""`effort="fast"`: a quick first look at all candidates, so that the model scores only those that can reach the top.

The look is taken by the model's own early exit (its first layers and a head trained for them) or by a small model. What
it leaves is scored as ever, to the last bit; what it sorts out is not in the ranking.
"""

from typing import Protocol

import numpy as np

from finerank.encoded import EncodedRequest
from finerank.ranking import Document
from finerank.scoring.scorer import PairScorer

KEPT = 0.3
"""The part of the candidates that the first look leaves, unless `top_n` needs more."""

SPARE = 1.5
"""Candidates that it leaves at least, for each of `top_n`."""


class FirstLook(Protocol):
    """Judges all documents of a request, quickly."""

    def logits(self, request: EncodedRequest, pooling: str) -> list[float]:
        """A logit a document; they compare with one another only."""
        ...

    def close(self) -> None: ...


class ExitLook:
    """The look of a scorer that reads the same pairs: the model cut after its first layers."""

    def __init__(self, scorer: PairScorer) -> None:
        self._scorer = scorer

    def logits(self, request: EncodedRequest, pooling: str) -> list[float]:
        logits = self._scorer.score(request.pairs).logits.tolist()
        return [best[0] for best in request.pooled(logits, pooling) if best]

    def close(self) -> None:
        self._scorer.close()


class SmallReranker(Protocol):
    """What a small model's look needs of its reranker."""

    @property
    def scorer(self) -> PairScorer: ...
    def encode(self, query: str, documents: list[Document], /) -> EncodedRequest: ...
    def close(self) -> None: ...


class ModelLook:
    """The look of a small model, which has a tokenizer of its own."""

    def __init__(self, reranker: SmallReranker) -> None:
        self._reranker = reranker

    def logits(self, request: EncodedRequest, pooling: str) -> list[float]:
        own = self._reranker.encode(request.query, request.documents)
        logits = self._reranker.scorer.score(own.pairs).logits.tolist()
        return [best[0] for best in own.pooled(logits, pooling) if best]

    def close(self) -> None:
        self._reranker.close()


def shortlisted(request: EncodedRequest, look: FirstLook, top_n: int, pooling: str) -> EncodedRequest:
    """The request with only the documents that can reach the first `top_n`, as the first look has it."""
    count = max(round(KEPT * len(request.documents)), round(SPARE * top_n))
    if count >= len(request.documents):
        return request
    logits = np.nan_to_num(look.logits(request, pooling), nan=np.inf)  # the model says what is wrong with it
    return request.only(set(np.argsort(-logits, kind="stable")[:count].tolist()))
