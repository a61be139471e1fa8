"""Files to documents, each kind by its reader. Knows nothing of passages and stores.

PDF and office files need the extra `rag`. A file that cannot be read is an `UnreadableFile`; a bad line of a good
file is reported, and the rest is read.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from finerank.errors import InvalidInput, UnreadableFile
from finerank.io.decode import decode as decode
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
from finerank.text.tables import TABLE_VERSION, read_csv, read_json_lines, record
from finerank.text.xlsx import read_xlsx

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
    except InvalidInput as error:
        raise UnreadableFile(str(error)) from error


def reading_version(path: Path, options: ReadOptions | None = None) -> str:
    """What else than its content decides what is read of a file: when it changes, the file is read again."""
    options, suffix = options or ReadOptions(), path.suffix.lower()
    if READERS.get(suffix) is _read_html:
        return "boilerplate" if options.boilerplate else ""
    if suffix in (".csv", ".tsv"):
        return f"table {TABLE_VERSION}"
    return f"pdf {PDF_VERSION}{' ocr' if options.ocr else ''}" if suffix == ".pdf" else ""


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
    yield from read_json(decode(path.read_bytes(), str(path), report), path, report, record)


def _read_mail(path: Path, report: Report, options: ReadOptions | None = None) -> Iterator[LoadedDocument]:
    yield from read_mail(path, report, partial(load_file, options=options))


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
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
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

Unreadable = Callable[[Path, str], None]
"""Takes a path that cannot be followed, and why."""


def unsupported(path: Path) -> str:
    """Why a file of a kind that is not read is skipped, and what to do."""
    suffix = path.suffix.lower()
    if suffix in _CONVERTED:
        return f"{path}: skipped: {suffix} is not read; save it as {_CONVERTED[suffix]}"
    return f"{path}: skipped: of a kind finerank does not read"


def find_files(
    paths: Sequence[Path],
    report: Report,
    skip: Path | None = None,
    skipped: Callable[[Path], None] | None = None,
    unreadable: Unreadable | None = None,
) -> Iterator[Path]:
    """The readable files at `paths`, those of folders too, sorted within each folder; hidden ones are passed over.

    Everything under `skip` is passed over. What is not there is reported. Each file of a kind that is not read goes to
    `skipped`; without it those that were named are reported. What cannot be followed (a locked folder, a link in a
    circle, one to nothing inside a folder, one to a folder elsewhere, a pipe) goes to `unreadable`; without it, it is
    reported.
    """
    roots = [os.path.realpath(path) for path in paths]
    unreadable = unreadable or (lambda path, why: report(f"{path}: {why}"))
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            report(f"{path}: no such file or folder")
        except OSError as error:
            unreadable(path, str(error.strerror))
        else:
            if is_folder:
                seen = _Seen(roots, os.path.realpath(skip) if skip else "")
                yield from _walk(path, seen, skipped or (lambda _: None), unreadable)
            elif path.suffix.lower() in READERS:
                yield path
            elif skipped:
                skipped(path)
            else:
                report(f"{unsupported(path)}; it reads {', '.join(READERS)}")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a walk passes over: links to folders in one of `roots`, which is walked anyhow, and what is under `skip`."""

    roots: Sequence[str]
    skip: str

    def holds(self, real: str) -> bool:
        return any(real == root or real.startswith(os.path.join(root, "")) for root in self.roots)


def _walk(folder: Path, seen: _Seen, skipped: Callable[[Path], None], unreadable: Unreadable) -> Iterator[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        unreadable(folder, str(error.strerror))
        return
    for path in inside:
        real = os.path.realpath(path)
        if path.name.lower().startswith(_LITTER) or real == seen.skip:
            continue
        try:
            mode = path.stat().st_mode
        except OSError as error:
            unreadable(path, str(error.strerror))
            continue
        if stat.S_ISDIR(mode):
            if not path.is_symlink():
                yield from _walk(path, seen, skipped, unreadable)
            elif not seen.holds(real):
                unreadable(path, f"a link to a folder, which is not followed; to index it, name {real} too")
        elif not stat.S_ISREG(mode):
            unreadable(path, "no regular file, but a pipe, a socket or a device")
        elif path.suffix.lower() in READERS:
            yield path
        else:
            skipped(path)
