"""What one ranking says about the order it was given. Knows neither clocks nor other requests."""

from bisect import bisect_right, insort_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from finerank.ranking import Ranking

SCORE_BINS = 20
"""Bins of equal width over 0..1 that scores are counted in."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Facts of one request; None where a fact is undefined (no candidate, or a single one that nothing compares to).

    `documents`: candidates given. `scored`: those the ranking holds. `top1_replaced`: the first was not first before.
    `gap`: score of the first less that of the second. `best`: the first's score, `low_best` whether it is low.
    `low_documents`, `truncated`: how many are. `tied`: how many share their logit with another of the same ranking.
    `tau`: Kendall's tau of the given and the returned order. `histogram`: scores by bin.
    """

    documents: int
    scored: int
    top1_replaced: bool | None
    gap: float | None
    best: float | None
    low_best: bool | None
    low_documents: int
    truncated: int
    tied: int
    tau: float | None
    histogram: tuple[int, ...]


def observe(ranking: Ranking, count: int, low_score: float = 0.3) -> Observation:
    """Compare the order returned with the order given. Takes the full ranking, before `top_n`; O(n log n).

    `count` documents were given. What a threshold dropped from the ranking cannot be counted but in `documents`.

    >>> from finerank.ranking import Document, rank_by_score
    >>> documents = (Document("a"), Document("b"), Document("c"))
    >>> seen = observe(Ranking(rank_by_score(documents, [-1.0, 2.0, -3.0]), "m"), 3)
    >>> seen.top1_replaced, round(seen.tau, 2), seen.low_documents
    (True, 0.33, 2)
    """
    results = ranking.results
    scores = [result.score for result in results]
    alone, empty = len(scores) < 2, not scores
    return Observation(
        documents=count,
        scored=len(scores),
        top1_replaced=None if alone else results[0].index != 0,
        gap=None if alone else scores[0] - scores[1],
        best=None if empty else scores[0],
        low_best=None if empty else scores[0] < low_score,
        low_documents=sum([score < low_score for score in scores]),
        truncated=sum([result.truncated for result in results]),
        tied=_tied([result.logit for result in results]),
        tau=None if alone else kendall_tau([result.index for result in results]),
        histogram=_histogram(scores),
    )


def kendall_tau(order: Sequence[int]) -> float:
    """Kendall's tau between an order and the ascending one: 1 the same, 0 unrelated, -1 reversed.

    Two orders hold no ties, so tau-a and tau-b are one: 1 - 4 * inversions / (n * (n - 1)) (Kendall, "A new measure
    of rank correlation", Biometrika 30, 1938). Needs two items or more.
    """
    n = len(order)
    return 1 - 4 * _inversions(order)[0] / (n * (n - 1))


_INSERTED = 128
"""Up to so many items, sorting by insertion is the quickest way to count: 19 µs for 100, 63 µs by merging eights."""


def _inversions(order: Sequence[int]) -> tuple[int, list[int]]:
    """Pairs out of order, and the items in order; by merge sort (Knight, JASA 61, 1966)."""
    if len(order) <= _INSERTED:
        return _inversions_by_insertion(order)
    half = len(order) // 2
    left_count, left = _inversions(order[:half])
    right_count, right = _inversions(order[half:])
    merged = sorted(left + right)  # two runs: sorted() merges them in linear time
    place = {item: position for position, item in enumerate(merged)}
    passed = sum(half - (place[item] - nth) for nth, item in enumerate(right))
    return left_count + right_count + passed, merged


def _inversions_by_insertion(order: Sequence[int]) -> tuple[int, list[int]]:
    count = 0
    ascending: list[int] = []
    for item in order:
        count += len(ascending) - bisect_right(ascending, item)
        insort_right(ascending, item)
    return count, ascending


def _tied(logits: Sequence[float]) -> int:
    """How many of these descending logits have an equal neighbour."""
    if len(set(logits)) == len(logits):
        return 0
    equal = [left == right for left, right in pairwise(logits)]
    return sum(before or after for before, after in zip([False, *equal], [*equal, False], strict=True))


def _histogram(scores: Sequence[float]) -> tuple[int, ...]:
    counts = [0] * (SCORE_BINS + 1)
    for score in scores:
        counts[int(score * SCORE_BINS)] += 1
    counts[SCORE_BINS - 1] += counts.pop()  # a score of exactly 1
    return tuple(counts)
