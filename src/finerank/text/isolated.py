"""Readers of files in a sandbox: a crafted file can neither hang nor crash the caller, nor exhaust its memory."""

import atexit
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from finerank.errors import MissingExtra, UnreadableFile
from finerank.system.sandbox import Limits, Sandbox, SandboxError
from finerank.text.clean import CleanText
from finerank.text.document import LoadedDocument, Report
from finerank.text.headings import Heading

Reader = Callable[..., Iterator[LoadedDocument]]
"""Takes a path, a `Report` and perhaps more, all of JSON types."""

_FIXES = {
    "time": "; if the file is sound, raise read_timeout_s",
    "memory": "; if the file is sound, raise read_memory_mb",
    "crash": "; if the file is sound, raise read_memory_mb",
    "error": "",
}


def read_isolated(
    reader: Reader, path: Path, report: Report, limits: Limits, *arguments: object
) -> Iterator[LoadedDocument]:
    """The documents that `reader`, a function of a module, reads in a child process. Raises `UnreadableFile`, also
    where the reader hangs, crashes or needs too much memory; `MissingExtra`.
    """
    kind = path.suffix.removeprefix(".").upper()
    call = (f"{reader.__module__}:{reader.__qualname__}", str(path), *arguments)
    try:
        for what, value in shared_sandbox(limits).stream(f"{__name__}:read", *call):
            match what:
                case "report":
                    report(value)
                case "unreadable":
                    raise UnreadableFile(value)
                case "missing":
                    raise MissingExtra(*value)
                case "system":
                    raise OSError(*value)
                case _:
                    yield _document(value)
    except SandboxError as error:
        raise UnreadableFile(f"{path}: not readable as {kind} ({error}){_FIXES[error.reason]}") from error


@cache
def shared_sandbox(limits: Limits) -> Sandbox:
    """The process's sandbox with these limits, whose children stay until it ends."""
    sandbox = Sandbox(limits)
    atexit.register(sandbox.close)
    return sandbox


def read(reader: str, path: str, *arguments: object) -> Iterator[tuple[str, object]]:
    """The child's part: documents, and what is reported of them, as JSON values."""
    from importlib import import_module

    module, _, name = reader.partition(":")
    reports: list[str] = []
    try:
        for document in getattr(import_module(module), name)(Path(path), reports.append, *arguments):
            yield from (("report", said) for said in reports)
            reports.clear()
            yield "document", _values(document)
        yield from (("report", said) for said in reports)
    except UnreadableFile as error:
        yield from (("report", said) for said in reports)
        yield "unreadable", str(error)
    except MissingExtra as error:
        yield "missing", (error.what, error.extra)
    except OSError as error:
        yield "system", (error.errno, error.strerror or str(error))


def _values(document: LoadedDocument) -> dict[str, Any]:
    """A document as JSON values."""
    values: dict[str, Any] = {one.name: getattr(document, one.name) for one in fields(document)}
    values["metadata"] = dict(document.metadata)
    values["headings"] = [[heading.start, heading.level, heading.title] for heading in document.headings]
    values["date"] = document.date and document.date.isoformat()
    original = document.original
    values["original"] = original and [original.text, list(original.starts), list(original.ends)]
    return values


def _document(values: dict[str, Any]) -> LoadedDocument:
    from array import array

    original = values["original"]
    return LoadedDocument(
        **{
            **values,
            "headings": tuple(Heading(*heading) for heading in values["headings"]),
            "pages": tuple(values["pages"]),
            "unread_pages": tuple(values["unread_pages"]),
            "date": values["date"] and datetime.fromisoformat(values["date"]),
            "original": original and CleanText(original[0], array("l", original[1]), array("l", original[2])),
        }
    )
