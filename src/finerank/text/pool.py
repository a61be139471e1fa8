"""Passage logits to one logit a document."""

import math
from collections.abc import Callable, Mapping, Sequence

TOP_K = 3
"""How many passages "mean" averages."""

POOLINGS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "first": lambda logits: logits[0],
    "mean": lambda logits: sum(sorted(logits, reverse=True)[:TOP_K]) / min(TOP_K, len(logits)),
}


def pool(logits: Sequence[float], pooling: str) -> tuple[float, int]:
    """The document's logit and the position of its best passage, for the logits of its passages in text order.

    >>> pool([0.5, 2.0, -1.0], "max")
    (2.0, 1)
    """
    best = max(range(len(logits)), key=logits.__getitem__)
    if broken := [logit for logit in logits if not math.isfinite(logit)]:
        return broken[0], best  # max would pass over a NaN
    return POOLINGS[pooling](logits), best
