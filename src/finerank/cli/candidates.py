"""Candidate documents from files, JSON or standard input."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from finerank.errors import InvalidInput
from finerank.ranking import Document


def read_candidates(files: list[Path], docs: Path | None) -> list[Document]:
    """The documents of text files (one a file, its path as id), of a JSON file, or of standard input, one a line.
    Raises `InvalidInput` naming the file and line of what cannot be read, `UnreadableFile` naming one that is no text.
    """
    documents = [Document(_read(path), id=str(path)) for path in files]
    if docs is not None:
        documents += parse_documents(sys.stdin.read() if str(docs) == "-" else _read(docs), str(docs))
    if documents or files or docs is not None:
        return documents
    if sys.stdin.isatty():
        raise InvalidInput("no documents: name files, give --docs list.jsonl, or pipe in one candidate a line")
    return [Document(line.rstrip("\r\n")) for line in sys.stdin if line.strip()]


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
    from finerank.text.load import decode

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    return decode(content, str(path), lambda odd: Console(stderr=True).print(odd, style="yellow", markup=False))
