"""Rules that drop weak passages for what they are: old, short, of a source that is not allowed, said before.

They are tables [[rag.rules]] of finerank.toml, and act only below a score: a passage that answers well is kept whatever
its metadata says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from typing import Any

from finerank.errors import InvalidSetting
from finerank.rag.order import overlap
from finerank.rag.results import Drop, FoundPassage
from finerank.rag.said import Said
from finerank.retrieval.facets import field_values, plain
from finerank.text.load import parse_date

Check = Callable[[FoundPassage, Sequence[FoundPassage]], str]
"""The reason to drop a passage, given those before it that are kept; empty if there is none."""

Clock = Callable[[], datetime]

_DAYS_A_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by its name, and what it says to a passage."""

    name: str
    check: Check


def parse_rules(tables: Sequence[Mapping[str, object]], now: datetime | None = None) -> tuple[Rule, ...]:
    """The rules that tables of settings describe. Raises `InvalidSetting` naming the table and its fault.

    >>> [rule.name for rule in parse_rules([{"drop": "older", "years": 2}, {"drop": "short", "characters": 40}])]
    ['older', 'short']
    """
    clock = (lambda: now) if now else (lambda: datetime.now(UTC))
    return tuple(_parse(number, table, clock) for number, table in enumerate(tables, start=1))


def apply_rules(
    passages: Sequence[FoundPassage], rules: Sequence[Rule], below: float
) -> tuple[list[FoundPassage], list[Drop]]:
    """Which passages the rules keep and which they drop. A passage that scores `below` or more is kept, and one that
    has no score is not."""
    kept: list[FoundPassage] = []
    dropped: list[Drop] = []
    for passage in passages:
        strong = passage.score is not None and passage.score >= below
        reason = "" if strong else next((why for rule in rules if (why := rule.check(passage, kept))), "")
        if reason:
            dropped.append(Drop(passage, reason))
        else:
            kept.append(passage)
    return kept, dropped


def _older(options: Mapping[str, Any], clock: Clock) -> Check:
    years = float(options["years"])
    age = timedelta(days=years * _DAYS_A_YEAR)
    clock() - age  # raises if there is no such date

    def check(passage: FoundPassage, _: Sequence[FoundPassage]) -> str:
        date = parse_date(passage.document.metadata.get("date"))
        if not date or date >= clock() - age:
            return ""
        return Said.of("drop.older", years=f"{years:g}", date=f"{date:%Y-%m-%d}")

    return check


def _source(options: Mapping[str, Any], clock: Clock) -> Check:
    allowed = [str(pattern) for pattern in options["allowed"]]

    def check(passage: FoundPassage, _: Sequence[FoundPassage]) -> str:
        source = str(passage.document.metadata.get("source", ""))
        fits = any(fnmatch(source, pattern) or fnmatch(source, f"*/{pattern}") for pattern in allowed)
        return "" if fits else Said.of("drop.source", allowed=", ".join(allowed))

    return check


def _short(options: Mapping[str, Any], clock: Clock) -> Check:
    least = int(options["characters"])

    def check(passage: FoundPassage, _: Sequence[FoundPassage]) -> str:
        length = len(passage.document.text.strip())
        return Said.of("drop.short", least=least, length=length) if length < least else ""

    return check


def _duplicate(options: Mapping[str, Any], clock: Clock) -> Check:
    share = float(options.get("overlap", 0.8))

    def check(passage: FoundPassage, kept: Sequence[FoundPassage]) -> str:
        for other in kept:
            found = overlap(passage.document.text, other.document.text)
            if found >= share:
                return Said.of("drop.duplicate", rank=other.rank, share=f"{found:.0%}")
        return ""

    return check


def _metadata(options: Mapping[str, Any], clock: Clock) -> Check:
    name = str(options["name"])
    values = set(field_values({name: list(options["values"])}).get(plain(name), []))

    def check(passage: FoundPassage, _: Sequence[FoundPassage]) -> str:
        found = field_values(passage.document.metadata).get(plain(name), [])
        value = next((value for value in found if value in values), None)
        return Said.of("drop.metadata", name=name, value=value) if value is not None else ""

    return check


RULES: Mapping[str, tuple[frozenset[str], Callable[[Mapping[str, Any], Clock], Check]]] = {
    "older": (frozenset({"years"}), _older),
    "source": (frozenset({"allowed"}), _source),
    "short": (frozenset({"characters"}), _short),
    "duplicate": (frozenset({"overlap"}), _duplicate),
    "metadata": (frozenset({"name", "values"}), _metadata),
}
"""By name: a rule's options, and what makes its check."""


def _parse(number: int, table: Mapping[str, object], clock: Clock) -> Rule:
    place = f"[[rag.rules]] number {number}"
    name = table.get("drop")
    if name not in RULES:
        raise InvalidSetting(f"{place}: drop = {name!r}; it must be one of {', '.join(RULES)}")
    options, make = RULES[str(name)]
    given = {key: value for key, value in table.items() if key != "drop"}
    if unknown := given.keys() - options:
        raise InvalidSetting(
            f"{place}: unknown {', '.join(sorted(unknown))}; {name} takes {', '.join(sorted(options))}"
        )
    for key in ("allowed", "values"):
        if key in given and not isinstance(given[key], list | tuple):
            raise InvalidSetting(f"{place}: {key} = {given[key]!r}; it must be a list")
    try:
        return Rule(str(name), make(given, clock))
    except KeyError as error:
        raise InvalidSetting(f"{place}: {name} needs {error.args[0]}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidSetting(f"{place}: {error}") from error
