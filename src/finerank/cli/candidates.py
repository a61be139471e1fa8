"""Candidate documents from files, JSON or standard input."""

import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from finerank.errors import InvalidInput
from finerank.ranking import Document

_GZIP = b"\x1f\x8b"
"""How a file begins that gzip wrote."""


def read_candidates(files: list[Path], docs: Path | None) -> list[Document]:
    """The documents of text files (one a file, its path as id), of a JSON file, or of standard input, one a line.
    Any of them may be compressed by gzip.

    Raises `InvalidInput` naming the file and line of what cannot be read, `UnreadableFile` naming one that is no text.
    """
    documents = [Document(_read(path), id=str(path)) for path in files]
    if docs is not None:
        documents += parse_documents(_read_standard_input() if str(docs) == "-" else _read(docs), str(docs))
    if documents or files or docs is not None:
        return documents
    if standard_input().isatty():
        raise InvalidInput("no documents: name files, give --docs list.jsonl, or pipe in one candidate a line")
    lines = io.StringIO(_read_standard_input(), newline=None)
    return [Document(line.rstrip("\n")) for line in lines if line.strip()]


def standard_input() -> TextIO:
    """Raises `InvalidInput` where it is closed, as under some schedulers."""
    if sys.stdin is None:
        raise InvalidInput("standard input is closed: name files, or give a file with --docs or --batch")
    return sys.stdin


def parse_documents(text: str, name: str) -> list[Document]:
    """Documents from JSON lines or an array: each a string, or an object with text and perhaps id and metadata."""
    documents = []
    for place, value in _values(text, name):
        try:
            documents.append(parse_document(value))
        except InvalidInput as error:
            raise InvalidInput(f"{place}: {error}") from error
    return documents


def parse_document(value: object) -> Document:
    """A JSON value as a document. Fields other than text, id and metadata are kept as metadata."""
    if isinstance(value, str):
        return Document(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        raise InvalidInput('a document is a string, or an object with a string "text"')
    id_, given = value.get("id"), value.get("metadata", {})
    if id_ is not None and not isinstance(id_, str | int):
        raise InvalidInput(f'the document\'s "id" is {id_!r}; it must be a string or a number')
    if not isinstance(given, Mapping):
        raise InvalidInput(f'the document\'s "metadata" is {given!r}; it must be an object')
    others = {name: field for name, field in value.items() if name not in ("text", "id", "metadata")}
    return Document(value["text"], id_, {**others, **given})


def _values(text: str, name: str) -> Iterator[tuple[str, object]]:
    """The values in JSON lines or in one array, each with its place in words."""
    if text.lstrip().startswith("["):
        for number, value in enumerate(_json(text, name), start=1):
            yield f"{name}, document {number}", value
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield (place := f"{name}, line {number}"), _json(line, place)


def _json(text: str, place: str) -> Any:  # noqa: ANN401 - whatever stands there
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{place}: not readable as JSON: {error}") from error


def _read(path: Path) -> str:
    try:
        return _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error


def _read_standard_input() -> str:
    try:
        return _decode(standard_input().buffer.read(), "standard input")
    except OSError as error:
        raise InvalidInput(f"standard input: {error.strerror}") from error


def _decode(content: bytes, name: str) -> str:
    """The text of a file of any encoding, decompressed where gzip compressed it."""
    from finerank.text.load import decode

    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidInput(f"{name}: is damaged ({error}); compress it again") from error
    return decode(content, name, lambda odd: Console(stderr=True).print(odd, style="yellow", markup=False))
