"""Jupyter notebooks to text: Markdown, code and printed results, cell by cell."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from finerank.errors import UnreadableFile
from finerank.text.clean import strip_html
from finerank.text.document import LoadedDocument, Report
from finerank.text.headings import markdown_headings


def read_notebook(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The document of a notebook. Raises `UnreadableFile` for what is none."""
    try:
        notebook = json.loads(path.read_bytes())
        sheets = [notebook, *notebook.get("worksheets", [])]  # of format 3
        cells = [cell for sheet in sheets for cell in sheet.get("cells", [])]
        language = notebook.get("metadata", {}).get("kernelspec", {}).get("language", "")
        parts = [part for cell in cells for part in _parts(cell, language)]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UnreadableFile(f"{path}: not readable as a notebook ({type(error).__name__}: {error})") from error
    text = "\n\n".join(part for part in parts if part.strip())
    headings = tuple(markdown_headings(text))
    title = next((heading.title for heading in headings if heading.level == 1), "")
    yield LoadedDocument(text, title=title, headings=headings)


def _parts(cell: Mapping[str, object], language: str) -> Iterator[str]:
    kind = cell.get("cell_type")
    source = _joined(cell.get("source", cell.get("input", "")))
    if kind == "heading":  # of format 3
        yield f"{'#' * int(str(cell.get('level', 1)))} {source}"
    elif kind != "code":
        yield source
    elif source.strip():
        yield f"```{language}\n{source}\n```"
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        data = output.get("data", output)
        if "text/plain" in data or "text" in data:
            yield _fenced(_joined(data.get("text/plain", data.get("text", ""))))
        elif "text/markdown" in data:
            yield _joined(data["text/markdown"])
        elif "text/html" in data:
            yield strip_html(_joined(data["text/html"])).text
        elif output.get("output_type") in ("error", "pyerr"):
            yield _fenced(f"{output.get('ename', '')}: {output.get('evalue', '')}")


def _fenced(text: str) -> str:
    return f"```\n{text.rstrip()}\n```" if text.strip() else ""


def _joined(value: object) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
