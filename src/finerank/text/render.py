"""Parsed HTML to plain text: blocks on lines of their own, rows of tables as lines of cells, `<pre>` as it is."""

import html
import re
from array import array
from bisect import bisect_left

from finerank.text.markup import BLOCKS, Element, Keep, Markup, dropped_spans

_WORD = re.compile(r"\S+")
_PREFORMATTED = re.compile(r"\r\n?|\n|[^\S\r\n]+|\S+")
_LINE_OF_TEXT = re.compile(r"(?<=[^\s>])[^\S\n]*+\n\s*+[^\s<]")
_BAR = " | "
_LONG_CELL = 2000
"""Characters of a cell from which on its table is taken for a page's layout."""
_REPEATED = 200
"""Characters of a cell over several rows that are repeated in each of them, at most."""
_MOST_COLUMNS = 1000
_ROW_TAGS = frozenset(("tr", "thead", "tbody", "tfoot", "caption", "table", "colgroup"))


def render(markup: Markup, keep: Keep) -> "tuple[str, array[int], array[int]]":
    """The text, and where in the source each character starts and ends."""
    renderer = _Renderer(markup.source, _data_tables(markup))
    dropped = dropped_spans(markup, keep)
    following, done = 0, 0
    for mark, element in markup.marks:
        start = mark.start()
        while following < len(dropped) and dropped[following][1] <= start:
            following += 1
        if following < len(dropped) and dropped[following][0] <= start:
            renderer.add(done, dropped[following][0])
            if element and element.tag in BLOCKS and done <= start:
                renderer.block(start)
            done = max(done, dropped[following][1])
        else:
            renderer.add(done, start)
            renderer.mark(mark, element)
            done = max(done, mark.end())
    renderer.add(done, len(markup.source))
    return renderer.finish()


def _data_tables(markup: Markup) -> frozenset[int]:
    """The tables that hold rows of data rather than a page's layout, by their index."""
    data: set[int] = set()
    layouts: set[int] = set()
    breaks = [line.start() for line in _LINE_OF_TEXT.finditer(markup.source)]
    for element in markup.elements:
        if element.tag == "table" and element.role in ("presentation", "none"):
            layouts.add(element.index)
        if element.tag in ("td", "th", "table", "h1", "h2", "h3", "pre"):
            table = next((each.index for each in markup.above(element) if each.tag == "table"), -1)
            if element.tag in ("td", "th") and element.text <= _LONG_CELL:
                data.add(table)
            elif element.tag != "pre" or bisect_left(breaks, element.inner) < bisect_left(breaks, element.close):
                layouts.add(table)
    return frozenset(data - layouts - {-1})


