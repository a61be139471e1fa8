"""PDF to documents: words and their places by PDFium, headings from the outline, and the pages that hold no text."""

import base64
import ctypes
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from finerank.errors import MissingExtra, UnreadableFile
from finerank.text.document import LoadedDocument, Report
from finerank.text.headings import Heading, chapter_headings
from finerank.text.page_ranges import page_ranges
from finerank.text.pdf_layout import PageText, reading_order, running_text, unspaced
from finerank.text.pdf_lines import Line, Word, plain_lines
from finerank.text.titles import is_placeholder

PDF_VERSION = 2
"""Counts the changes of what is read: PDFs indexed by another version are read again."""

OCR_DPI = 300
"""Resolution of the images for OCR, which Tesseract's documentation recommends."""

_MAX_PIXELS = 30_000_000
_MAX_ENTRIES = 20_000
_LINE_END = "\r\n\ufffe\x02"  # the last two are PDFium's for a hyphen at the end of a line
_WORDS = re.compile(rf"[^\s{_LINE_END}]+|[{_LINE_END}]")
_UNMAPPED = re.compile("[\0-\x01\x03-\x08\x0e-\x1f\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")
_IGNORED = re.compile("[\xad\u200b\u2060\ufeff\0-\x08\x0e-\x1f]")
_LIGATURES = dict(zip(map(ord, "ﬀﬁﬂﬃﬄﬅﬆ"), ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True))
_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([+-])(\d\d)'?(\d\d)?)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SIGNS = re.compile(r"[\W_]+")
_NUMBERING = re.compile(
    r"(?:chapter|appendix|section|part|kapitel|chapitre|第)?[\da-z一二三四五六七八九十百]{0,6}[章节節編编篇部]?"
)
_WIDE_FROM = 0x2E80
_WRAPPED_LINES = 3
_FEW_CHARACTERS = 25
"""A stamp such as "Scanned with CamScanner" on the image of a page has at most these; a page of text has more."""

_SCAN_SHARE = 0.5
_UNMAPPED_SHARE = 0.3
_SAMPLE = 200
_DRAWN_PATHS = 20
_SHOWN_SHARE = 0.05


class _Entry(NamedTuple):
    """An entry of the outline: where it points, from the top of the page in points if that is known."""

    level: int
    title: str
    page: int
    y: float | None


class _Page(NamedTuple):
    """A page's lines; the share of its area that images cover and whether it shows anything, both of pages with little
    text only; and whether its fonts do not say which characters they show."""

    lines: list[Line]
    covered: float = 0.0
    shows: bool = False
    unmapped: bool = False


def read_pdf(path: Path, report: Report, ocr: Sequence[tuple[int, str]] = ()) -> Iterator[LoadedDocument]:
    """The document of a PDF. `ocr`: the text of pages (from 1) that hold none themselves.

    Pages that show something but hold no text are its `unread_pages`.
    """
    pdfium = _pdfium()
    with _open(path) as pdf:
        if pdf.get_formtype():
            pdf.init_forms()
        pages, damaged = [], []
        for number in range(len(pdf)):
            try:
                pages.append(_read_page(pdf, number))
            except pdfium.PdfiumError:
                pages.append(_Page([]))
                damaged.append(number + 1)
        if damaged:
            report(f"{path}: {page_ranges(damaged)} damaged and skipped; repair the file, as with qpdf in.pdf out.pdf")
        if attached := pdf.count_attachments():
            report(f"{path}: {attached} attached file(s) not read; extract them first, as with pdfdetach -saveall")
        title = " ".join(pdf.get_metadata_value("Title").split())
        date = _date(pdf.get_metadata_value("ModDate")) or _date(pdf.get_metadata_value("CreationDate"))
        entries = list(islice(_outline(pdf), _MAX_ENTRIES))
    for number, text in ocr:
        pages[number - 1] = _Page(plain_lines(text))
    yield _document(pages, entries, "" if is_placeholder(title) else title, date)


