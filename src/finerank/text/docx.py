"""DOCX to text: paragraphs, tables, text boxes and notes as Word shows them with all changes accepted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from finerank.text.clean import strip_html
from finerank.text.dates import parse_date
from finerank.text.document import LoadedDocument, Report
from finerank.text.drawings import drawing_texts
from finerank.text.headings import Heading
from finerank.text.numbering import Numbering, read_numbering
from finerank.text.office import Package, attribute, child, local, open_package, rows_text, whole
from finerank.text.symbols import symbol

if TYPE_CHECKING:
    from lxml.etree import _Element

_NOT_TEXT = frozenset(
    "del moveFrom delText delInstrText instrText fldData pPr rPr sectPr tblPr tblGrid trPr tcPr sdtPr "
    "sdtEndPr customXmlPr smartTagPr".split()
)
_BLOCKS = frozenset(("p", "tbl"))
_HEADING_NAMES = re.compile(
    r"(?:heading|标题|標題|見出し|제목|überschrift|titre|título|titulo|titolo|заголовок|kop|rubrik|nagłówek|otsikko|nadpis"
    r"|overskrift|başlık)\s*([1-9])\Z"
)
_TITLE_NAMES = frozenset(("title", "标题", "標題", "表題", "제목", "titel", "titre", "título", "titolo", "название"))
_CONTENTS_NAMES = re.compile(r"(?:toc|contents|目录|目錄|目次|verzeichnis|tm|tdc)\s*\d\Z")
_OFF = frozenset(("0", "false", "off", "none"))
_HIGHEST = 9


@dataclass(frozen=True, slots=True)
class _Style:
    name: str = ""
    base: str = ""
    outline: int = -1
    list: str = ""
    depth: int = 0


@dataclass(slots=True)
class _Block:
    """A paragraph or a row of a table."""

    text: str
    level: int = 0
    goes_on: bool = False  # its mark was deleted: the next paragraph is part of it
    is_row: bool = False


@dataclass(slots=True)
class _Paragraph:
    """A paragraph while it is read: its text, and what stands in boxes and notes that belong to it."""

    pieces: list[str] = field(default_factory=list)
    after: list[_Block] = field(default_factory=list)


def read_docx(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The document of a DOCX file. Headers, footers, comments and deleted text are left out.

    Raises `UnreadableFile`, and `MissingExtra` without lxml.
    """
    with open_package(path, "DOCX") as package:
        blocks = _Reader(package, report, str(path)).blocks()
        title, date = package.properties()
    headings, place = [], 0
    for block in blocks:
        if block.level:
            headings.append(Heading(place, block.level, block.text))
        place += len(block.text) + 1
    text = "\n".join(block.text for block in blocks)
    yield LoadedDocument(text, title=title, headings=tuple(headings), date=parse_date(date) if date else None)


