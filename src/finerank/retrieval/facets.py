"""Metadata to the one text that a store's filters search: every field with each of its values, however nested."""

import re
import unicodedata
from collections.abc import Iterator, Mapping

from finerank.text.load import parse_date

MARK = "\x1e"
"""Stands before each field, and after the last."""

IS = "\x1f"
"""Stands between a field's name and its value."""

_LANGUAGES = frozenset({"lang", "language", "locale"})
_SEPARATORS = str.maketrans({MARK: " ", IS: " "})
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d.{0,30}", re.ASCII | re.DOTALL)
_EXACT = 1e15


def facets(*metadata: Mapping[str, object]) -> str:
    """The fields of all the mappings, `MARK` name `IS` value each. Of a field of several values the smallest number
    comes first and the largest last.

    >>> facets({"lang": "zh-CN"}).replace(MARK, "|").replace(IS, "=")
    '|lang=zh|lang=zh-cn|'
    """
    fields = field_values(*metadata)
    pairs = [f"{name}{IS}{value}" for name, values in fields.items() for value in _sorted(values)]
    return MARK + "".join(pair + MARK for pair in pairs)


def field_values(*metadata: Mapping[str, object]) -> dict[str, list[str]]:
    """The values of each field as texts: a list is several values, an object's fields are `name.field`, null is none.

    >>> field_values({"tags": ["a", 1.0], "author": {"name": None, "staff": True}})
    {'tags': ['a', '1'], 'author.staff': ['true']}
    """
    fields: dict[str, list[str]] = {}
    for each in metadata:
        for path, value in _leaves(each):
            name = plain(path)
            fields.setdefault(name, []).extend(_forms(name, value))
    return fields


def plain(text: str) -> str:
    """Text as names and values are kept: composed, and without the separators."""
    return unicodedata.normalize("NFC", text).translate(_SEPARATORS).strip()


def language_range(name: str, value: str) -> str | None:
    """The value as a language tag if the field holds languages: zh_Hans as zh-hans."""
    return value.lower().replace("_", "-") if name.rpartition(".")[2].lower() in _LANGUAGES else None


def number(text: str) -> str | None:
    """A number in the form in which it is kept, None for other text: 2020.0 as 2020."""
    return _number(float(text)) if _NUMBER.fullmatch(text) else None


def time(text: str) -> str | None:
    """A time in the form in which it is kept, None for other text and for a day: 2024-01-31T23:00+08:00 as
    2024-01-31T15:00:00+00:00."""
    found = parse_date(text) if _TIME.fullmatch(text) else None
    return found.isoformat() if found else None


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)


def _leaves(metadata: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What is no object or list, in order, each with the path of names to it."""
    waiting: list[tuple[str, object]] = [("", metadata)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            inside = [(f"{path}.{name}" if path else str(name), each) for name, each in value.items()]
            waiting += reversed(inside)
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(path, each) for each in reversed(list(value))]
        elif value is not None:
            yield path, value


def _forms(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return ["true" if value else "false"]
    text = _number(value) if isinstance(value, float) else plain(str(value))
    language = language_range(name, text)
    if language is None:
        return [time(text) or text]
    parts = language.split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _sorted(values: list[str]) -> list[str]:
    if len(values) == 1:
        return values
    numbers = sorted((value for value in values if _NUMBER.fullmatch(value)), key=float)
    others = sorted(value for value in values if not _NUMBER.fullmatch(value))
    return [*numbers[:1], *others, *numbers] if numbers and others else numbers or others
