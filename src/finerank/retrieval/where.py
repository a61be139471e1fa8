"""Conditions on a passage's place and metadata, as the store's search understands them."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from typing import Self

from finerank.errors import InvalidSetting
from finerank.scoring.encode import encodable
from finerank.text.load import parse_date

_CONDITION = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(!=|>=|<=|=|>|<|~)\s*(.*?)\s*", re.DOTALL)
_DAY = re.compile(r"\d{4}-?\d\d-?\d\d")
_TEXT_COLUMNS = frozenset({"source", "key", "heading"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `~` means "contains", without regard to case; what is not there is `!=` to anything."""

    name: str
    operator: str
    value: str

    def sql(self) -> str:
        value = "'" + encodable(self.value).replace("'", "''") + "'"
        if self.name == "date":
            return self._on_date()
        if self.name == "page":
            return self._compared("page", _number(self))
        column = self.name if self.name in _TEXT_COLUMNS else f"json_get_string(metadata, '{self.name}')"
        if self.operator == "~":
            return f"strpos(lower({column}), {value.lower()}) > 0"
        if self.operator in ("=", "!="):
            return self._compared(column, value)
        # As text first: json_get_float would fail on the first value that is no number.
        return f"try_cast({column} as double) {self.operator} {_number(self)}"

    def _on_date(self) -> str:
        """A date without a time is the whole day."""
        start, end = (f"timestamp '{moment:%Y-%m-%d %H:%M:%SZ}'" for moment in _span_of(self.value))
        if start == end:
            return self._compared("date", start)
        return {
            "=": f"(date >= {start} AND date < {end})",
            "!=": f"(date IS NULL OR date < {start} OR date >= {end})",
            ">": f"date >= {end}",
            ">=": f"date >= {start}",
            "<": f"date < {start}",
            "<=": f"date < {end}",
        }[self.operator]

    def _compared(self, column: str, value: str) -> str:
        compared = f"{column} {self.operator} {value}"
        return f"({column} IS NULL OR {compared})" if self.operator == "!=" else compared


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold.

    >>> Filter.parse(["lang=zh", "page>=3"]).sql()
    "json_get_string(metadata, 'lang') = 'zh' AND page >= 3"
    """

    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Conditions such as `lang=zh`, `year>=2020`, `date>2024-01-31`, `source~manual`.

        Raises `InvalidSetting` on one that is none.
        """
        return cls(tuple(_parse(text) for text in texts))

    def sql(self) -> str:
        """For LanceDB's `where`."""
        return " AND ".join(condition.sql() for condition in self.conditions)


def _parse(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if not match:
        raise InvalidSetting(f"where {text!r}: must be name=value, with =, !=, >, >=, <, <= or ~ (contains)")
    condition = Condition(match[1], match[2], match[3])
    if condition.operator == "~" and condition.name in ("date", "page"):
        raise InvalidSetting(f"where {text!r}: {condition.name} has no text to contain it; use =, >= or <=")
    if condition.name in _TEXT_COLUMNS and condition.operator not in ("=", "!=", "~"):
        raise InvalidSetting(f"where {text!r}: {condition.name} is text; use =, != or ~ (contains)")
    condition.sql()
    return condition


def _span_of(value: str) -> tuple[datetime, datetime]:
    """A time, twice; or where a day begins and ends."""
    date = parse_date(value)
    if date is None or date.year == MAXYEAR:
        raise InvalidSetting(f"where date: {value!r} is no date; write 2024-01-31")
    return date, date + timedelta(days=_DAY.fullmatch(value) is not None)


def _number(condition: Condition) -> str:
    try:
        number = int(condition.value) if condition.name == "page" else float(condition.value)
        if not math.isfinite(number):
            raise ValueError("no number to compare with")
        return repr(number)
    except ValueError as error:
        raise InvalidSetting(
            f"where {condition.name}{condition.operator}{condition.value}: must be compared with a number"
        ) from error
