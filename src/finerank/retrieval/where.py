"""Conditions on a passage's place and metadata, as the store's search understands them."""

import csv
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from typing import Self

from finerank.errors import InvalidSetting
from finerank.retrieval.facets import IS, MARK, language_range, number, plain, time
from finerank.scoring.encode import encodable
from finerank.text.load import parse_date

_OPERATOR = re.compile(r"!=|>=|<=|=|>|<|~|(?<=\s)in\s*(?=\()", re.IGNORECASE)
_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*')
_DAY = re.compile(r"\d{4}-?\d\d-?\d\d")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$#&~-])")
_TEXT_FIELDS = frozenset({"source", "key", "heading"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison with a field, a list if `operator` is `in`. `~` means "contains", without regard to case. Of
    several values one must do; what is not there is `!=` to anything. A language stands for its varieties: zh, zh-CN.
    """

    name: str
    operator: str
    value: str

    def sql(self) -> str:
        if self.operator == "in":
            return f"({' OR '.join(Condition(self.name, '=', value).sql() for value in self._listed())})"
        if self.operator == "~":
            pattern = f"{_escaped(self._begin())}[^{MARK}]*(?i:{_escaped(plain(self.value))})"
            return f"regexp_like(facets, {_quoted(pattern)})"
        if self.name == "date":
            return _in_time(self.operator, "date", "date", self.value)
        if self.operator == "!=":
            return f"NOT {self._equal()}"
        if self.operator == "=":
            return self._equal()
        if self.name != "page" and number(self.value) is None and parse_date(self.value) is not None:
            return _in_time(self.operator, self._cast(2, "timestamp"), self._cast(-1, "timestamp"), self.value)
        value = self._cast(2 if self.operator[0] == "<" else -1, "double")
        real = f" AND {value} <= {sys.float_info.max}" if self.operator[0] == ">" else ""  # nan would be above all
        return f"({value} {self.operator} {_number(self)}{real})"

    def _listed(self) -> list[str]:
        return next(csv.reader([self.value[1:-1]], skipinitialspace=True), [])

    def _begin(self) -> str:
        return f"{MARK}{plain(self.name)}{IS}"

    def _cast(self, part: int, kind: str) -> str:
        """The field's first value (part 2) or its last (-1), as a number or a time; null if it is neither."""
        return f"try_cast(split_part(split_part(facets, {_quoted(self._begin())}, {part}), '{MARK}', 1) as {kind})"

    def _equal(self) -> str:
        value = plain(self.value)
        forms = {value, number(value) or value, time(value) or value}
        if value.lower() in ("true", "false"):
            forms |= {value.lower(), value.capitalize()}
        if (language := language_range(self.name, value)) is not None:
            forms = {language}
        if self.name == "page":
            forms = {_number(self)}
        equal = " OR ".join(f"strpos(facets, {_quoted(f'{self._begin()}{form}{MARK}')}) > 0" for form in sorted(forms))
        if _DAY.fullmatch(value) and "-" in value and parse_date(value) is not None:
            on_day = _in_time("=", self._cast(2, "timestamp"), self._cast(-1, "timestamp"), value)
            equal += f" OR coalesce({on_day}, false)"
        return f"({equal})"


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold.

    >>> Filter.parse(["lang in (zh, en)", "page>=3"]).conditions[1]
    Condition(name='page', operator='>=', value='3')
    """

    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Conditions such as `lang=zh`, `lang in (zh, en)`, `year>=2020`, `date>2024-01-31`, `author.name~lee`,
        `"a=b"=c`, `status="New, fresh"`.

        Raises `InvalidSetting` on one that is none.
        """
        return cls(tuple(_parse(text) for text in texts))

    def sql(self) -> str:
        """For LanceDB's `where`."""
        return " AND ".join(condition.sql() for condition in self.conditions)


def _parse(text: str) -> Condition:
    quoted = _QUOTED.match(text)
    operator = _OPERATOR.match(text, quoted.end()) if quoted else _OPERATOR.search(text)
    name = quoted[1].replace('""', '"') if quoted else text[: operator.start()] if operator else ""
    if operator is None or not name.strip():
        raise InvalidSetting(
            f"where {text!r}: must be name=value, with =, !=, >, >=, <, <= or ~ (contains); or name in (a, b)"
        )
    said = text[operator.end() :].strip()
    value = said_quoted[1].replace('""', '"') if (said_quoted := _QUOTED.fullmatch(said)) else said
    condition = Condition(name.strip(), operator[0].strip().lower(), value)
    if condition.operator == "in" and not (condition.value.endswith(")") and condition.value[1:-1].strip()):
        raise InvalidSetting(f"where {text!r}: must list values, as in lang in (zh, en)")
    if condition.operator == "~" and condition.name in ("date", "page"):
        raise InvalidSetting(f"where {text!r}: {condition.name} has no text to contain it; use =, >= or <=")
    if condition.name in _TEXT_FIELDS and condition.operator in (">", ">=", "<", "<="):
        raise InvalidSetting(f"where {text!r}: {condition.name} is text; use =, != or ~ (contains)")
    condition.sql()
    return condition


def _in_time(operator: str, first: str, last: str, value: str) -> str:
    """The first and the last time of a field compared with a value; a date without a time is the whole day."""
    start, end = (f"timestamp '{moment:%Y-%m-%d %H:%M:%SZ}'" for moment in _span_of(value))
    if start == end:
        compared = f"{first if operator[0] == '<' else last} {operator} {start}"
        return f"({last} IS NULL OR {compared})" if operator == "!=" else compared
    return {
        "=": f"({last} >= {start} AND {first} < {end})",
        "!=": f"({last} IS NULL OR {last} < {start} OR {first} >= {end})",
        ">": f"{last} >= {end}",
        ">=": f"{last} >= {start}",
        "<": f"{first} < {start}",
        "<=": f"{first} < {end}",
    }[operator]


def _span_of(value: str) -> tuple[datetime, datetime]:
    """A time, twice; or where a day begins and ends."""
    date = parse_date(value)
    if date is None or date.year == MAXYEAR:
        raise InvalidSetting(f"where date: {value!r} is no date; write 2024-01-31")
    return date, date + timedelta(days=_DAY.fullmatch(value) is not None)


def _number(condition: Condition) -> str:
    try:
        value = int(condition.value) if condition.name == "page" else float(condition.value)
        if not math.isfinite(value):
            raise ValueError("no number to compare with")
        return repr(value)
    except ValueError as error:
        what = "a number" if condition.name == "page" else "a number or a date"
        raise InvalidSetting(
            f"where {condition.name}{condition.operator}{condition.value}: must be compared with {what}"
        ) from error


def _escaped(text: str) -> str:
    """For the engine's regular expressions, which are Rust's."""
    return _SPECIAL.sub(r"\\\1", text)


def _quoted(text: str) -> str:
    return "'" + encodable(text).replace("'", "''") + "'"
