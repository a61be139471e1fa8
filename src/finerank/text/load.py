"""Files to documents: text, Markdown, HTML, PDF, DOCX, CSV and JSON lines. Knows nothing of passages and stores.

PDF and DOCX need the extra `rag`. A file that cannot be read is an `UnreadableFile`; a bad line of a good file is
reported, and the rest is read.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finerank.errors import InvalidInput, MissingExtra, UnreadableFile
from finerank.io.decode import decode as decode
from finerank.system.sandbox import Limits
from finerank.text.clean import strip_html
from finerank.text.dates import parse_date as parse_date
from finerank.text.document import LoadedDocument as LoadedDocument
from finerank.text.document import Report as Report
from finerank.text.headings import Heading, chapter_headings, html_headings, markdown_headings
from finerank.text.isolated import read_isolated
from finerank.text.ocr import Ocr, ocr_pages
from finerank.text.page_ranges import page_ranges
from finerank.text.pdf import PDF_VERSION, read_pdf
from finerank.text.tables import TABLE_VERSION, read_csv, read_json_lines

_TITLE = re.compile(r"<title\b[^<>]*>(.{0,1000}?)</title", re.IGNORECASE | re.DOTALL)
_LANGUAGE = re.compile(r"<html\b[^<>]*\blang\s*=\s*[\"']?([A-Za-z-]+)", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_PLAIN_FIELD = re.compile(r"^([A-Za-z][\w-]*):[ \t]+(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read: what one file may cost, and what reads pages that are images."""

    limits: Limits = Limits()
    ocr: Ocr | None = None


def load_file(path: Path, report: Report, options: ReadOptions | None = None) -> Iterator[LoadedDocument]:
    """The documents of a file, by its suffix; those of CSV and JSON lines one at a time.

    Binary formats are read in a child process within `options.limits`. Raises `UnreadableFile` naming the file and the
    remedy, `MissingExtra` where a library is missing.
    """
    suffix = path.suffix.lower()
    read = READERS.get(suffix)
    options = options or ReadOptions()
    if read is None:
        raise UnreadableFile(f"{path}: of a kind finerank does not read; it reads {', '.join(READERS)}")
    try:
        if suffix == ".pdf":
            yield from _load_pdf(path, report, options)
        elif suffix in ISOLATED:
            yield from read_isolated(read, path, report, options.limits)
        else:
            yield from read(path, report)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
    except InvalidInput as error:
        raise UnreadableFile(str(error)) from error


