"""Candidate documents from files, JSON or standard input."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from finerank.errors import InvalidInput
from finerank.io.decode import STANDARD_INPUT, read_text, standard_input
from finerank.io.jsonl import parse_json
from finerank.ranking import Document


def read_candidates(files: list[Path], docs: Path | None) -> list[Document]:
    """The documents of text files (one a file, its path as id), of a JSON file, or of standard input, one a line.
    Any of them may be compressed by gzip.

    Raises `InvalidInput` naming the file and line of what cannot be read, `UnreadableFile` naming one that is no text.
    """
    documents = [Document(_read(path), id=str(path)) for path in files]
    if docs is not None:
        documents += parse_documents(_read(docs), str(docs))
    if documents or files or docs is not None:
        return documents
    if standard_input().isatty():
        raise InvalidInput("no documents: name files, give --docs list.jsonl, or pipe in one candidate a line")
    return [Document(line) for line in _read(STANDARD_INPUT).split("\n") if line.strip()]


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
        for number, value in enumerate(parse_json(text, name), start=1):
            yield f"{name}, document {number}", value
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield (place := f"{name}, line {number}"), parse_json(line, place)


def _read(path: Path) -> str:
    return read_text(path, lambda odd: Console(stderr=True).print(odd, style="yellow", markup=False, soft_wrap=True))
