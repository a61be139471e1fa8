"""Keyword traps: queries with passages that share their words and miss their point, and one that answers.

The texts are data files in `traps/`, one a language, written for finerank so that word overlap mostly fails: they show
how a model reads, not how good it is overall.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finerank.errors import InvalidSetting, UnreadableQuery
from finerank.ranking import Ranker

_FOLDER = Path(__file__).parent / "traps"


@dataclass(frozen=True, slots=True)
class KeywordTrap:
    """`answer` is the passage that answers `query`; `traps` are those that only sound like it."""

    language: str
    name: str
    query: str
    answer: str
    traps: tuple[str, ...]

    @property
    def passages(self) -> list[str]:
        """All passages, the answer in a place that its name decides, so that no order gives it away."""
        place = sum(self.name.encode()) % (len(self.traps) + 1)
        return [*self.traps[:place], self.answer, *self.traps[place:]]


@dataclass(frozen=True, slots=True)
class TrapOutcome:
    """Which passage a ranker put first: `right` if it is the one that answers."""

    language: str
    name: str
    right: bool


@dataclass(frozen=True, slots=True)
class TrapAccuracy:
    """How often the answer came first."""

    traps: int
    right: int

    @property
    def accuracy(self) -> float:
        return self.right / self.traps


def trap_languages() -> list[str]:
    """The language codes there are traps for."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def load_traps(language: str) -> list[KeywordTrap]:
    """The traps of one language. Raises `InvalidSetting` if there are none."""
    path = _FOLDER / f"{language}.json"
    if not path.is_file():
        raise InvalidSetting(f"lang={language!r}: there are keyword traps in {', '.join(trap_languages())}")
    return [
        KeywordTrap(language, item["name"], item["query"], item["answer"], tuple(item["traps"]))
        for item in json.loads(path.read_text(encoding="utf-8"))
    ]


def try_traps(ranker: Ranker, traps: Iterable[KeywordTrap]) -> list[TrapOutcome]:
    """Rank the passages of every trap. One whose query the model cannot read is not answered right."""
    outcomes = []
    for trap in traps:
        try:
            ranking = ranker.rank(trap.query, trap.passages)
        except UnreadableQuery:
            right = False
        else:
            right = bool(ranking) and trap.passages[ranking[0].index] == trap.answer
        outcomes.append(TrapOutcome(trap.language, trap.name, right))
    return outcomes


def trap_accuracy(outcomes: Iterable[TrapOutcome]) -> dict[str, TrapAccuracy]:
    """The accuracy of every language, and `overall`."""
    groups: dict[str, list[bool]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.language, []).append(outcome.right)
    groups["overall"] = [right for group in groups.values() for right in group]
    return {name: TrapAccuracy(len(group), sum(group)) for name, group in groups.items() if group}
