"""The figures of ranking health: what each is, where it is healthy, what a departure says. Knows no time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from finerank.errors import InvalidSetting

Bounds = tuple[float | None, float | None]
State = Literal["healthy", "unhealthy", "unknown"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean or share over a window: the sum `of` divided by the sum `over`, of the requests counted in `requests`
    (see `HealthWindow`). `healthy` is closed; None leaves an end open. `below` and `above` say what a departure means.
    """

    name: str
    of: str
    over: str
    requests: str
    healthy: Bounds
    meaning: str
    below: str = ""
    above: str = ""

    def departure(self, value: float, margin: float = 0.0) -> str:
        """What a value outside the healthy range says; empty inside it. `margin` narrows the range, as a share of
        the bound, at least by a hundredth and at most by a quarter of the range."""
        low, high = self.healthy
        most = math.inf if low is None or high is None else (high - low) / 4
        if low is not None and value < low + _inside(low, margin, most):
            return self.below
        if high is not None and value > high - _inside(high, margin, most):
            return self.above
        return ""


def _inside(bound: float, margin: float, most: float) -> float:
    return min(max(abs(bound) * margin, 0.01), most) if margin else 0.0


FIGURES: tuple[Figure, ...] = (
    Figure(
        "top1_replacement_rate",
        of="replaced",
        over="compared",
        requests="compared",
        healthy=(0.15, None),
        meaning="share of requests whose first document after reranking was not first before",
        below="the reranker rarely changes the first document: is it worth its cost? The first stage may be good "
        "enough, or callers may send candidates that are already reranked",
    ),
    Figure(
        "mean_score_gap",
        of="gap",
        over="compared",
        requests="compared",
        healthy=(0.25, None),
        meaning="mean of the first score less the second, scores in 0..1",
        below="the first two candidates are hard to tell apart: near-duplicates, or vague queries (under 0.1 they are "
        "indistinct)",
    ),
    Figure(
        "low_score_share",
        of="low_requests",
        over="answered",
        requests="answered",
        healthy=(None, 0.15),
        meaning="share of requests whose best score is under {low_score:g}",
        above="many requests have no good candidate: upstream retrieval got worse, or users ask what the corpus does "
        "not hold",
    ),
    Figure(
        "low_document_share",
        of="low_documents",
        over="scored",
        requests="answered",
        healthy=(None, None),
        meaning="share of documents whose score is under {low_score:g}; it follows the length of the candidate lists, "
        "so watch it for jumps",
    ),
    Figure(
        "truncation_rate",
        of="truncated",
        over="scored",
        requests="answered",
        healthy=(None, 0.1),
        meaning="share of documents that were cut before scoring",
        above="the ends of many documents are never read: send shorter passages, raise max_length, or set "
        "long_documents=chunk",
    ),
    Figure(
        "tie_rate",
        of="tied",
        over="compared_documents",
        requests="compared",
        healthy=(None, 0.05),
        meaning="share of documents whose logit equals another's of the same request",
        above="the order among many documents is arbitrary: the candidates hold duplicates, or the model answers "
        "constants (a failed fine-tuning, too low a precision)",
    ),
    Figure(
        "kendall_tau",
        of="tau",
        over="compared",
        requests="compared",
        healthy=(-0.1, 0.95),
        meaning="mean of Kendall's tau between the order given and the order returned: 1 the same, 0 unrelated, "
        "-1 reversed",
        below="the order given is the reverse of the order returned: the candidates come worst first (distances taken "
        "for similarities?), or the model ranks upside down",
        above="the reranker returns almost the order it was given: is it worth its cost? Callers may send candidates "
        "that are already reranked",
    ),
    Figure(
        "drift",
        of="",
        over="",
        requests="answered",
        healthy=(None, 0.25),
        meaning="population stability index between the scores in the window and the stored baseline: under 0.1 the "
        "same, over 0.25 another distribution",
        above="scores are distributed otherwise than when the baseline was stored: another model or precision, other "
        "queries, or a change of the corpus or of upstream retrieval",
    ),
)
"""In the order they are shown. The ranges of the first three are those practitioners quote; drift's is the usual one
(see `stability_index`); the others are our choice. Shares of documents have no healthy range of their own: a list of
100 candidates with one good one is healthy, and 99% low."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure's value over some window; `enough` requests stand behind it, or its state is unknown."""

    figure: Figure
    value: float | None
    enough: bool

    @property
    def state(self) -> State:
        if self.value is None or not self.enough:
            return "unknown"
        return "unhealthy" if self.figure.departure(self.value) else "healthy"

    def as_json(self) -> dict[str, object]:
        unhealthy = self.value is not None and self.state == "unhealthy"
        return {
            "name": self.figure.name,
            "value": self.value,
            "healthy": list(self.figure.healthy),
            "state": self.state,
            "meaning": self.figure.meaning,
            "advice": self.figure.departure(self.value) if unhealthy and self.value is not None else "",
        }


NO_BOUNDS: Mapping[str, Bounds] = MappingProxyType({})


def figures(low_score: float, healthy: Mapping[str, Bounds] = NO_BOUNDS) -> tuple[Figure, ...]:
    """`FIGURES` with the low score in their words and the healthy ranges given in the place of the usual ones.

    Raises `InvalidSetting` on an unknown figure, and on a range that is upside down.
    """
    known = {figure.name for figure in FIGURES}
    for name, (low, high) in healthy.items():
        if name not in known:
            raise InvalidSetting(f"health figure {name!r}: the figures are {', '.join(sorted(known))}")
        if low is not None and high is not None and low > high:
            raise InvalidSetting(f"{name}: the healthy range {low} to {high} is upside down")
    return tuple(
        replace(
            figure,
            healthy=healthy.get(figure.name, figure.healthy),
            meaning=figure.meaning.format(low_score=low_score),
            below=figure.below or f"{figure.name} is lower than it should be",
            above=figure.above or f"{figure.name} is higher than it should be",
        )
        for figure in FIGURES
    )


def stability_index(counts: Sequence[float], baseline: Sequence[float]) -> float:
    """The population stability index of two histograms: the sum over bins of (p - q) * ln(p / q).

    Under 0.1 the same, 0.1 to 0.25 some change, over 0.25 another distribution (Siddiqi, "Credit Risk Scorecards",
    2006, ch. 9). Half a count is added to each bin, so that an empty one does not make it infinite.

    >>> stability_index([10, 20, 30], [10, 20, 30])
    0.0
    """
    p, q = _smoothed(counts), _smoothed(baseline)
    return sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))


def stability_noise(counts: Sequence[float], baseline: Sequence[float]) -> float:
    """What the index comes to by chance alone where nothing changed: (bins - 1) * (1 / N + 1 / M) in the mean
    (Yurdakul and Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
    Validation 14, 2020)."""
    if not sum(counts) or not sum(baseline):
        return math.inf
    return (len(counts) - 1) * (1 / sum(counts) + 1 / sum(baseline))


def _smoothed(counts: Sequence[float]) -> list[float]:
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]
