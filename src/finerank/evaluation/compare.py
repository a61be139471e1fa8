"""Is one order better than another, by how much, how sure is that, and where is it worse?

Compares what two systems got for the same queries: a ranker against its first stage, or two saved evaluations.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finerank.errors import InvalidInput
from finerank.evaluation.results import Evaluation, QueryResult, SetResult

RESAMPLES = 10_000
"""Draws of the bootstrap and of the randomisation test; the smallest p-value there can be is 1 in 10,001."""

WORST = 5
"""Queries shown of each slice."""

_BLOCK_ELEMENTS = 4_000_000  # random draws held at once, 32 MB of float64

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QueryChange:
    """A query's measure `before` and `after`, and what it is sliced by.

    `length` says which third of its language's queries it is in; `first_right`: the order before had a relevant
    document at rank 1.
    """

    set: str
    language: str
    id: str
    before: float
    after: float
    length: str
    first_right: bool
    text: str = ""

    @property
    def delta(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference with its 95% interval, the p-value of there being none, and queries helped and hurt."""

    mean: float
    low: float
    high: float
    p_value: float
    queries: int
    helped: int
    hurt: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The queries that have something in common: how they changed, and the worst of those that fell."""

    by: str
    name: str
    queries: int
    mean: float
    helped: int
    hurt: int
    worst: tuple[QueryChange, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`before` and `after` name the systems. `overall` is about the mean of the sets, as in the averages; `deltas` are
    the queries' changes."""

    measure: str
    before: str
    after: str
    overall: Difference
    languages: dict[str, Difference]
    slices: tuple[Slice, ...]
    deltas: tuple[float, ...]
    notes: tuple[str, ...] = ()


def compare_with_first_stage(evaluation: Evaluation, measure: str | None = None, seed: int = 0) -> Comparison:
    """A ranker against the first stage whose candidates it ranked."""
    measure = measure or evaluation.measures[0]
    pairs = [
        (found, query, query.first_stage[measure], query.first_stage_right, query.reranked[measure])
        for found in evaluation.sets
        for query in found.queries
    ]
    return _compare(pairs, measure, "first stage", evaluation.model, (), seed)


def compare_evaluations(before: Evaluation, after: Evaluation, measure: str | None = None, seed: int = 0) -> Comparison:
    """Two rankers on the queries that both evaluations have, by set and query id.

    Raises `InvalidInput` if there are none, or if the first stages differ: then the rankers had unlike work.
    """
    measure = measure or after.measures[0]
    for evaluation in (before, after):
        check_measured(evaluation, measure)
    known = {(found.name, query.id): query for found in before.sets for query in found.queries}
    both = [
        (found, query, known[found.name, query.id])
        for found in after.sets
        for query in found.queries
        if (found.name, query.id) in known
    ]
    if not both:
        raise InvalidInput(f"{before.model} and {after.model} have no query in common; evaluate both on the same sets")
    for found, query, other in both:
        if not _same_work(query, other, measure):
            raise InvalidInput(
                f"{found.name}, query {query.id!r}: the two evaluations had other candidates or judgements; evaluate "
                "both with the same sets, --run and --depth"
            )
    total = sum(len(found.queries) for found in after.sets)
    left = len(known) + total - 2 * len(both)
    notes = (f"{left} queries are in one of the evaluations only and were left out",) if left else ()
    pairs = [
        (found, query, other.reranked[measure], other.reranked_right, query.reranked[measure])
        for found, query, other in both
    ]
    return _compare(pairs, measure, before.model, after.model, notes, seed)


def check_measured(evaluation: Evaluation, measure: str) -> None:
    """Raise `InvalidInput` if the evaluation lacks the measure."""
    if measure not in evaluation.measures:
        raise InvalidInput(f"{evaluation.model}: was not measured in {measure}; evaluate it with --measures")


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as one JSON object; queries' text only where it was kept."""
    fields = asdict(comparison)
    del fields["deltas"]
    for part in fields["slices"]:
        for change in part["worst"]:
            if not change["text"]:
                del change["text"]
    return fields


def difference(deltas: Sequence[float], strata: Sequence[str] | None = None, seed: int = 0) -> Difference:
    """The mean of paired differences, its interval and its p-value; `strata` name each difference's set.

    With strata the mean is that of the sets' means. The interval is the percentile bootstrap's at 95%, queries drawn
    within their sets (Efron and Tibshirani 1993, chapter 13). The p-value is the paired randomisation test's, two
    sided: if the systems were alike, the sign of each query's difference would be chance (Smucker, Allan and
    Carterette 2007, "A comparison of statistical significance tests for information retrieval evaluation").

    >>> found = difference([0.2, 0.1, 0.3, 0.2, 0.1, 0.2])
    >>> round(found.mean, 3), found.low > 0, found.helped
    (0.183, True, 6)
    """
    values = np.asarray(deltas, np.float64)
    groups = _groups(strata or [""] * len(values))
    weights = np.zeros_like(values)
    for group in groups:
        weights[group] = 1 / (len(groups) * len(group))
    mean = float(weights @ values)
    low, high = np.percentile(_bootstrap(values, groups, seed), [2.5, 97.5])
    p_value = _randomisation(values * weights, seed)
    return Difference(
        mean, float(low), float(high), p_value, len(values), int((values > 0).sum()), int((values < 0).sum())
    )