class _Renderer:
    def __init__(self, source: str, tables: frozenset[int]) -> None:
        self._source = source
        self._tables = tables
        self._characters: list[str] = []
        self._starts = array("l")
        self._ends = array("l")
        self._pending = ""  # what goes before the next word: a space or a line break
        self._bars = 0  # and, after it, these many bars
        self._pre_end = -1
        self._space: list[tuple[str, int, int]] = []  # and this, in preformatted text
        self._fresh = False  # preformatted text has just begun
        self._table: Element | None = None
        self._rows: _Rows | None = None
        self._left = len(source)  # characters that may yet be repeated

    def add(self, start: int, end: int) -> None:
        """Add what stands between two marks."""
        if start >= end:
            return
        if start < self._pre_end:
            for piece in _PREFORMATTED.finditer(self._source, start, end):
                self._add_piece(piece[0], piece.start(), piece.end())
            return
        place = start
        for word in _WORD.finditer(self._source, start, end):
            if word.start() > place:
                self._pending = self._pending or " "
            self._flush(word.start())
            self._extend(word[0], word.start())
            place = word.end()
        if place < end:
            self._pending = self._pending or " "

    def mark(self, mark: re.Match[str], element: Element | None) -> None:
        """Take a mark's effect: an entity is text, a block breaks the line, a cell begins another."""
        start = mark.start()
        if self._pre_end >= 0 and start >= self._pre_end:
            self._pre_end, self._space = -1, []
            self.block(start)
        if self._table and start >= self._table.close:
            self._end_row(start)
            self._table, self._rows = None, None
        if mark["entity"]:
            for character in html.unescape(mark[0]):
                self._put(character, start, mark.end())
            return
        tag = (mark["tag"] or "").lower()
        if self._rows and (tag in _ROW_TAGS or (element and tag in ("td", "th"))):
            if tag in _ROW_TAGS:
                self._end_row(start)
            elif element:
                self._begin_cell(self._rows, element)
        elif tag in BLOCKS:
            self.block(start)
        if element and element.index in self._tables:
            self._table, self._rows = element, _Rows()
        if element and element.preformatted and element.close > element.inner and self._pre_end < 0:
            self.block(start)
            self._pre_end, self._space, self._fresh = element.close, [], True

    def block(self, place: int) -> None:
        """Break the line, or in a cell only the word."""
        if self._pre_end >= 0:
            if not self._fresh and not any(character == "\n" for character, _, _ in self._space):
                self._space = [("\n", place, place)]
        elif self._rows and self._rows.in_row:
            self._pending = self._pending or " "
        else:
            self._pending = "\n"

    def finish(self) -> "tuple[str, array[int], array[int]]":
        self._end_row(len(self._source))
        return "".join(self._characters), self._starts, self._ends

    def _add_piece(self, piece: str, start: int, end: int) -> None:
        if piece[0] in "\r\n":
            if self._space and self._space[-1][0] == "\n" and self._space[-1][1] == self._space[-1][2]:
                self._space.pop()  # a block has broken this line already
            self._space.append(("\n", start, end))
        elif piece.isspace():
            self._space += ((character, start + n, start + n + 1) for n, character in enumerate(piece))
        else:
            self._flush(start)
            self._extend(piece, start)

    def _put(self, character: str, start: int, end: int) -> None:
        if not character.isspace():
            self._flush(start)
            self._append(character, start, end)
        elif self._pre_end >= 0:
            self._space.append((character, start, end))
        else:
            self._pending = self._pending or " "

    def _flush(self, place: int) -> None:
        """Write what was to go before a word."""
        place = self._space[0][1] if self._space else place
        if (self._pending == "\n" or (self._pending and not self._bars)) and self._characters:
            self._append(self._pending, place, place)
        self._insert(_BAR * self._bars, place)
        self._pending, self._bars = "", 0
        if self._rows and self._rows.cell_start < 0:
            self._rows.cell_start = len(self._characters)
        if self._space:
            space = self._space
            if self._fresh:
                breaks = [number for number, (character, _, _) in enumerate(space) if character == "\n"]
                space = space[breaks[-1] + 1 :] if breaks else space
            for character, start, end in space:
                self._append(character, start, end)
            self._space = []
        self._fresh = False

    def _begin_cell(self, rows: "_Rows", element: Element) -> None:
        self._end_cell(rows)
        self._space = []
        if not rows.in_row:
            self._pending = "\n"
            rows.begin(len(self._characters))
        self._repeat(rows, element.start, rows.column)
        self._next_cell(rows)
        rows.cell, rows.cell_start = element, -1

    def _next_cell(self, rows: "_Rows") -> None:
        if rows.cells:
            self._bars += 1
            self._pending = "\n" if self._pending == "\n" else ""
        rows.cells += 1

    def _end_cell(self, rows: "_Rows") -> None:
        if rows.cell is None:
            return
        begin, end = rows.cell_start, len(self._characters)
        rows.end_cell("".join(self._characters[begin:]) if begin >= 0 and end - begin <= _REPEATED else "")

    def _repeat(self, rows: "_Rows", place: int, column: int) -> None:
        """Write the cells of rows above that reach into this one, from a column on."""
        while column in rows.spanned:
            wide, text = rows.take(column)
            self._left -= len(text) + len(_BAR)
            if self._left < 0:
                rows.spanned.clear()
                break
            self._next_cell(rows)
            if text:
                self._flush(place)
                self._insert(text, place)
            column += wide
        rows.column = column

    def _end_row(self, place: int) -> None:
        rows = self._rows
        if rows and rows.in_row:
            self._end_cell(rows)
            for column in sorted(rows.spanned):
                if column >= rows.column:
                    self._repeat(rows, place, column)
            if len(self._characters) > rows.start:
                self._insert(_BAR * self._bars, place)
            rows.in_row = False
        self._bars, self._space = 0, []
        self._pending = "\n"

    def _insert(self, text: str, place: int) -> None:
        for character in text:
            self._append(character, place, place)

    def _extend(self, text: str, start: int) -> None:
        self._characters += text
        self._starts.extend(range(start, start + len(text)))
        self._ends.extend(range(start + 1, start + len(text) + 1))

    def _append(self, character: str, start: int, end: int) -> None:
        self._characters.append(character)
        self._starts.append(start)
        self._ends.append(end)


class _Rows:
    """Where a table's grid has been filled to, and the cells that reach into later rows."""

    def __init__(self) -> None:
        self.in_row = False
        self.start = 0
        self.column = 0
        self.cells = 0
        self.cell: Element | None = None
        self.cell_start = 0
        self.spanned: dict[int, tuple[int, int, str]] = {}  # column to width, rows left and text

    def begin(self, start: int) -> None:
        self.in_row, self.start, self.column, self.cells, self.cell = True, start, 0, 0, None

    def end_cell(self, text: str) -> None:
        if self.cell:
            wide, high = self.cell.count("colspan", _MOST_COLUMNS), self.cell.count("rowspan", 1 << 16)
            if high > 1:
                self.spanned[self.column] = (wide, high - 1, text)
            self.column += wide
        self.cell = None

    def take(self, column: int) -> tuple[int, str]:
        """The width and the text of a cell that reaches into this row."""
        wide, left, text = self.spanned.pop(column)
        if left > 1:
            self.spanned[column] = (wide, left - 1, text)
        return wide, text
