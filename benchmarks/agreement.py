"""How far a system's logits lie from the reference's, and whether it puts the passages in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

TIE = 1e-3
"""Logits nearer than this in the reference may come in either order: float32 kernels differ by 1e-5 to 1e-4."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """`kendall_tau` is tau-b, the mean over queries of two passages and more; None if there are none."""

    largest_logit_difference: float
    kendall_tau: float | None
    same_order: bool


def agreement(logits: Sequence[float], reference: Sequence[float], passages: Sequence[int]) -> Agreement:
    """`passages`: how many of each query, in the order of the logits."""
    if len(logits) != len(reference):
        raise ValueError(f"{len(logits)} logits against {len(reference)} of the reference: not the same pairs")
    ends = np.cumsum(passages)[:-1]
    ours, theirs = np.split(np.array(logits), ends), np.split(np.array(reference), ends)
    taus = [float(kendalltau(a, b).statistic) for a, b in zip(ours, theirs, strict=True) if len(a) > 1]
    return Agreement(
        largest_logit_difference=float(np.abs(np.subtract(logits, reference)).max()),
        kendall_tau=float(np.mean(taus)) if taus else None,
        same_order=all(_same_order(a, b) for a, b in zip(ours, theirs, strict=True)),
    )


def _same_order(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether no two passages that the reference tells apart are the other way round."""
    return not any(
        abs(theirs[i] - theirs[j]) > TIE and (ours[i] - ours[j]) * (theirs[i] - theirs[j]) <= 0
        for i, j in combinations(range(len(ours)), 2)
    )