def slice_changes(changes: Sequence[QueryChange]) -> list[Slice]:
    """The changes by language, by set, by the query's length, and by whether rank 1 was right before."""
    keys = {
        "language": lambda change: change.language,
        "set": lambda change: change.set,
        "query length": lambda change: change.length,
        "rank 1 before": lambda change: "right" if change.first_right else "wrong",
    }
    slices = []
    for by, key in keys.items():
        for name, group in groupby(sorted(changes, key=key), key):
            slices.append(_slice(by, name, list(group)))
    return slices


def _compare(
    pairs: Sequence[tuple[SetResult, QueryResult, float, bool, float]],
    measure: str,
    before: str,
    after: str,
    notes: tuple[str, ...],
    seed: int,
) -> Comparison:
    lengths = _lengths((found, query) for found, query, *_ in pairs)
    changes = [
        QueryChange(found.name, found.language, query.id, old, new, lengths[found.name, query.id], right, query.text)
        for found, query, old, right, new in pairs
    ]
    by_language: defaultdict[str, list[QueryChange]] = defaultdict(list)
    for change in changes:
        by_language[change.language].append(change)
    return Comparison(
        measure=measure,
        before=before,
        after=after,
        overall=_difference(changes, seed),
        languages={name: _difference(group, seed) for name, group in sorted(by_language.items())},
        slices=tuple(slice_changes(changes)),
        deltas=tuple(change.delta for change in changes),
        notes=notes,
    )


def _difference(changes: Sequence[QueryChange], seed: int) -> Difference:
    return difference([change.delta for change in changes], [change.set for change in changes], seed)


def _same_work(query: QueryResult, other: QueryResult, measure: str) -> bool:
    alike = abs(query.first_stage[measure] - other.first_stage[measure]) < 1e-9
    return alike and query.candidates == other.candidates


def _lengths(queries: Iterable[tuple[SetResult, QueryResult]]) -> dict[tuple[str, str], str]:
    """Each query as short, middle or long among those of its language: a Chinese question has few characters."""
    by_language: defaultdict[str, list[tuple[SetResult, QueryResult]]] = defaultdict(list)
    for found, query in queries:
        by_language[found.language].append((found, query))
    thirds = {}
    for group in by_language.values():
        low, high = np.percentile([query.length for _, query in group], [100 / 3, 200 / 3])
        for found, query in group:
            name = "short" if query.length <= low else "middle" if query.length <= high else "long"
            thirds[found.name, query.id] = name
    return thirds


def _slice(by: str, name: str, changes: Sequence[QueryChange]) -> Slice:
    fell = sorted((change for change in changes if change.delta < 0), key=lambda change: change.delta)
    helped = sum(change.delta > 0 for change in changes)
    mean = float(np.mean([change.delta for change in changes]))
    return Slice(by, name, len(changes), mean, helped, len(fell), tuple(fell[:WORST]))


def _groups(strata: Sequence[str]) -> list[NDArray[np.intp]]:
    _, inverse = np.unique(np.asarray(strata), return_inverse=True)
    return [np.flatnonzero(inverse == number) for number in range(inverse.max() + 1)]


def _bootstrap(values: Floats, groups: Sequence[NDArray[np.intp]], seed: int) -> Floats:
    """The mean of the groups' means, `RESAMPLES` times, each group drawn from itself with replacement."""
    random = np.random.default_rng(seed)
    means = np.zeros(RESAMPLES)
    for group in groups:
        for part in _blocks(len(group)):
            drawn = values[group][random.integers(0, len(group), (part.stop - part.start, len(group)))]
            means[part] += drawn.mean(axis=1) / len(groups)
    return means


def _randomisation(weighted: Floats, seed: int) -> float:
    """How often random signs give a sum as far from 0 as the one found; the one found counts as a draw."""
    random = np.random.default_rng(seed)
    found = abs(weighted.sum())
    as_far = 0
    for part in _blocks(len(weighted)):
        signs = random.integers(0, 2, (part.stop - part.start, len(weighted)), np.int8) * 2.0 - 1
        as_far += int((np.abs(signs @ weighted) >= found - 1e-12).sum())
    return (as_far + 1) / (RESAMPLES + 1)


def _blocks(width: int) -> list[slice]:
    """The resamples in parts of at most `_BLOCK_ELEMENTS` draws."""
    rows = max(1, _BLOCK_ELEMENTS // width)
    return [slice(start, min(start + rows, RESAMPLES)) for start in range(0, RESAMPLES, rows)]
