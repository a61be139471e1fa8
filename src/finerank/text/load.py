"""Files to documents, each kind by its reader. Knows nothing of passages and stores.

PDF and office files need the extra `rag`. A file that cannot be read is an `UnreadableFile`; a bad line of a good
file is reported, and the rest is read.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

from finerank.errors import MissingExtra, UnreadableFile
from finerank.system.sandbox import Limits
from finerank.text.dates import parse_date as parse_date
from finerank.text.document import LoadedDocument as LoadedDocument
from finerank.text.document import Report as Report
from finerank.text.docx import read_docx
from finerank.text.epub import read_epub
from finerank.text.headings import chapter_headings, markdown_headings, org_headings, rst_headings
from finerank.text.html import read_html
from finerank.text.isolated import read_isolated
from finerank.text.json_file import read_json
from finerank.text.mail import read_mail
from finerank.text.notebook import read_notebook
from finerank.text.ocr import Ocr, ocr_pages
from finerank.text.opendocument import read_opendocument
from finerank.text.page_ranges import page_ranges
from finerank.text.pdf import PDF_VERSION, read_pdf
from finerank.text.pptx import read_pptx
from finerank.text.xlsx import read_xlsx

TEXT_FIELDS = ("text", "content", "contents", "body", "passage")
"""The field of a record that is its text: the first of these it has."""

ID_FIELDS = ("id", "_id")

_CELL_CHARACTERS = 1 << 24
_SNIFFED_BYTES = 1 << 16
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_ORG_FIELD = re.compile(r"^#\+(title|date):[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_PLAIN_FIELD = re.compile(r"^([A-Za-z][\w-]*):[ \t]+(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read: what one file may cost, what reads pages that are images, and whether boilerplate of HTML
    (navigation, footers, banners, hidden text) is kept."""

    limits: Limits = Limits()
    ocr: Ocr | None = None
    boilerplate: bool = False


def load_file(path: Path, report: Report, options: ReadOptions | None = None) -> Iterator[LoadedDocument]:
    """The documents of a file, by its suffix; those of CSV and JSON lines one at a time.

    Binary formats are read in a child process within `options.limits`. Raises `UnreadableFile` naming the file and the
    remedy, `MissingExtra` where a library is missing.
    """
    suffix = path.suffix.lower()
    read = READERS.get(suffix)
    options = options or ReadOptions()
    if read is None:
        raise UnreadableFile(f"{unsupported(path)}; it reads {', '.join(READERS)}")
    if read is _read_html:
        read = partial(_read_html, boilerplate=options.boilerplate)
    elif read is _read_mail:
        read = partial(_read_mail, options=options)
    try:
        if suffix == ".pdf":
            yield from _load_pdf(path, report, options)
        elif suffix in ISOLATED:
            yield from read_isolated(read, path, report, options.limits)
        else:
            yield from read(path, report)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error


def reading_version(path: Path, options: ReadOptions | None = None) -> str:
    """What else than its content decides what is read of a file: when it changes, the file is read again."""
    options = options or ReadOptions()
    if READERS.get(path.suffix.lower()) is _read_html:
        return "boilerplate" if options.boilerplate else ""
    return f"pdf {PDF_VERSION}{' ocr' if options.ocr else ''}" if path.suffix.lower() == ".pdf" else ""


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