class _Reader:
    def __init__(self, package: Package, report: Report, name: str) -> None:
        self._package = package
        self._report = report
        self._name = name
        self._part = package.main_part()
        self._relationships = package.relationships(self._part)
        self._styles = self._read_styles()
        self._default = next((key for key, style in self._styles.items() if style.name == "normal"), "")
        numbering = self._related("numbering")
        self._numbering = read_numbering(numbering) if numbering is not None else Numbering()
        self._notes = {
            kind: {attribute(each, "id"): each for each in root if attribute(each, "type") in ("", "normal")}
            for kind in ("footnote", "endnote")
            if (root := self._related(f"{kind}s")) is not None
        }
        self._fields: list[bool] = []  # of the fields that are open: whether the result has begun
        self._broken: set[_Element] = set()

    def blocks(self) -> list[_Block]:
        root = self._package.xml(self._part)
        self._broken = _unfinished_fields(root)
        found: list[_Block] = []
        for block in self._blocks(child(root, "body") if child(root, "body") is not None else root):
            if found and found[-1].goes_on:
                last = found[-1]
                found[-1] = _Block(last.text + block.text, last.level or block.level, block.goes_on)
            else:
                found.append(block)
        return [_Block(text, block.level) for block in found if (text := _trimmed(block))]

    def _related(self, kind: str) -> "_Element | None":
        target = next((each.target for each in self._relationships.values() if each.kind == kind), "")
        return self._package.xml(target) if target and self._package.has(target) else None

    def _read_styles(self) -> Mapping[str, _Style]:
        root = self._related("styles")
        styles = {}
        for each in root if root is not None else ():
            if local(each) == "style":
                properties = child(each, "pPr")
                styles[attribute(each, "styleId")] = _Style(
                    attribute(child(each, "name"), "val").lower(),
                    attribute(child(each, "basedOn"), "val"),
                    whole(attribute(child(properties, "outlineLvl"), "val"), -1),
                    attribute(child(properties, "numPr", "numId"), "val"),
                    whole(attribute(child(properties, "numPr", "ilvl"), "val"), 0),
                )
        return styles

    def _blocks(self, container: "_Element") -> Iterator[_Block]:
        """The paragraphs and tables in something, however they are wrapped."""
        for each in container:
            name = local(each)
            if name == "p":
                yield from self._paragraph(each)
            elif name == "tbl":
                yield from self._table(each)
            elif name == "altChunk":
                yield from self._chunk(attribute(each, "id"))
            elif name == "AlternateContent":
                yield from self._blocks(_chosen(each))
            elif _holds_text(each):
                yield from self._blocks(each)

    def _paragraph(self, element: "_Element") -> Iterator[_Block]:
        properties = child(element, "pPr")
        styles = self._chain(attribute(child(properties, "pStyle"), "val"))
        paragraph = _Paragraph()
        self._inline(element, paragraph)
        text = "".join(paragraph.pieces)
        names = [style.name for style in styles]
        if any(_CONTENTS_NAMES.match(name) for name in names[:1]):
            return  # an entry of the table of contents, which repeats a heading
        mark = child(properties, "rPr")
        goes_on = child(mark, "del") is not None or child(mark, "moveFrom") is not None
        label = self._label(properties, styles) if text.strip() or not goes_on else ""
        level = self._level(properties, styles) if text.strip() else 0
        text = f"{label} {text.lstrip()}" if label and text.strip() else text
        *before, last = text.split("\f")
        yield from (_Block(page, level) for page in before)
        yield _Block(last, level, goes_on)
        yield from paragraph.after

    def _chain(self, style: str) -> list[_Style]:
        """A style and those it is based on."""
        chain: list[_Style] = []
        style = style or self._default
        while style in self._styles and len(chain) < _HIGHEST + 1:
            chain.append(self._styles[style])
            style = chain[-1].base
        return chain

    def _level(self, properties: "_Element | None", styles: Iterable[_Style]) -> int:
        """The outline level of a heading (1 is highest), 0 of other text."""
        outline = whole(attribute(child(properties, "outlineLvl"), "val"), -1)
        if outline >= 0:
            return outline + 1 if outline < _HIGHEST else 0
        for style in styles:
            if style.outline >= 0:
                return style.outline + 1 if style.outline < _HIGHEST else 0
            if number := _HEADING_NAMES.match(style.name):
                return int(number[1])
            if style.name in _TITLE_NAMES:
                return 1
        return 0

    def _label(self, properties: "_Element | None", styles: Iterable[_Style]) -> str:
        own = child(properties, "numPr")
        number, depth = attribute(child(own, "numId"), "val"), attribute(child(own, "ilvl"), "val")
        inherited = next((style for style in styles if style.list), _Style())
        return self._numbering.label(number or inherited.list, whole(depth, inherited.depth if not number else 0))

    def _inline(self, element: "_Element", to: _Paragraph) -> None:
        """Add the text of a paragraph's content."""
        for each in element:
            name = local(each)
            if name == "r":
                if not _is_hidden(each):
                    self._inline(each, to)
            elif name == "fldChar":
                self._field(each)
            elif not _holds_text(each) or not all(self._fields):
                continue
            elif name == "t":
                to.pieces.append(each.text or "")
            elif name in ("tab", "ptab"):
                to.pieces.append("\t")
            elif name in ("br", "cr"):
                to.pieces.append("\f" if attribute(each, "type") in ("page", "column") else "\n")
            elif name == "noBreakHyphen":
                to.pieces.append("-")
            elif name == "den":  # of a fraction
                to.pieces.append("/")
                self._inline(each, to)
            elif name == "sym":
                to.pieces.append(symbol(attribute(each, "char"), attribute(each, "font")))
            elif name == "ruby":
                self._ruby(each, to)
            elif name in ("footnoteReference", "endnoteReference"):
                self._note(name.removesuffix("Reference"), attribute(each, "id"), to)
            elif name == "txbxContent":
                to.after += self._blocks(each)
            elif name in ("chart", "relIds"):
                to.after += (
                    _Block(text, is_row=True) for text in drawing_texts(self._package, self._relationships, each)
                )
            elif name == "AlternateContent":
                self._inline(_chosen(each), to)
            elif name == "tbl":
                to.after += self._table(each)
            elif name == "p" and element.tag != each.tag:
                to.after += self._paragraph(each)
            else:
                self._inline(each, to)

    def _field(self, element: "_Element") -> None:
        kind = attribute(element, "fldCharType")
        if kind == "begin" and element not in self._broken:
            self._fields.append(False)
        elif kind == "separate" and self._fields:
            self._fields[-1] = True
        elif kind == "end" and self._fields:
            self._fields.pop()

    def _ruby(self, element: "_Element", to: _Paragraph) -> None:
        """The base, and its reading in brackets."""
        base, reading = _Paragraph(), _Paragraph()
        for each in element:
            if local(each) in ("rubyBase", "rt"):
                self._inline(each, base if local(each) == "rubyBase" else reading)
        read = "".join(reading.pieces).strip()
        to.pieces += [*base.pieces, f"({read})" if read else ""]

    def _note(self, kind: str, identity: str, to: _Paragraph) -> None:
        note = self._notes.get(kind, {}).pop(identity, None)
        if note is not None:
            to.after += self._blocks(note)

    def _chunk(self, identity: str) -> Iterator[_Block]:
        """Another document that was put into this one whole."""
        there = self._relationships.get(identity)
        if there is None or there.external or not self._package.has(there.target):
            return
        suffix = there.target.rpartition(".")[2].lower()
        if suffix in ("htm", "html", "xhtml", "txt"):
            text = self._package.read(there.target).decode("utf-8-sig", errors="replace")
            text = text if suffix == "txt" else strip_html(text).text
            yield from (_Block(line) for line in text.split("\n") if line.strip())
        else:
            self._report(f"{self._name}: holds {there.target}, which is not read")

    def _table(self, element: "_Element") -> Iterator[_Block]:
        """A line for each row, with the tables in its cells below it; cells with headings are no row."""
        spanned: dict[int, str] = {}
        for row in self._unwrapped(element, "tr"):
            properties = child(row, "trPr")
            if child(properties, "del") is not None:
                continue
            column = whole(attribute(child(properties, "gridBefore"), "val"), 0, 64)
            cells: list[str] = [""] * column
            inside: list[_Block] = []
            for cell in self._unwrapped(row, "tc"):
                about = child(cell, "tcPr")
                merged, wide = child(about, "vMerge"), whole(attribute(child(about, "gridSpan"), "val"), 1, 64)
                blocks = self._in_cell(cell)
                if child(about, "cellDel") is not None or attribute(child(about, "hMerge"), "val") == "continue":
                    continue
                text = " ".join(block.text for block in blocks if not block.level)
                inside += blocks
                if merged is not None and attribute(merged, "val", "continue") == "continue":
                    text = text or spanned.get(column, "")
                spanned.pop(column, None)
                if merged is not None:
                    spanned[column] = text
                cells.append(text)
                column += wide
            if len(cells) > 1 and not any(block.level > 0 for block in inside):
                yield from (_Block(line, is_row=True) for line in rows_text([cells]))
                inside = [block for block in inside if block.level]
            yield from (replace(block, level=max(block.level, 0)) for block in inside)

    def _in_cell(self, cell: "_Element") -> list[_Block]:
        """The blocks of a cell; rows of a table inside it have level -1, and stand below the row."""
        blocks: list[_Block] = []
        for each in self._unwrapped(cell, *_BLOCKS):
            if local(each) == "tbl":
                blocks += (replace(block, level=block.level or -1) for block in self._table(each))
            else:
                blocks += self._paragraph(each)
        return blocks

    def _unwrapped(self, element: "_Element", *names: str) -> Iterator["_Element"]:
        """The elements of some names in another, however they are wrapped."""
        for each in element:
            name = local(each)
            if name in names:
                yield each
            elif name == "AlternateContent":
                yield from self._unwrapped(_chosen(each), *names)
            elif _holds_text(each):
                yield from self._unwrapped(each, *names)


