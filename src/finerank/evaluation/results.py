"""What an evaluation found, query by query, its averages, and its JSON. Knows nothing of rankers and measures."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from finerank.errors import InvalidInput

FORMAT = 1
"""The version of the JSON form."""

Stage = Literal["first_stage", "reranked"]


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query: each measure before (`first_stage`) and after reranking.

    `first_stage_right`, `reranked_right`: a relevant document is at rank 1. `length` is the query's, in characters.
    `text` is empty unless it was asked for.
    """

    id: str
    first_stage: Mapping[str, float]
    reranked: Mapping[str, float]
    first_stage_right: bool
    reranked_right: bool
    length: int
    candidates: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What reranking took: pairs and their tokens (those from the cache too), documents truncated, seconds."""

    pairs: int = 0
    tokens: int = 0
    truncated: int = 0
    cached: int = 0
    seconds: float = 0.0

    @property
    def pairs_per_s(self) -> float:
        return self.pairs / self.seconds if self.seconds else 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.pairs + other.pairs,
            self.tokens + other.tokens,
            self.truncated + other.truncated,
            self.cached + other.cached,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class SetResult:
    """One set's queries."""

    name: str
    language: str
    queries: tuple[QueryResult, ...]
    cost: Cost = field(default_factory=Cost)
    notes: tuple[str, ...] = ()

    def mean(self, stage: Stage, measure: str) -> float:
        """The mean over the queries."""
        return fmean(getattr(query, stage)[measure] for query in self.queries)


@dataclass(frozen=True, slots=True)
class Averages:
    """The means of some sets, first stage and reranked, by measure."""

    name: str
    sets: int
    queries: int
    first_stage: Mapping[str, float]
    reranked: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of one ranker on some sets. `measures` are those taken, the main one first."""

    model: str
    measures: tuple[str, ...]
    sets: tuple[SetResult, ...]
    depth: int | None = None
    max_queries: int | None = None
    seed: int | None = None

    @property
    def cost(self) -> Cost:
        return sum((result.cost for result in self.sets), Cost())

    def by_set(self) -> list[Averages]:
        """A set's mean is that of its queries."""
        return [self._averages(result.name, [result]) for result in self.sets]

    def by_language(self) -> list[Averages]:
        """A language's mean is that of its sets, each counted once whatever its size."""
        languages = sorted({result.language for result in self.sets})
        return [self._averages(name, [r for r in self.sets if r.language == name]) for name in languages]

    def overall(self) -> list[Averages]:
        """The mean of the sets, and the mean of the languages."""
        languages, sets, queries = self.by_language(), len(self.sets), sum(len(r.queries) for r in self.sets)
        over_languages = Averages(
            "mean of languages",
            sets,
            queries,
            {m: fmean(row.first_stage[m] for row in languages) for m in self.measures},
            {m: fmean(row.reranked[m] for row in languages) for m in self.measures},
        )
        return [self._averages("mean of sets", self.sets), over_languages]

    def _averages(self, name: str, sets: Iterable[SetResult]) -> Averages:
        sets = list(sets)
        return Averages(
            name,
            len(sets),
            sum(len(result.queries) for result in sets),
            {measure: fmean(result.mean("first_stage", measure) for result in sets) for measure in self.measures},
            {measure: fmean(result.mean("reranked", measure) for result in sets) for measure in self.measures},
        )


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as one JSON object: averages, cost, and every query. `evaluation_from_json` reads it back."""
    return {
        "format": FORMAT,
        "model": evaluation.model,
        "measures": list(evaluation.measures),
        "depth": evaluation.depth,
        "max_queries": evaluation.max_queries,
        "seed": evaluation.seed,
        "overall": [asdict(row) for row in evaluation.overall()] if evaluation.sets else [],
        "languages": [asdict(row) for row in evaluation.by_language()],
        "cost": _cost_json(evaluation.cost),
        "sets": [_set_json(result, row) for result, row in zip(evaluation.sets, evaluation.by_set(), strict=True)],
    }


def evaluation_from_json(fields: Mapping[str, Any]) -> Evaluation:
    """The evaluation that `evaluation_json` wrote. Raises KeyError, TypeError or ValueError if it is another object."""
    if fields["format"] != FORMAT:
        raise ValueError(f"format {fields['format']}, not {FORMAT}")
    return Evaluation(
        model=str(fields["model"]),
        measures=tuple(fields["measures"]),
        sets=tuple(_set_from_json(result) for result in fields["sets"]),
        depth=fields["depth"],
        max_queries=fields["max_queries"],
        seed=fields["seed"],
    )


def read_evaluation(path: Path) -> Evaluation:
    """A saved evaluation. Raises `InvalidInput` if the file is not one."""
    try:
        return evaluation_from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path}: is not an evaluation ({error}); `finerank evaluate --out DIR` writes evaluation.json"
        ) from error


def _set_json(result: SetResult, row: Averages) -> dict[str, Any]:
    return {
        "name": result.name,
        "language": result.language,
        "first_stage": dict(row.first_stage),
        "reranked": dict(row.reranked),
        "cost": _cost_json(result.cost),
        "notes": list(result.notes),
        "queries": [_query_json(query) for query in result.queries],
    }


def _query_json(query: QueryResult) -> dict[str, Any]:
    fields = asdict(query)
    if not query.text:
        del fields["text"]
    return fields


def _cost_json(cost: Cost) -> dict[str, Any]:
    return {**asdict(cost), "pairs_per_s": cost.pairs_per_s}


def _set_from_json(fields: Mapping[str, Any]) -> SetResult:
    cost = {name: value for name, value in fields["cost"].items() if name != "pairs_per_s"}
    queries = tuple(QueryResult(**query) for query in fields["queries"])
    return SetResult(fields["name"], fields["language"], queries, Cost(**cost), tuple(fields["notes"]))
