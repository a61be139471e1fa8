"""Ranking health over a sliding window, by model and by caller's tag. Keeps sums by time, never a request."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finerank.errors import InvalidInput, InvalidSetting
from finerank.messages import Message
from finerank.monitoring.figures import (
    NO_BOUNDS,
    Bounds,
    Figure,
    Reading,
    figures,
    stability_index,
    stability_noise,
)
from finerank.monitoring.observe import SCORE_BINS, Observation, observe

__all__ = ["MIN_REQUESTS", "OTHER", "HealthWindow", "Observation", "Scope", "observe"]

Scope = tuple[str | None, str | None]
"""A model and a tag; None stands for all of them."""

MIN_REQUESTS = 30
"""Below so many requests a figure's state is unknown."""

OTHER = "(other)"
"""Counts the tags and models beyond the number that is kept apart."""

_TAG_CHARS = 64
_DRIFT_NOISE = 0.1  # stability index by chance alone, at most, for drift to be judged
_SUMS = (
    "requests",
    "documents",
    "answered",
    "scored",
    "compared",
    "compared_documents",
    "replaced",
    "gap",
    "tau",
    "low_requests",
    "low_documents",
    "truncated",
    "tied",
)
"""Sums kept per bucket, before the histogram: `answered` requests had a candidate, `compared` had two or more."""


class _Series:
    """The sums of one model and tag: a ring of buckets, each with the number of its time span."""

    def __init__(self, buckets: int) -> None:
        self.numbers = np.full(buckets, -1, np.int64)
        self.rows = np.zeros((buckets, len(_SUMS) + SCORE_BINS))

    def add(self, number: int, row: NDArray[np.float64]) -> None:
        slot = number % len(self.numbers)
        if self.numbers[slot] != number:
            self.numbers[slot] = number
            self.rows[slot] = 0
        self.rows[slot] += row

    def live(self, number: int) -> NDArray[np.bool_]:
        """Which buckets lie in the window that ends with bucket `number`; one from the future does not."""
        return (self.numbers > number - len(self.numbers)) & (self.numbers <= number)


