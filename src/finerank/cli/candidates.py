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
    """A JSON value as a document, its text and id under the names that `finerank index` reads too. The other fields,
    a title for one, are kept as metadata."""
    from finerank.text.tables import ID_FIELDS, TEXT_FIELDS

    if isinstance(value, str):
        return Document(value)
    fields = value if isinstance(value, Mapping) else {}
    text_name = next((name for name in TEXT_FIELDS if isinstance(fields.get(name), str)), None)
    if text_name is None:
        raise InvalidInput(f"a document is a string, or an object with a string under any of {', '.join(TEXT_FIELDS)}")
    id_name = next((name for name in ID_FIELDS if fields.get(name) is not None), "id")
    id_, given = fields.get(id_name), fields.get("metadata")
    given = {} if given is None else given
    if id_ is not None and not isinstance(id_, str | int):
        raise InvalidInput(f'the document\'s "{id_name}" is {id_!r}; it must be a string or a number')
    if not isinstance(given, Mapping):
        raise InvalidInput(f'the document\'s "metadata" is {given!r}; it must be an object')
    others = {name: field for name, field in fields.items() if name not in (text_name, id_name, "metadata")}
    return Document(fields[text_name], id_, {**others, **given})


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
    if path.is_dir():
        raise InvalidInput(f"{path}: is a folder; name its files, or `finerank index` it and search")
    return read_text(path, lambda odd: Console(stderr=True).print(odd, style="yellow", markup=False, soft_wrap=True))
