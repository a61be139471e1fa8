"""JSON files to documents: a list of records one by one, anything else as one document of paths and values."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from finerank.errors import UnreadableFile
from finerank.text.document import LoadedDocument, Report

_LOOKED_AT = 20


def read_json(
    source: str, path: Path, report: Report, record: Callable[[object, int, int], LoadedDocument]
) -> Iterator[LoadedDocument]:
    """The records of a list, or of the only list in an object, if they have texts; else the whole file.

    `record` makes a document of a record, with its number as the line. A record without text is reported. Raises
    `UnreadableFile` for what is not JSON.
    """
    try:
        value = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{path}: not readable as JSON: {error}") from error
    records = _records(value, record)
    if records is None:
        lines = list(_flattened(value))
        title = str(value.get("title") or "") if isinstance(value, Mapping) else ""
        yield LoadedDocument("\n".join(lines), title=title)
        return
    for number, each in enumerate(records, start=1):
        try:
            yield record({"text": each} if isinstance(each, str) else each, number, 0)
        except ValueError as error:
            report(f"{path}, record {number}: {error}")


def _records(value: object, record: Callable[[object, int, int], LoadedDocument]) -> list[object] | None:
    if isinstance(value, Mapping):
        lists = [each for each in value.values() if isinstance(each, list) and each and isinstance(each[0], Mapping)]
        if len(lists) != 1 or not _has_texts(lists[0], record):
            return [value] if _has_texts([value], record) else None
        return lists[0]
    return value if isinstance(value, list) and _has_texts(value, record) else None


def _has_texts(values: list[object], record: Callable[[object, int, int], LoadedDocument]) -> bool:
    """Whether records have texts, by the first of them."""
    for each in islice(values, _LOOKED_AT):
        if isinstance(each, str):
            return True
        try:
            record(each, 1, 0)
        except ValueError:
            continue
        return True
    return False


def _flattened(value: object, path: str = "") -> Iterator[str]:
    """A line for each value, after the names that lead to it."""
    waiting = [(path, value)]
    while waiting:
        place, each = waiting.pop()
        if isinstance(each, Mapping):
            waiting += reversed([(f"{place}.{name}" if place else str(name), inside) for name, inside in each.items()])
        elif isinstance(each, list):
            waiting += reversed([(place, inside) for inside in each])
        elif each is not None and str(each).strip():
            yield f"{place}: {each}" if place else str(each)
