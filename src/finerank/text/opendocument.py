"""OpenDocument to text: ODT, ODS and ODP."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from finerank.errors import UnreadableFile
from finerank.text.dates import parse_date
from finerank.text.document import LoadedDocument, Report
from finerank.text.headings import Heading
from finerank.text.office import attribute, child, local, open_package, rows_text, whole

if TYPE_CHECKING:
    from lxml.etree import _Element

_NOT_TEXT = frozenset(
    "tracked-changes annotation annotation-end sequence-decls variable-decls user-field-decls forms "
    "event-listeners table-of-content alphabetical-index illustration-index table-index bibliography desc "
    "note-citation object-ole shapes named-expressions database-ranges tracked-changes ruby-text settings".split()
)
_MOST_REPEATED = 16


@dataclass(slots=True)
class _Text:
    lines: list[str] = field(default_factory=list)
    headings: list[tuple[int, int]] = field(default_factory=list)  # line and level
    pages: list[int] = field(default_factory=list)  # lines


def read_opendocument(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The document of an ODT, ODS or ODP file. Comments, deleted text, headers, footers and indices are left out.

    Raises `UnreadableFile`, and `MissingExtra` without lxml.
    """
    title, date, lang = "", "", ""
    with open_package(path, "OpenDocument", doctypes=True) as package:
        if package.has("META-INF/manifest.xml") and b"encryption-data" in package.read("META-INF/manifest.xml"):
            raise UnreadableFile(f"{path}: is encrypted; save it without a password")
        body = child(package.xml("content.xml"), "body")
        text = _Text()
        for each in body if body is not None else ():
            _blocks(each, text)
        if package.has("meta.xml"):
            about = child(package.xml("meta.xml"), "meta")
            values = {local(each): (each.text or "").strip() for each in (about if about is not None else ())}
            title, date = values.get("title", ""), values.get("date", "") or values.get("creation-date", "")
            lang = values.get("language", "")
    starts = [0]
    for each_line in text.lines:
        starts.append(starts[-1] + len(each_line) + 1)
    yield LoadedDocument(
        "\n".join(text.lines),
        title=title,
        headings=tuple(Heading(starts[place], level, text.lines[place]) for place, level in text.headings),
        pages=tuple(starts[place] for place in text.pages),
        date=parse_date(date) if date else None,
        metadata={"lang": lang} if lang else {},
    )


def _blocks(element: "_Element", to: _Text) -> None:
    name = local(element)
    if not name or name in _NOT_TEXT:
        return
    if name in ("p", "h"):
        pieces: list[str] = []
        after = _Text()
        _inline(element, pieces, after)
        line = "".join(pieces).strip()
        if line and name == "h":
            line = " ".join(line.split())
            to.headings.append((len(to.lines), whole(attribute(element, "outline-level"), 1, 9) or 1))
        to.lines += [line] if line else []
        _append(to, after)
    elif name == "table":
        if attribute(element, "name") and local(element.getparent()) == "spreadsheet":
            to.headings.append((len(to.lines), 1))
            to.lines.append(attribute(element, "name"))
        _rows(element, to)
    else:
        if name == "page":
            to.pages.append(len(to.lines))
        for each in element:
            _blocks(each, to)


def _append(to: _Text, more: _Text) -> None:
    to.headings += ((len(to.lines) + place, level) for place, level in more.headings)
    to.lines += more.lines


def _inline(element: "_Element", pieces: list[str], after: _Text) -> None:
    pieces.append(element.text or "")
    for each in element:
        name = local(each)
        if name == "s":
            pieces.append(" " * whole(attribute(each, "c"), 1, 100))
        elif name == "tab":
            pieces.append("\t")
        elif name == "line-break":
            pieces.append("\n")
        elif name == "ruby":
            _inline_ruby(each, pieces, after)
        elif name in ("note-body", "text-box", "table", "list"):
            for block in [each] if name in ("table", "list") else each:
                _blocks(block, after)
        elif name in ("p", "h"):
            _blocks(each, after)
        elif name and name not in _NOT_TEXT:
            _inline(each, pieces, after)
        pieces.append(each.tail or "")


def _inline_ruby(element: "_Element", pieces: list[str], after: _Text) -> None:
    for each in element:
        inside: list[str] = []
        _inline(each, inside, after)
        pieces.append("".join(inside) if local(each) == "ruby-base" else f"({''.join(inside)})")


def _rows(table: "_Element", to: _Text) -> None:
    spanned: dict[int, tuple[int, str]] = {}
    for row in _all(table, "table-row"):
        cells: list[str] = []
        below = _Text()
        column = 0
        for cell in row:
            if local(cell) not in ("table-cell", "covered-table-cell"):
                continue
            repeated = whole(attribute(cell, "number-columns-repeated"), 1)
            inside = _Text()
            for each in cell:
                (_rows if local(each) == "table" else _blocks)(each, below if local(each) == "table" else inside)
            text = " ".join(inside.lines)
            high = whole(attribute(cell, "number-rows-spanned"), 1)
            if high > 1:
                spanned[column] = (high - 1, text)
            covered = local(cell) == "covered-table-cell"
            for number in range(min(repeated, _MOST_REPEATED)):
                left, above = spanned.get(column + number, (0, ""))
                if covered and left:
                    spanned[column + number] = (left - 1, above)
                if not covered or left:
                    cells.append(text or (above if covered else ""))
            column += repeated
        while cells and not cells[-1] and len(cells) > 1 and row is not None and _is_sheet(table):
            cells.pop()
        to.lines += rows_text([cells]) * min(whole(attribute(row, "number-rows-repeated"), 1), _MOST_REPEATED)
        _append(to, below)


def _is_sheet(table: "_Element") -> bool:
    return local(table.getparent()) == "spreadsheet"


def _all(table: "_Element", name: str) -> Iterator["_Element"]:
    """The rows of a table, those in groups and header rows too, but not those of tables inside it."""
    for each in table:
        if local(each) == name:
            yield each
        elif local(each).startswith(("table-row", "table-header")):
            yield from _all(each, name)