def _trimmed(block: _Block) -> str:
    if block.level > 0:
        return " ".join(block.text.split())
    return block.text if block.is_row else block.text.strip()


def _holds_text(element: "_Element") -> bool:
    """Whether text is in it, and not deleted, properties, or what stands in an empty content control."""
    name = local(element)
    placeholder = name == "sdt" and child(element, "sdtPr", "showingPlcHdr") is not None
    return bool(name) and name not in _NOT_TEXT and not placeholder


def _chosen(element: "_Element") -> "_Element":
    """What a reader shows of alternatives: the first with text, else the first."""
    branches = [each for each in element if local(each) in ("Choice", "Fallback")]
    with_text = (each for each in branches if any(local(part) == "t" for part in each.iter()))
    return next(with_text, branches[0] if branches else element)


def _is_hidden(run: "_Element") -> bool:
    mark = child(run, "rPr", "vanish")
    return mark is not None and attribute(mark, "val", "true").lower() not in _OFF


def _unfinished_fields(root: "_Element") -> set["_Element"]:
    """The starts of fields that never end: they must not swallow the rest of the text."""
    opened: list[_Element] = []
    for each in root.iter():
        if local(each) == "fldChar":
            kind = attribute(each, "fldCharType")
            if kind == "begin":
                opened.append(each)
            elif kind == "end" and opened:
                opened.pop()
    return set(opened)