def decode(content: bytes, name: str, report: Report) -> str:
    """Text in UTF-8, in UTF-16 with its mark, or in the encoding that charset-normalizer finds most likely,
    which is reported. Raises `UnreadableFile` if it is no text.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace").replace("\r\n", "\n")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = _guessed(content, f"{name}: not UTF-8 ({error.reason} at byte {error.start})", report)
    if "\0" in text:
        raise UnreadableFile(f"{name}: is binary, whatever its name says")
    return text.replace("\r\n", "\n")


def _guessed(content: bytes, complaint: str, report: Report) -> str:
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MissingExtra(f"{complaint}: telling its encoding", "rag") from error
    best = from_bytes(content).best()
    if best is None or best.encoding == "utf_8":
        raise UnreadableFile(f"{complaint}, nor in another encoding that can be told; convert it to UTF-8")
    report(f"{complaint}; read as {best.encoding}, which may be wrong: better convert it to UTF-8")
    return str(best)


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


def _read_html(path: Path, report: Report, boilerplate: bool = False) -> Iterator[LoadedDocument]:
    yield from read_html(decode(path.read_bytes(), str(path), report), boilerplate)


def _read_rst(path: Path, report: Report) -> Iterator[LoadedDocument]:
    text = decode(path.read_bytes(), str(path), report)
    headings = rst_headings(text)
    title = headings[0].title if headings and not text[: headings[0].start].strip() else ""
    yield LoadedDocument(text, title=title, headings=tuple(headings))


def _read_org(path: Path, report: Report) -> Iterator[LoadedDocument]:
    text = decode(path.read_bytes(), str(path), report)
    fields = {name.lower(): value.strip() for name, value in _ORG_FIELD.findall(text)}
    date = parse_date(fields["date"].strip("<>[]").partition(" ")[0]) if fields.get("date") else None
    yield LoadedDocument(text, title=fields.get("title", ""), headings=tuple(org_headings(text)), date=date)


def _read_json(path: Path, report: Report) -> Iterator[LoadedDocument]:
    yield from read_json(decode(path.read_bytes(), str(path), report), path, report, _record)


def _read_mail(path: Path, report: Report, options: ReadOptions | None = None) -> Iterator[LoadedDocument]:
    yield from read_mail(path, report, partial(load_file, options=options))


def _read_json_lines(path: Path, report: Report) -> Iterator[LoadedDocument]:
    done = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            done += len(line)
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8-sig"))
                yield _record({"text": value} if isinstance(value, str) else value, number, done)
            except (ValueError, RecursionError) as error:
                report(f"{path}, line {number}: {error}")


def _read_csv(path: Path, report: Report) -> Iterator[LoadedDocument]:
    csv.field_size_limit(_CELL_CHARACTERS)
    with path.open("rb") as file:
        sample = file.read(_SNIFFED_BYTES)
    complete = sample[: sample.rfind(b"\n") + 1] or sample
    try:
        complete.decode("utf-8-sig")
        lines: TextIO = path.open(encoding="utf-8-sig", errors="replace", newline="")
    except UnicodeDecodeError:
        lines = StringIO(decode(path.read_bytes(), str(path), report))
    with lines:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(lines.readline())
        lines.seek(0)
        rows = csv.DictReader(lines, delimiter=delimiter)
        if not rows.fieldnames or all(not (name or "").strip() for name in rows.fieldnames):
            raise UnreadableFile(f"{path}: has no first row with the columns' names")
        try:
            yield from (_record(cells, rows.line_num, 0) for row in rows if (cells := _cells(row)))
        except csv.Error as error:
            raise UnreadableFile(f"{path}, line {rows.line_num}: not readable as CSV: {error}") from error


def _cells(row: Mapping[Any, Any]) -> dict[str, str]:
    """The filled cells of a row; its text is all of them but its id where no column is one of text."""
    cells = {str(name).strip(): value for name, value in row.items() if name and isinstance(value, str) and value}
    known = (*TEXT_FIELDS, *ID_FIELDS)
    named = {name.lower() if name.lower() in known else name: value for name, value in cells.items()}
    if not named.keys() & set(TEXT_FIELDS):
        said = [f"{name}: {value}" for name, value in named.items() if name not in ID_FIELDS]
        named = {**named, "text": "\n".join(said)} if said else {}
    return named


def _delimiter(head: str) -> str:
    return max(",;\t|", key=head.count)


def _record(value: object, line: int, done: int) -> LoadedDocument:
    """A JSON object or a row of a table. Raises ValueError if it has no text."""
    if not isinstance(value, Mapping):
        raise ValueError("is neither a string nor an object")
    name = next((name for name in TEXT_FIELDS if isinstance(value.get(name), str)), None)
    if name is None:
        raise ValueError(f"has no string under any of {', '.join(TEXT_FIELDS)}")
    id_name = next((name for name in ID_FIELDS if isinstance(value.get(name), str | int)), None)
    given = value.get("metadata")
    others = {key: each for key, each in value.items() if key not in (name, id_name, "metadata", "title")}
    metadata = {**others, **(given if isinstance(given, Mapping) else {})}
    return LoadedDocument(
        value[name],
        key=str(value[id_name]) if id_name else f"line {line}",
        title=str(value.get("title") or ""),
        date=parse_date(metadata.get("date")),
        metadata=metadata,
        line=line,
        done=done,
    )


READERS: Mapping[str, Callable[[Path, Report], Iterator[LoadedDocument]]] = {
    ".txt": _read_text,
    ".text": _read_text,
    ".rst": _read_rst,
    ".org": _read_org,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".xhtml": _read_html,
    ".pdf": read_pdf,
    **dict.fromkeys((".docx", ".docm", ".dotx"), read_docx),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx"), read_pptx),
    **dict.fromkeys((".xlsx", ".xlsm"), read_xlsx),
    **dict.fromkeys((".odt", ".ods", ".odp"), read_opendocument),
    ".epub": read_epub,
    ".eml": _read_mail,
    ".ipynb": read_notebook,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
"""What reads a file, by its suffix."""

ISOLATED = frozenset(
    {".pdf", ".docx", ".docm", ".dotx", ".pptx", ".pptm", ".ppsx", ".xlsx", ".xlsm", ".odt", ".ods", ".odp", ".epub"}
)
"""Formats whose parsers a crafted file may hang, crash or make exhaust the memory: they run in a child process."""

_CONVERTED = {
    ".doc": ".docx",
    ".dot": ".docx",
    ".rtf": ".docx",
    ".xls": ".xlsx",
    ".xlsb": ".xlsx",
    ".ppt": ".pptx",
    ".pages": ".docx",
}
"""Kinds that are not read, and what to save them as."""

_LITTER = ("~$", ".", "thumbs.db", "desktop.ini")
"""How names of files begin that hold no documents: hidden ones, and what programs leave behind."""


def unsupported(path: Path) -> str:
    """Why a file of a kind that is not read is skipped, and what to do."""
    suffix = path.suffix.lower()
    if suffix in _CONVERTED:
        return f"{path}: skipped: {suffix} is not read; save it as {_CONVERTED[suffix]}"
    return f"{path}: skipped: of a kind finerank does not read"


def find_files(
    paths: Sequence[Path], report: Report, skip: Path | None = None, skipped: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """The readable files at `paths`, those of folders too, sorted within each folder; hidden ones are passed over.

    Everything under `skip` is passed over. What is not there is reported. Each file of a kind that is not read goes to
    `skipped`; without it those that were named are reported.
    """
    for path in paths:
        if path.is_dir():
            yield from _walk(path, report, skip.resolve() if skip else None, skipped or (lambda _: None))
        elif not path.exists():
            report(f"{path}: no such file or folder")
        elif path.suffix.lower() not in READERS:
            skipped(path) if skipped else report(f"{unsupported(path)}; it reads {', '.join(READERS)}")
        else:
            yield path


def _walk(folder: Path, report: Report, skip: Path | None, skipped: Callable[[Path], None]) -> Iterator[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        report(f"{folder}: {error.strerror}")
        return
    for path in inside:
        if path.name.lower().startswith(_LITTER) or path.resolve() == skip:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, report, skip, skipped)
        elif path.is_file() and path.suffix.lower() in READERS:
            yield path
        elif path.is_file():
            skipped(path)
