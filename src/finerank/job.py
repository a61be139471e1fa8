"""A ranking request without I/O: from documents to pairs, through the stages of scoring, and back to documents."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise
from typing import Literal

import numpy as np

from finerank.ranking import Document, Span
from finerank.scoring.batch import EncodedPair
from finerank.scoring.scorer import PairScorer, Scores
from finerank.text.pool import pool

KEPT = 0.2
"""Share of the candidates that a first look leaves, unless `top_n` is more. With an exit after a third of the layers
that is half the operations or less (benchmarks/effort.py)."""

Stage = Literal["look", "score", "reread"]
"""A cheap first look at every candidate, the model itself, and a second model for the best."""

STAGES: tuple[Stage, ...] = ("look", "score", "reread")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRequest:
    """A query, as the template puts it, and its documents: `counts[i]` neighbouring `pairs` belong to document i (none
    if it is not to be scored), and `spans` says where in it each pair's passage lies (None: it is the whole document).
    """

    query: str
    documents: list[Document]
    pairs: list[EncodedPair]
    counts: list[int]
    spans: list[Span | None]

    def places(self) -> list[range]:
        """Where each document's pairs lie."""
        return [range(*ends) for ends in pairwise(accumulate(self.counts, initial=0))]

    def pooled(self, logits: Sequence[float], pooling: str) -> list[tuple[float, int] | None]:
        """For every document that has pairs, its logit and the position of the best of them."""
        documents: list[tuple[float, int] | None] = []
        for place in self.places():
            logit, best = pool([logits[pair] for pair in place], pooling) if place else (0.0, 0)
            documents.append((logit, place.start + best) if place else None)
        return documents

    def only(self, kept: Collection[int]) -> "EncodedRequest":
        """The same, with no pairs of the documents that are not kept."""
        places = self.places()
        pairs = list(chain.from_iterable(place for document, place in enumerate(places) if document in kept))
        return replace(
            self,
            pairs=[self.pairs[pair] for pair in pairs],
            counts=[count if document in kept else 0 for document, count in enumerate(self.counts)],
            spans=[self.spans[pair] for pair in pairs],
        )


def _unchanged(request: EncodedRequest) -> EncodedRequest:
    return request


@dataclass(frozen=True, slots=True)
class FirstLook:
    """Prunes candidates: `scorer` scores what `read` makes of a request, the same pairs unless another model looks."""

    scorer: PairScorer
    read: Callable[[EncodedRequest], EncodedRequest] = _unchanged


@dataclass(frozen=True, slots=True)
class SecondStage:
    """A cross-encoder that rereads the `candidates` best documents of a request, and how the two logits are added:

    scale * first + weight * second + bias. For a pair it has not read, `unread` stands in for its logit.
    """

    scorer: PairScorer
    candidates: int = 20
    scale: float = 1.0
    weight: float = 1.0
    bias: float = 0.0
    unread: float = 0.0

    def pair(self, pair: EncodedPair) -> EncodedPair:
        """A pair of two texts, each with its own start token, as one sequence: without the second start token."""
        place = int(pair.type_ids.argmax())
        return EncodedPair(np.delete(pair.token_ids, place), np.delete(pair.type_ids, place), pair.truncated)

    def combined(self, first: float, second: float | None = None) -> float:
        """The logit of a pair from those of both models."""
        return self.scale * first + self.weight * (self.unread if second is None else second) + self.bias


class RankingJob:
    """One request on its way through the stages.

    `stage` is what comes next, None at the end; `pairs()` are the pairs to score in it, and `receive` takes their
    scores. Then `request` has the pairs that were scored and `scores` their logits.

    >>> while job.stage:                                             # doctest: +SKIP
    ...     job.receive(scorers[job.stage].score(job.pairs()))
    >>> reranker.ranking(job.request, job.scores)                    # doctest: +SKIP
    """

    def __init__(
        self,
        request: EncodedRequest,
        top_n: int | None = None,
        *,
        look: FirstLook | None = None,
        second: SecondStage | None = None,
        pooling: str = "max",
    ) -> None:
        self.request = request
        self.scores = Scores(np.empty(0), np.empty(0, np.bool_))
        self._second = second
        self._pooling = pooling
        self._kept = len(request.documents) if top_n is None else max(math.ceil(KEPT * len(request.documents)), top_n)
        self._looked = look.read(request) if look and self._kept < len(request.documents) else None
        self._reread: list[int] = []
        self.stage: Stage | None = "look" if self._looked else "score"

    def pairs(self) -> list[EncodedPair]:
        """What is to score in this stage."""
        if self.stage == "look" and self._looked:
            return self._looked.pairs
        if self.stage == "reread" and self._second:
            return [self._second.pair(self.request.pairs[place]) for place in self._reread]
        return self.request.pairs

    def receive(self, scores: Scores) -> None:
        """Take the logits of `pairs()` and go on to the next stage."""
        if self.stage == "look":
            self._prune(scores)
            self.stage = "score"
            return
        if self.stage == "score":
            self.scores = scores
            self._reread = self._best()
            if self._reread:
                self.stage = "reread"
                return
        if self._second:
            self._combine(self._second, scores)
        self.stage = None

    def provisional(self, logit: float) -> float:
        """A logit of the model itself on the scale of the final ones."""
        return self._second.combined(logit) if self._second else logit

    def _prune(self, scores: Scores) -> None:
        """Leave the best candidates. Those of a look that failed (NaN, infinity) all stay: if the model fails on them
        too, it says what is wrong."""
        assert self._looked is not None
        pooled = np.array([best[0] for best in self._looked.pooled(scores.logits.tolist(), self._pooling) if best])
        if np.isfinite(pooled).all():
            best_first = np.argsort(-pooled, kind="stable")
            self.request = self.request.only(set(best_first[: self._kept].tolist()))

    def _best(self) -> list[int]:
        """The places of the pairs to reread: the best one of each of the best documents."""
        found = [best for best in self.request.pooled(self.scores.logits.tolist(), self._pooling) if best]
        if self._second is None or not np.isfinite(self.scores.logits).all():  # the ranking says what failed
            return []
        found.sort(key=lambda best: -best[0])
        return [place for _, place in found[: self._second.candidates]]

    def _combine(self, stage: SecondStage, scores: Scores) -> None:
        """Add the logits of the pairs reread to their first ones."""
        second = dict(zip(self._reread, scores.logits.tolist(), strict=True)) if self._reread else {}
        first = self.scores.logits.tolist()
        logits = [stage.combined(logit, second.get(place)) for place, logit in enumerate(first)]
        degraded = self.scores.degraded or scores.degraded
        self.scores = replace(self.scores, logits=np.array(logits, np.float64), degraded=degraded)