class HealthWindow:
    """Ranking health of the last `window_s` seconds, in `buckets` steps. Safe between threads.

    Memory is bounded whatever the traffic: at most `max_models` models and `max_tags` tags are kept apart, the rest
    is counted as "(other)"; a name unused for a whole window makes room. `healthy` replaces the usual healthy ranges.

    >>> window = HealthWindow()
    >>> window.report()["requests"]
    0
    """

    def __init__(
        self,
        window_s: float = 3600,
        *,
        buckets: int = 60,
        low_score: float = 0.3,
        min_requests: int = MIN_REQUESTS,
        max_models: int = 8,
        max_tags: int = 32,
        healthy: Mapping[str, Bounds] = NO_BOUNDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not (window_s > 0 and 0 < buckets <= 120):
            raise InvalidSetting(f"window_s={window_s}, buckets={buckets}: a window over 0 s, in 1 to 120 buckets")
        self.window_s = window_s
        self.low_score = low_score
        self.figures = figures(low_score, healthy)
        self._width_s = window_s / buckets
        self._buckets = buckets
        self._min_requests = min_requests
        self._max_models = max_models
        self._max_tags = max_tags
        self._clock = clock
        self._lock = threading.Lock()
        self._number = self._now()
        self._series: dict[tuple[str, str], _Series] = {}
        self._baselines: dict[Scope, list[float]] = {}
        self._changes = 0

    @property
    def changes(self) -> int:
        """Goes up whenever there is something new to save."""
        return self._changes

    def record(self, observation: Observation, model: str, tag: str | None = None) -> None:
        """Count a request. A tag is cut to 64 characters; unprintable ones become "?"."""
        row = _row(observation)
        with self._lock:
            self._turn(self._now())
            self._at(model, _clean(tag)).add(self._number, row)
            self._changes += 1

    def scopes(self) -> list[Scope]:
        """Each model, and each tag of each model, that the window holds."""
        with self._lock:
            self._turn(self._now())
            names = list(self._series)
        models = sorted({model for model, _ in names})
        return [*((model, None) for model in models), *sorted((model, tag) for model, tag in names if tag)]

    def requests(self, model: str | None = None, tag: str | None = None) -> int:
        """Requests in the window."""
        return int(self._table(model, tag)[:, 0].sum())

    def readings(self, model: str | None = None, tag: str | None = None) -> list[Reading]:
        """Every figure over the whole window."""
        return self._readings(self._table(model, tag).sum(axis=0), self._baselines.get((model, tag)))

    def report(self, model: str | None = None, tag: str | None = None) -> dict[str, Any]:
        """The window as JSON: counts, figures, a series by time, the scores. None is every model, every tag."""
        table = self._table(model, tag)
        sums, baseline = table.sum(axis=0), self._baselines.get((model, tag))
        scopes = self.scopes()
        return {
            "window_s": self.window_s,
            "models": sorted({name for name, _ in scopes if name is not None}),
            "tags": sorted({name for _, name in scopes if name is not None}),
            "model": model,
            "tag": tag,
            "requests": int(sums[0]),
            "documents": int(sums[1]),
            "figures": [reading.as_json() for reading in self._readings(sums, baseline)],
            "series": self._points(table, baseline),
            "scores": {
                "edges": [bin / SCORE_BINS for bin in range(SCORE_BINS + 1)],
                "counts": [int(count) for count in _histogram(sums)],
                "baseline": baseline and [count / sum(baseline) for count in baseline],
            },
        }

    def set_baseline(self, model: str | None = None, tag: str | None = None) -> None:
        """Store the present scores as the baseline of drift: for what is named and for each model and tag within it.

        A model or tag with too few requests gets none; raises `InvalidInput` if that is true of all that was named.
        """
        scopes = self.scopes()
        every = {*scopes, *((None, name) for _, name in scopes)}
        inside = [scope for scope in every if model in (None, scope[0]) and tag in (None, scope[1])]
        sums = {scope: self._table(*scope).sum(axis=0) for scope in {(model, tag), *inside}}
        found = {scope: row for scope, row in sums.items() if row[_SUMS.index("answered")] >= self._min_requests}
        if (model, tag) not in found:
            named = ", ".join(f"{what}={name!r}" for what, name in (("model", model), ("tag", tag)) if name)
            raise InvalidInput(
                Message(
                    "{model}: {count} requests in the window; a baseline needs {least}. Wait for more.",
                    "baseline.requests",
                    model=named or "all models",
                    count=int(sums[model, tag][0]),
                    least=self._min_requests,
                )
            )
        with self._lock:
            for scope, row in found.items():
                self._keep_baseline(scope, _histogram(row))
            self._changes += 1

    def state(self) -> dict[str, Any]:
        """All there is to save, as JSON."""
        with self._lock:
            self._turn(self._now())
            return {
                "low_score": self.low_score,
                "bins": SCORE_BINS,
                "sums": list(_SUMS),
                "series": [
                    {"model": model, "tag": tag, "buckets": self._saved(series)}
                    for (model, tag), series in self._series.items()
                ],
                "baselines": [
                    {"model": model, "tag": tag, "counts": counts} for (model, tag), counts in self._baselines.items()
                ],
            }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state; buckets outside the window are dropped, and all of them if they count other things
        (another low score). Raises `ValueError`, `KeyError` or `TypeError` on anything else, and then changes nothing.
        """
        same = state["low_score"] == self.low_score and state["sums"] == list(_SUMS) and state["bins"] == SCORE_BINS
        series = [
            (str(each["model"]), str(each["tag"]), _finite([start], 1)[0], _saved_row(row))
            for each in (state["series"] if same else [])
            for start, row in each["buckets"]
        ]
        baselines = [
            ((_name(each["model"]), _name(each["tag"])), _saved_counts(each["counts"])) for each in state["baselines"]
        ]
        with self._lock:
            self._turn(self._now())
            for model, tag, start, row in series:
                number = math.floor((start + self._width_s / 2) / self._width_s)
                if self._number - self._buckets < number <= self._number:
                    self._at(model, tag).add(number, np.array(row))
            for scope, counts in baselines:
                self._keep_baseline(scope, counts)

    def _now(self) -> int:
        return math.floor(self._clock() / self._width_s)

    def _turn(self, number: int) -> None:
        """Make `number` the present bucket, and drop what has nothing left in the window."""
        if number != self._number:
            self._number = number
            self._series = {name: each for name, each in self._series.items() if each.live(number).any()}

    def _at(self, model: str, tag: str) -> _Series:
        if (model, tag) not in self._series:
            model = _within(model, {name for name, _ in self._series}, self._max_models)
            tag = _within(tag, {name for _, name in self._series if name}, self._max_tags) if tag else ""
            if (model, tag) not in self._series:
                self._series[model, tag] = _Series(self._buckets)
        return self._series[model, tag]

    def _table(self, model: str | None, tag: str | None) -> NDArray[np.float64]:
        """The sums of every bucket in the window, oldest first."""
        table = np.zeros((self._buckets, len(_SUMS) + SCORE_BINS))
        with self._lock:
            self._turn(self._now())
            oldest = self._number - self._buckets + 1
            for name, series in self._series.items():
                if model in (None, name[0]) and tag in (None, name[1]):
                    live = series.live(self._number)
                    table[series.numbers[live] - oldest] += series.rows[live]
        return table

    def _readings(self, sums: NDArray[np.float64], baseline: Sequence[float] | None) -> list[Reading]:
        named = dict(zip(_SUMS, sums.tolist(), strict=False))
        return [
            self._drift(figure, named, _histogram(sums), baseline)
            if figure.name == "drift"
            else self._ratio(figure, named)
            for figure in self.figures
        ]

    def _ratio(self, figure: Figure, sums: Mapping[str, float]) -> Reading:
        value = sums[figure.of] / sums[figure.over] if sums[figure.over] else None
        return Reading(figure, value, sums[figure.requests] >= self._min_requests)

    def _drift(
        self, figure: Figure, sums: Mapping[str, float], counts: Sequence[float], baseline: Sequence[float] | None
    ) -> Reading:
        if baseline is None or not sums["scored"]:
            return Reading(figure, None, enough=False)
        enough = sums[figure.requests] >= self._min_requests and stability_noise(counts, baseline) <= _DRIFT_NOISE
        return Reading(figure, stability_index(counts, baseline), enough)

    def _points(self, table: NDArray[np.float64], baseline: Sequence[float] | None) -> list[dict[str, Any]]:
        """The figures of each bucket; drift only where it is no mere chance."""
        oldest = self._now() - self._buckets + 1
        return [
            {
                "time": (oldest + step) * self._width_s,
                "requests": int(row[0]),
                "figures": {
                    reading.figure.name: reading.value if reading.enough or reading.figure.name != "drift" else None
                    for reading in self._readings(row, baseline)
                },
            }
            for step, row in enumerate(table)
        ]

    def _saved(self, series: _Series) -> list[tuple[float, list[float]]]:
        live = series.live(self._number)
        starts = (series.numbers[live] * self._width_s).tolist()
        return list(zip(starts, series.rows[live].tolist(), strict=True))

    def _keep_baseline(self, scope: Scope, counts: list[float]) -> None:
        self._baselines.pop(scope, None)
        self._baselines[scope] = counts
        while len(self._baselines) > (self._max_models + 2) * (self._max_tags + 2):
            del self._baselines[next(iter(self._baselines))]


def _row(seen: Observation) -> NDArray[np.float64]:
    compared = seen.tau is not None
    sums = (
        1,
        seen.documents,
        seen.best is not None,
        seen.scored,
        compared,
        seen.scored if compared else 0,
        seen.top1_replaced or 0,
        seen.gap or 0.0,
        seen.tau or 0.0,
        seen.low_best or 0,
        seen.low_documents,
        seen.truncated,
        seen.tied,
    )
    return np.array(sums + seen.histogram, np.float64)


def _histogram(sums: NDArray[np.float64]) -> list[float]:
    counts: list[float] = sums[len(_SUMS) :].tolist()
    return counts


def _clean(tag: str | None) -> str:
    cut = (tag or "")[:_TAG_CHARS]
    return cut if cut.isprintable() else "".join(char if char.isprintable() else "?" for char in cut)


def _within(name: str, known: set[str], most: int) -> str:
    return name if name in known or len(known - {OTHER}) < most else OTHER


def _name(saved: object) -> str | None:
    if saved is not None and not isinstance(saved, str):
        raise TypeError(f"{saved!r} is no name")
    return saved


def _finite(numbers: Iterable[Any], length: int) -> list[float]:
    found = [float(number) for number in numbers]
    if len(found) != length or not all(map(math.isfinite, found)):
        raise ValueError(f"{length} finite numbers were expected")
    return found


def _saved_row(row: Sequence[Any]) -> list[float]:
    sums = _finite(row[: len(_SUMS)], len(_SUMS))
    return [*sums, *_counts(row[len(_SUMS) :])]


def _saved_counts(counts: Sequence[Any]) -> list[float]:
    found = _counts(counts)
    if not sum(found):
        raise ValueError("a baseline of no scores")
    return found


def _counts(numbers: Sequence[Any]) -> list[float]:
    found = _finite(numbers, SCORE_BINS)
    if min(found) < 0:
        raise ValueError("a negative count")
    return found
