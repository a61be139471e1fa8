"""Hard negatives: passages that look relevant to a query and are not, found in a corpus and checked by a teacher.

    mined = mine_negatives(examples, corpus, Bm25(corpus), Mining(negatives=7), teacher=reranker)
    write_examples(path, mined.examples)

It can be called again between epochs, with a better source and another seed, on the examples as they first were.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from finerank.errors import InvalidSetting
from finerank.ranking import PairScore
from finerank.training.candidates import CandidateSource, PairScorer
from finerank.training.examples import Example

FalseNegatives = Literal["drop", "relabel"]

Progress = Callable[[int, int], None]
"""Called with queries done and queries in all."""

_GROUP = 64
"""Queries searched, and scored by the teacher, together."""


@dataclass(frozen=True, slots=True)
class Mining:
    """Which negatives are taken.

    `negatives` a query, from the `ranks` first to last (from 1, the query's own passages not counted), drawn at random
    with `seed` or, with sample=False, from the top. A teacher takes a candidate for a false negative if its logit is
    above that of the query's lowest positive less `margin`, or its score (0..1) above `max_score`: it is dropped, or
    with false_negatives="relabel" kept, labelled with the teacher's score.
    """

    negatives: int = 7
    ranks: tuple[int, int] = (1, 100)
    sample: bool = True
    seed: int = 0
    margin: float = 0.0
    max_score: float = 1.0
    false_negatives: FalseNegatives = "drop"

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise InvalidSetting(f"negatives={self.negatives}: must be at least 1")
        if not 1 <= self.ranks[0] <= self.ranks[1]:
            raise InvalidSetting(f"ranks={self.ranks}: must be first and last, from 1")
        if not 0 <= self.max_score <= 1:
            raise InvalidSetting(f"max_score={self.max_score}: scores lie between 0 and 1")
        if math.isnan(self.margin):
            raise InvalidSetting(f"margin={self.margin}: must be a number")
        if self.false_negatives not in ("drop", "relabel"):
            raise InvalidSetting(f"false_negatives={self.false_negatives!r}: must be drop or relabel")


@dataclass(frozen=True, slots=True)
class Mined:
    """The examples with their negatives, and what became of the candidates.

    `mined`: negatives added; `short`: queries that got fewer than asked; `relabelled`: negatives with a label above 0;
    `dropped`: candidates that were looked at and not taken, by reason.
    """

    examples: list[Example]
    mined: int
    short: int
    relabelled: int
    dropped: Mapping[str, int]


@dataclass(slots=True)
class _Search:
    """A query on its way: candidates not yet looked at, and negatives found, each with its label."""

    example: Example
    candidates: list[str]
    limit: float = float("inf")
    found: list[tuple[str, float]] = field(default_factory=list)
    teacher: list[float] = field(default_factory=list)


def mine_negatives(
    examples: Sequence[Example],
    corpus: Sequence[str],
    source: CandidateSource,
    mining: Mining | None = None,
    *,
    teacher: PairScorer | None = None,
    progress: Progress | None = None,
) -> Mined:
    """Add hard negatives to each example, after its own passages; `source` searches the same `corpus`.

    Never taken: a text that the query has already, in this example or another. With a
    teacher every passage carries the teacher's logit, without one none does. An example without a positive comes back
    as it is: nothing says what a false negative would be.
    """
    mining = mining or Mining()
    known = _known_texts(examples)
    dropped: Counter[str] = Counter()
    searches: list[_Search] = []
    for start in range(0, len(examples), _GROUP):
        group = examples[start : start + _GROUP]
        found = source.search([example.query for example in group], mining.ranks[1] + _longest(known, group))
        for number, (example, positions) in enumerate(zip(group, found, strict=True), start=start):
            candidates = _unknown([corpus[at] for at in positions], known[example.query], mining, dropped)
            has_positive = any(label > 0 for label in example.labels)
            searches.append(_Search(example, _ordered(candidates, mining, number) if has_positive else []))
        _choose(searches[start:], mining, teacher, dropped)
        if progress is not None:
            progress(start + len(group), len(examples))
    return Mined(
        examples=[_with_negatives(search, teacher is not None) for search in searches],
        mined=sum(len(search.found) for search in searches),
        short=sum(len(search.found) < mining.negatives for search in searches),
        relabelled=sum(label > 0 for search in searches for _, label in search.found),
        dropped=dict(dropped),
    )


def only_relevant(example: Example) -> Example:
    """The example without the passages that are not relevant, for others to take their place; whole if none is."""
    kept = [index for index, label in enumerate(example.labels) if label > 0]
    if not kept:
        return example
    return replace(
        example,
        passages=tuple(example.passages[index] for index in kept),
        labels=tuple(example.labels[index] for index in kept),
        teacher=None,
    )


def _known_texts(examples: Sequence[Example]) -> Mapping[str, set[str]]:
    """The texts each query has already, in any of its examples."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for example in examples:
        known[example.query].update(map(_same, example.passages))
    return known


def _same(text: str) -> str:
    """What two passages that differ in white space only have in common."""
    return " ".join(text.split())


def _longest(known: Mapping[str, set[str]], group: Sequence[Example]) -> int:
    return max(len(known[example.query]) for example in group)


def _unknown(found: Sequence[str], known: set[str], mining: Mining, dropped: Counter[str]) -> list[str]:
    """The candidates within the ranks: those neither known nor found before, counted from 1."""
    seen: dict[str, str] = {}
    for text in found:
        same = _same(text)
        if same in known or same in seen:
            dropped["own passage" if same in known else "duplicate"] += 1
        else:
            seen[same] = text
    first, last = mining.ranks
    return list(seen.values())[first - 1 : last]


def _ordered(candidates: list[str], mining: Mining, number: int) -> list[str]:
    if not mining.sample:
        return candidates
    order = np.random.default_rng((mining.seed, number)).permutation(len(candidates))
    return [candidates[at] for at in order]


def _choose(searches: Sequence[_Search], mining: Mining, teacher: PairScorer | None, dropped: Counter[str]) -> None:
    """Take candidates in order until each query has enough or has no more; the teacher sees no more than it must."""
    if teacher is not None:
        _score_own(searches, mining, teacher)
    while wanting := [search for search in searches if search.candidates and len(search.found) < mining.negatives]:
        for search, text, score in _scored(_next(wanting, mining.negatives), teacher):
            reason = _suspicion(score, search.limit, mining) if score else ""
            if reason and mining.false_negatives == "drop":
                dropped[reason] += 1
                continue
            search.found.append((text, score.score if score and reason else 0.0))
            if score:
                search.teacher.append(score.logit)


def _next(searches: Sequence[_Search], negatives: int) -> list[tuple[_Search, str]]:
    """For each query as many candidates as it lacks, taken from its list."""
    taken = []
    for search in searches:
        lacking = negatives - len(search.found)
        taken += [(search, text) for text in search.candidates[:lacking]]
        search.candidates = search.candidates[lacking:]
    return taken


def _scored(
    pairs: Sequence[tuple[_Search, str]], teacher: PairScorer | None
) -> Iterator[tuple[_Search, str, PairScore | None]]:
    scores: Sequence[PairScore | None] = [None] * len(pairs)
    if teacher is not None:
        scores = teacher.score_pairs([(search.example.query, text) for search, text in pairs])
    for (search, text), score in zip(pairs, scores, strict=True):
        yield search, text, score


def _score_own(searches: Sequence[_Search], mining: Mining, teacher: PairScorer) -> None:
    """The teacher's logits of the passages a query has, and the limit for those it gets."""
    pairs = [(search.example.query, text) for search in searches for text in search.example.passages]
    logits = iter([score.logit for score in teacher.score_pairs(pairs)])
    for search in searches:
        search.teacher = [next(logits) for _ in search.example.passages]
        labelled = zip(search.teacher, search.example.labels, strict=True)
        search.limit = min((logit for logit, label in labelled if label > 0), default=float("inf")) - mining.margin


def _suspicion(score: PairScore, limit: float, mining: Mining) -> str:
    """Why the candidate may be relevant after all, or nothing."""
    if score.logit > limit:
        return "above margin"
    return "above max_score" if score.score > mining.max_score else ""


def _with_negatives(search: _Search, with_teacher: bool) -> Example:
    return replace(
        search.example,
        passages=search.example.passages + tuple(text for text, _ in search.found),
        labels=search.example.labels + tuple(label for _, label in search.found),
        teacher=tuple(search.teacher) if with_teacher else None,
    )
