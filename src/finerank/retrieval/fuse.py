"""Several rankings of the same things to one: by their ranks alone, or by their scores."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

K = 60
"""The constant of Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet": how little the
first few ranks stand out."""


def reciprocal_rank_fusion(rankings: Iterable[Sequence[Key]], k: int = K) -> list[tuple[Key, float]]:
    """Every key with the sum of 1/(k + rank) over the rankings that hold it, best first; equal sums in order seen.

    >>> [key for key, _ in reciprocal_rank_fusion([["a", "b", "c"], ["c", "b"]])]
    ['c', 'b', 'a']
    """
    sums: dict[Key, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, start=1):
            sums[key] = sums.get(key, 0.0) + 1 / (k + rank)
    return sorted(sums.items(), key=lambda item: -item[1])


def convex_fusion(lists: Iterable[tuple[float, float, Sequence[tuple[Key, float]]]]) -> list[tuple[Key, float]]:
    """Every key with the weighted sum of its scores, best first; equal sums in order seen.

    Each list is (weight, floor, keys with scores, best first). Its best score counts as 1, its floor, and whatever it
    does not hold, as 0 (Bruch, Gai and Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval").

    >>> convex_fusion([(0.75, 0.0, [("a", 8.0), ("b", 4.0)]), (0.25, 0.5, [("b", 0.9), ("c", 0.5)])])
    [('a', 0.75), ('b', 0.625), ('c', 0.0)]
    """
    sums: dict[Key, float] = {}
    for weight, floor, scored in lists:
        best = scored[0][1] if scored else floor
        for key, score in scored:
            share = (score - floor) / (best - floor) if best > floor else 1.0
            sums[key] = sums.get(key, 0.0) + weight * share
    return sorted(sums.items(), key=lambda item: -item[1])