def page_images(file: str, numbers: Sequence[int]) -> Iterator[str]:
    """The pages `numbers` (from 1) as grayscale PNG images in base64."""
    with _open(Path(file)) as pdf:
        for number in numbers:
            page = pdf[number - 1]
            scale = OCR_DPI / 72
            width, height = page.get_size()
            scale = min(scale, (_MAX_PIXELS / max(1.0, width * height)) ** 0.5)
            bitmap = page.render(scale=scale, grayscale=True)
            pixels = bytes(bitmap.buffer)
            yield base64.b64encode(_png(bitmap.width, bitmap.height, bitmap.stride, pixels)).decode()


def _pdfium() -> Any:  # noqa: ANN401 - pypdfium2 is loaded late
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingExtra("reading PDF", "rag") from error
    return pypdfium2


def _open(path: Path) -> Any:  # noqa: ANN401 - pypdfium2 is loaded late
    pdfium = _pdfium()
    with path.open("rb"):  # tells what PDFium does not: that there is no such file, or that it may not be read
        pass
    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableFile(f"{path}: is encrypted; remove its password first, as with qpdf --decrypt") from error
        raise UnreadableFile(f"{path}: not readable as PDF ({error})") from error


def _read_page(pdf: Any, number: int) -> _Page:  # noqa: ANN401 - pypdfium2 is loaded late
    import pypdfium2.raw as raw

    page = pdf[number]
    if _has_filled_annotations(page, raw):
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)  # what forms and text boxes say becomes the page's own text
        page.close()
        page = pdf[number]
    text_page = page.get_textpage()
    handle = text_page.raw
    text = _units(text_page, raw)
    lines = _lines(text, _Places(handle, page, raw))
    shown = [place for place, character in enumerate(text) if character > " "]
    sample = shown[:: len(shown) // _SAMPLE + 1]
    errors = sum(raw.FPDFText_HasUnicodeMapError(handle, place) == 1 for place in sample)
    unmapped = errors > _UNMAPPED_SHARE * len(sample) or len(_UNMAPPED.findall(text)) > _UNMAPPED_SHARE * len(shown)
    covered, shows = _shown(page, raw) if len(shown) < 10 * _FEW_CHARACTERS else (0.0, True)
    text_page.close()
    page.close()
    return _Page(lines, covered, shows, unmapped)


def _units(text_page: Any, raw: Any) -> str:  # noqa: ANN401 - pypdfium2 is loaded late
    """The UTF-16 code units of the page's text, each as a character, at PDFium's own offsets."""
    count = text_page.count_chars()
    buffer = (ctypes.c_ushort * (count + 1))()
    if raw.FPDFText_GetText(text_page, 0, count, buffer) == count + 1:
        return "".join(map(chr, buffer[:count]))
    codes = map(partial(raw.FPDFText_GetUnicode, text_page), range(count))  # GetText leaves some characters out
    return "".join(chr(min(code, 0xFFFD)) for code in codes)


class _Places:
    """Where the characters of a page stand, in points from the top left corner of the page as it is shown."""

    def __init__(self, handle: Any, page: Any, raw: Any) -> None:  # noqa: ANN401 - pypdfium2 is loaded late
        self._box = raw.FS_RECTF()
        self._box_place = ctypes.byref(self._box)
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._origin = partial(raw.FPDFText_GetCharOrigin, handle)
        self._loose_box = partial(raw.FPDFText_GetLooseCharBox, handle)
        self._generated = partial(raw.FPDFText_IsGenerated, handle)
        self._rotation = page.get_rotation()
        self._width, self._height = page.get_size()

    def sides(self, first: int, last: int) -> tuple[float, float, float]:
        """Left and right of the characters from `first` to `last`, and the height of the first."""
        box = self._box
        self._loose_box(first, self._box_place)
        if self._rotation:
            ends = [self.shown(box.left, box.bottom), self.shown(box.right, box.top)]
            self._loose_box(last, self._box_place)
            ends += [self.shown(box.left, box.bottom), self.shown(box.right, box.top)]
            across = [x for x, _ in ends]
            return min(across), max(across), abs(ends[0][1] - ends[1][1])
        left, right, height = box.left, box.right, abs(box.top - box.bottom)
        if last > first:
            self._loose_box(last, self._box_place)
            left, right = min(left, box.left), max(right, box.right)
        return left, right, height

    def baseline(self, index: int) -> float:
        self._origin(index, ctypes.byref(self._x), ctypes.byref(self._y))
        return self.shown(self._x.value, self._y.value)[1]

    def typed(self, index: int) -> bool:
        """Whether the file has this space character; else PDFium found a gap."""
        return not self._generated(index)

    def shown(self, x: float, y: float) -> tuple[float, float]:
        match self._rotation:
            case 90:
                return y, x
            case 180:
                return self._width - x, y
            case 270:
                return self._width - y, self._height - x
            case _:
                return x, self._height - y


def _lines(text: str, places: _Places) -> list[Line]:
    lines: list[Line] = []
    words: list[Word] = []
    y = size = 0.0
    for mark in _WORDS.finditer(text):
        start, end = mark.span()
        if mark[0] in _LINE_END:
            if words:
                hyphenated = mark[0] in "\ufffe\x02"
                if hyphenated:
                    words[-1] = words[-1]._replace(text=f"{words[-1].text}-")
                lines.append(Line(tuple(words), y, size, hyphenated))
                words = []
            continue
        word = mark[0]
        if not word.isascii():
            word = _IGNORED.sub("", word).translate(_LIGATURES)
            if _SURROGATE.search(word):
                word = word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if not word:
            continue
        left, right, height = places.sides(start, end - 1)
        y, size = (y, max(size, height)) if words else (places.baseline(start), height)
        # Only spaces that may go again need the question, of about a microsecond.
        asked = bool(words) and (len(word) == 1 or ord(word[0]) >= _WIDE_FROM)
        words.append(Word(word, left, right, not asked or places.typed(start - 1)))
    return [*lines, Line(tuple(words), y, size)] if words else lines


def _has_filled_annotations(page: Any, raw: Any) -> bool:  # noqa: ANN401 - pypdfium2 is loaded late
    kinds = (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP)
    for number in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        raw.FPDFPage_CloseAnnot(annotation)
        if kind in kinds:
            return True
    return False


def _shown(page: Any, raw: Any) -> tuple[float, bool]:  # noqa: ANN401 - pypdfium2 is loaded late
    """The share of the page that images cover, and whether it shows more than a line or a frame."""
    width, height = page.get_size()
    covered, paths = 0.0, 0
    for part in page.get_objects(max_depth=1):
        paths += part.type in (raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING)
        image = part.type == raw.FPDF_PAGEOBJ_IMAGE
        if part.type == raw.FPDF_PAGEOBJ_FORM:
            inside = [one.type for one in page.get_objects(form=part, max_depth=4)]
            image = raw.FPDF_PAGEOBJ_IMAGE in inside
            paths += len(inside)
        if image:
            left, bottom, right, top = part.get_bounds()
            covered += max(0.0, right - left) * max(0.0, top - bottom) / max(1.0, width * height)
    return covered, covered >= _SHOWN_SHARE or paths >= _DRAWN_PATHS


def _outline(pdf: Any) -> Iterator[_Entry]:  # noqa: ANN401 - pypdfium2 is loaded late
    import pypdfium2.raw as raw

    heights: dict[int, float] = {}
    for bookmark in pdf.get_toc():
        title = " ".join(_IGNORED.sub("", bookmark.get_title()).split())
        place = bookmark.get_dest()
        page = place.get_index() if place else None
        if not title or is_placeholder(title) or page is None or page >= len(pdf):
            continue
        mode, numbers = place.get_view()
        top = {raw.PDFDEST_VIEW_XYZ: 1, raw.PDFDEST_VIEW_FITH: 0, raw.PDFDEST_VIEW_FITR: 3}.get(mode, len(numbers))
        if page not in heights:
            heights[page] = pdf.get_page_size(page)[1]
        yield _Entry(bookmark.level + 1, title, page, heights[page] - numbers[top] if top < len(numbers) else None)


def _document(pages: Sequence[_Page], entries: Sequence[_Entry], title: str, date: datetime | None) -> LoadedDocument:
    blocks = [reading_order(page.lines) for page in pages]
    lines = [[line for block in page for line in block] for page in blocks]
    places, keep = _places(entries, lines)
    if not entries:
        keep = frozenset(line for page in lines for line in page if chapter_headings(unspaced(line)))
    texts = running_text(blocks, keep)
    starts, length = [], 0
    for page in texts:
        starts.append(length)
        length += len(page.text) + 2
    text = "\n\n".join(page.text for page in texts)
    headings = [
        Heading(starts[entry.page] + _start(found, texts[entry.page]), entry.level, entry.title)
        for entry, found in zip(entries, places, strict=True)
    ]
    return LoadedDocument(
        text if text.strip() else "",
        title=title,
        headings=tuple(sorted(headings, key=lambda heading: heading.start) or chapter_headings(text)),
        pages=tuple(starts),
        date=date,
        unread_pages=tuple(
            number
            for number, (page, found) in enumerate(zip(pages, texts, strict=True), start=1)
            if _is_unread(page, found)
        ),
    )


def _is_unread(page: _Page, found: PageText) -> bool:
    characters = 0 if found.repeats else sum(character.isalnum() for character in found.text)
    return page.unmapped or (page.shows and not characters) or (
        page.covered >= _SCAN_SHARE and characters < _FEW_CHARACTERS
    )  # fmt: skip


def _start(lines: Sequence[Line], page: PageText) -> int:
    return min((page.starts[line] for line in lines if line in page.starts), default=0)


def _places(entries: Sequence[_Entry], pages: Sequence[Sequence[Line]]) -> tuple[list[list[Line]], frozenset[Line]]:
    """For each entry of the outline the lines that are its heading: of its words, else the first below its place.
    Then the lines that surely are headings: the first line of a page that an entry only points to may be its head."""
    signs: dict[int, list[str]] = {}
    found: list[list[Line]] = []
    sure: set[Line] = set()
    for entry in entries:
        lines = pages[entry.page]
        if entry.page not in signs:
            signs[entry.page] = [_SIGNS.sub("", line.text).casefold() for line in lines]
        spans = list(_spans(_SIGNS.sub("", entry.title).casefold(), signs[entry.page]))
        y = entry.y
        if spans:
            begin, end = min(spans, key=lambda span: abs(lines[span[0]].y - y)) if y is not None else spans[0]
            found.append(list(lines[begin:end]))
            sure.update(found[-1])
        else:
            below = [line for line in lines if y is None or line.y >= y]
            found.append([min(below, key=lambda line: line.y)] if y is not None and below else below[:1])
            sure.update(line for line in found[-1] if line is not min(lines, key=lambda line: line.y))
    return found, frozenset(sure)


def _spans(title: str, lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where lines say a title, in one line or a few, numbered or not."""
    for begin in range(len(lines)):
        said = ""
        for end in range(begin, min(begin + _WRAPPED_LINES, len(lines))):
            said += lines[end]
            if said.endswith(title) and _NUMBERING.fullmatch(said[: len(said) - len(title)]):
                yield begin, end + 1
                break
            if len(said) > len(title) + 20:
                break


def _date(text: str) -> datetime | None:
    """A date such as D:20240131120000+01'00'."""
    mark = _DATE.match(text.strip())
    if not mark:
        return None
    year, month, day, hour, minute, second, sign, hours, minutes = mark.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    try:
        zone = timezone(offset)
        local = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=zone
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _png(width: int, height: int, stride: int, pixels: bytes) -> bytes:
    rows = b"".join(b"\0" + pixels[row * stride : row * stride + width] for row in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