def reading_version(path: Path, options: ReadOptions | None = None) -> str:
    """What else than its content decides what is read of a file: when it changes, the file is read again."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return f"table {TABLE_VERSION}"
    if path.suffix.lower() != ".pdf":
        return ""
    return f"pdf {PDF_VERSION}{' ocr' if options and options.ocr else ''}"


def _load_pdf(path: Path, report: Report, options: ReadOptions) -> Iterator[LoadedDocument]:
    """The document of a PDF, pages that are images read by OCR if there is one; the other such pages are reported."""
    problems: list[str] = []
    (document,) = read_isolated(read_pdf, path, problems.append, options.limits)
    if document.unread_pages and options.ocr:
        texts = ocr_pages(path, document.unread_pages, options.ocr, report, options.limits)
        problems.clear()
        (document,) = read_isolated(read_pdf, path, problems.append, options.limits, texts)
    for problem in problems:
        report(problem)
    fix = "" if options.ocr else '; to read scans, set ocr, as in ocr = "tesseract {image} -", or run ocrmypdf first'
    if not document.text:
        raise UnreadableFile(f"{path}: holds no text{fix}")
    if document.unread_pages:
        report(f"{path}: {page_ranges(document.unread_pages)} of {len(document.pages)} without text{fix}")
    yield document


def _read_text(path: Path, report: Report) -> Iterator[LoadedDocument]:
    text = decode(path.read_bytes(), str(path), report)
    yield LoadedDocument(text, headings=tuple(chapter_headings(text)))


def _read_markdown(path: Path, report: Report) -> Iterator[LoadedDocument]:
    text = decode(path.read_bytes(), str(path), report)
    front = _FRONT_MATTER.match(text)
    body = front.end() if front else 0
    fields = {name: value.strip().strip("\"'") for name, value in _PLAIN_FIELD.findall(front[1])} if front else {}
    headings = tuple(heading for heading in markdown_headings(text) if heading.start >= body)
    date = parse_date(fields.get("date"))
    yield LoadedDocument(text, title=fields.pop("title", ""), headings=headings, date=date, metadata=fields, body=body)


def _read_html(path: Path, report: Report) -> Iterator[LoadedDocument]:
    source = decode(path.read_bytes(), str(path), report)
    clean = strip_html(source)
    title, language = _TITLE.search(source), _LANGUAGE.search(source)
    yield LoadedDocument(
        clean.text,
        title=" ".join(strip_html(title[1]).text.split()) if title else "",
        headings=tuple(html_headings(source, clean)),
        metadata={"lang": language[1]} if language else {},
        original=clean,
    )


def _read_docx(path: Path, report: Report) -> Iterator[LoadedDocument]:
    try:
        import docx
    except ImportError as error:
        raise MissingExtra("reading DOCX", "rag") from error
    try:
        document = docx.Document(str(path))
        blocks = list(_docx_blocks(document))
        properties = document.core_properties
        title, date = properties.title or "", properties.modified or properties.created
    except OSError:
        raise
    except Exception as error:  # a damaged file makes python-docx raise whatever its parsers meet
        raise UnreadableFile(f"{path}: not readable as DOCX ({type(error).__name__}: {error})") from error
    headings, place = [], 0
    for text, level in blocks:
        if level:
            headings.append(Heading(place, level, text))
        place += len(text) + 1
    text = "\n".join(text for text, _ in blocks)
    yield LoadedDocument(text, title=title, headings=tuple(headings), date=parse_date(date) if date else None)


def _docx_blocks(document: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401 - python-docx is loaded late
    """Paragraphs and table rows, each with its heading level, 0 for none."""
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                cells = dict.fromkeys(cell.text.strip() for cell in row.cells)  # merged cells come again
                yield " | ".join(cell for cell in cells if cell), 0
        elif text := block.text.strip():
            name = str(block.style.name if block.style else "")
            number = re.fullmatch(r"Heading (\d)", name)
            yield " ".join(text.split("\n")), int(number[1]) if number else int(name == "Title")


READERS: Mapping[str, Callable[[Path, Report], Iterator[LoadedDocument]]] = {
    ".txt": _read_text,
    ".text": _read_text,
    ".rst": _read_text,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".xhtml": _read_html,
    ".pdf": read_pdf,
    ".docx": _read_docx,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
"""What reads a file, by its suffix."""

ISOLATED = frozenset({".pdf", ".docx"})
"""Formats whose parsers a crafted file may hang, crash or make exhaust the memory: they run in a child process."""


def find_files(paths: Sequence[Path], report: Report, skip: Path | None = None) -> Iterator[Path]:
    """The readable files at `paths`, those of folders too, sorted within each folder; hidden ones are passed over.

    Everything under `skip` is passed over. What is not there, or named but not readable, is reported.
    """
    for path in paths:
        if path.is_dir():
            yield from _walk(path, report, skip.resolve() if skip else None)
        elif not path.exists():
            report(f"{path}: no such file or folder")
        elif path.suffix.lower() not in READERS:
            report(f"{path}: of a kind finerank does not read; it reads {', '.join(READERS)}")
        else:
            yield path


def _walk(folder: Path, report: Report, skip: Path | None) -> Iterator[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        report(f"{folder}: {error.strerror}")
        return
    for path in inside:
        if path.name.startswith(".") or path.resolve() == skip:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, report, skip)
        elif path.is_file() and path.suffix.lower() in READERS:
            yield path
