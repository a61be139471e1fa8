"""Several rankings of the same things to one, by their ranks alone."""

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
