"""Candidate documents from files, JSON lines or standard input, and back."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from finerank.errors import InvalidInput
from finerank.ranking import Document


def read_candidates(files: list[Path], docs: Path | None) -> list[Document]:
    """The documents of text files (one a file, its path as id), of a JSON-lines file, or of standard input, one a
    line. Raises `InvalidInput` naming the file and line of what cannot be read."""
    documents = [Document(_read(path), id=str(path)) for path in files]
    if docs is not None:
        with sys.stdin if str(docs) == "-" else _open(docs) as lines:
            documents += parse_lines(lines, str(docs))
    if documents or files or docs is not None:
        return documents
    if sys.stdin.isatty():
        raise InvalidInput("no documents: name files, give --docs list.jsonl, or pipe in one candidate a line")
    return [Document(line.rstrip("\r\n")) for line in sys.stdin if line.strip()]


def parse_lines(lines: Iterable[str], name: str) -> list[Document]:
    """Documents from JSON lines: a string, or an object with text and perhaps id and metadata."""
    documents = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                documents.append(parse_document(json.loads(line)))
            except ValueError as error:  # InvalidInput and JSONDecodeError both are
                raise InvalidInput(f"{name}, line {number}: {error}") from error
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


def _read(path: Path) -> str:
    with _open(path) as file:
        return file.read()


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
