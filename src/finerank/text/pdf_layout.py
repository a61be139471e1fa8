"""The lines of a PDF's pages to running text: heads and dot leaders dropped, columns in order, paragraphs joined.

Nothing here knows of PDF itself.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from finerank.text.pdf_lines import Line, Word, rows_of
from finerank.text.running_heads import running_lines

_WIDE = "\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WIDE_CHARACTER = re.compile(f"[{_WIDE}]")
_UNSPACED_END = re.compile(f"[\u0e00-\u0e7f{_WIDE}]$")
_UNSPACED_START = re.compile(f"[\u0e00-\u0e7f{_WIDE}]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff]")
_BULLET = re.compile(r"[•▪◦‣●○■□*–—-]\s|\(?\d{1,3}[.)]\s|\(?[a-z][.)]\s|[（(][一二三四五六七八九十]+[）)]")
_SENTENCE_STOP = re.compile(r"[.!?:;。！？：；؟।]['\"”’」』)）]*$")
_HYPHENATED = re.compile(r"([^\W\d_]+)[-\u2010]$")
_WORD_END = re.compile(r"[^\W\d_]+$")
_WORD_START = re.compile(r"[^\W\d_]+")
_COMPOUND_STARTS = frozenset({"self", "well", "non", "ex"})
_DIGIT_END = re.compile(r"\d$")
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LEADER = re.compile(r"\s*(?:(?:\.\s?){4,}|(?:[．。]\s?){4,}|(?:[·•‧∙⋅]\s?){3,}|(?:[…‥⋯]\s?){2,})")
_PAGE_LABEL = re.compile(r"[(\[（]?(?:[A-Z\d]{1,3}[-.–])?(?:\d{1,4}|[ivxlc]{1,7}|[IVXLC]{1,7})[)\]）]?")
_LONG_LEADER = 8
_SHORT_LINE = 0.6
_TRACKED_LETTERS = 4


@dataclass(frozen=True, slots=True)
class PageText:
    """A page's running text, and where in it each of the page's lines begins. `repeats`: other pages have all of its
    lines too."""

    text: str
    starts: dict[Line, int]
    repeats: bool = False


def running_text(pages: Sequence[Sequence[Sequence[Line]]], keep: frozenset[Line] = frozenset()) -> list[PageText]:
    """The running text of pages of blocks of lines. Lines of `keep`, such as headings, stay and get a paragraph each.

    >>> from finerank.text.pdf_lines import plain_lines
    >>> page = reading_order(plain_lines("The reset but-\\nton is behind\\nthe lamp.\\n• Hold it."))
    >>> running_text([page])[0].text
    'The reset button is behind the lamp.\\n• Hold it.'
    """
    lines = [[line for block in page for line in block] for page in pages]
    running = running_lines(lines, keep)
    heads = {_masked(line) for page in lines if not running.issuperset(page) for line in page if line in running}
    # A page of nothing but repeated lines keeps them, unless they are the heads of other pages.
    repeats = [running.issuperset(page) for page in lines]
    dropped = frozenset(
        line
        for page, alone in zip(lines, repeats, strict=True)
        for line in page
        if line in running and (not alone or _masked(line) in heads)
    )
    bodies = [[[line for line in block if line not in dropped] for block in page] for page in pages]
    words = (word for page in bodies for block in page for line in block for word in _WORD.findall(line.text))
    vocabulary = frozenset(word.lower() for word in words)
    return [
        PageText(*_unwrap(page, keep, vocabulary), repeats=alone) for page, alone in zip(bodies, repeats, strict=True)
    ]


def reading_order(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines in blocks as they are read: where the file's order goes across two columns of prose, or begins with the
    later one, the first column comes first."""
    if not lines:
        return []
    gutter = _gutter(lines)
    if gutter is None:
        falls = sum(after.y > before.y for before, after in pairwise(lines))
        top_down = falls * 2 >= len(lines) - 1 or any(len(row) > 1 for row in rows_of(lines))
        return [list(lines) if top_down else sorted(lines, key=lambda line: line.y)]
    blocks: list[list[Line]] = []
    sides: tuple[list[Line], list[Line]] = ([], [])
    right_to_left = sum(len(_RIGHT_TO_LEFT.findall(line.text)) for line in lines) * 2 > sum(
        len(line.text) for line in lines
    )

    def flush() -> None:
        for side in reversed(sides) if right_to_left else sides:
            blocks.extend(reading_order(side) if len(side) < len(lines) else [list(side)])
            side.clear()

    spanning: list[Line] = []
    for line in sorted(lines, key=lambda line: line.y):
        left, right = _split(line, gutter)
        if left and right and _crosses(line, gutter):
            flush()
            spanning.append(line)
            continue
        if spanning:
            blocks.append(spanning)
            spanning = []
        for side, words in zip(sides, (left, right), strict=True):
            if words:
                part = words if left and right else line.words
                side.append(
                    line if part is line.words else Line(part, line.y, line.size, line.hyphenated and words is right)
                )
    flush()
    return [*blocks, *([spanning] if spanning else [])]


def _gutter(lines: Sequence[Line]) -> float | None:
    """The middle of the gap between two columns of prose that the order of the lines ignores; None if there is none."""
    gaps = [
        (before.right, after.left)
        for line in lines
        for before, after in pairwise(line.words)
        if after.left - before.right >= max(9.0, 1.2 * line.size)
    ]
    swapped = [
        (after.right, before.left)
        for before, after in pairwise(lines)
        if before.left - after.right >= 9.0 and before.y > after.y
    ]
    candidates = [*gaps, *swapped]
    if len(gaps) < 3 and not swapped:
        return None
    place = max(
        ((left + right) / 2 for left, right in candidates[:200]),
        key=lambda x: sum(left < x < right for left, right in candidates),
    )
    sides: tuple[list[Line], list[Line]] = ([], [])
    crossing = 0
    for line in lines:
        left, right = _split(line, place)
        if left and right and _crosses(line, place):
            crossing += 1
            continue
        for side, words in zip(sides, (left, right), strict=True):
            if words:
                side.append(Line(words, line.y, line.size))
    if not all(sides):
        return None
    top = max(min(line.y for line in side) for side in sides)
    bottom = min(max(line.y for line in side) for side in sides)
    beside = [[line for line in side if top <= line.y <= bottom] for side in sides]
    columns = min(map(len, beside)) >= 3 and crossing <= min(map(len, beside))
    return place if columns and all(map(_is_prose, beside)) else None


def _is_prose(lines: Sequence[Line]) -> bool:
    """Whether lines are a column of prose: several words each, and most of them nearly as wide as the column."""
    widths = [line.right - line.left for line in lines]
    wordy = sum(len(line.words) >= 3 or len(_WIDE_CHARACTER.findall(line.text)) >= 8 for line in lines)
    return wordy * 5 >= 3 * len(lines) and median(widths) >= 0.6 * max(widths)


def _split(line: Line, place: float) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    left = tuple(word for word in line.words if word.left + word.right < 2 * place)
    return left, tuple(word for word in line.words if word.left + word.right >= 2 * place)


def _crosses(line: Line, place: float) -> bool:
    """Whether a line goes over the gutter with no more than a word space."""
    left = max((word.right for word in line.words if word.left + word.right < 2 * place), default=place)
    right = min((word.left for word in line.words if word.left + word.right >= 2 * place), default=place)
    return not left < place < right or right - left < max(9.0, 0.9 * line.size)


def _unwrap(
    blocks: Sequence[Sequence[Line]], keep: frozenset[Line], vocabulary: frozenset[str]
) -> tuple[str, dict[Line, int]]:
    text = ""
    starts: dict[Line, int] = {}
    previous: _Placed | None = None
    for line in _placed(blocks):
        if previous is not None:
            text = _joined(text, previous, line, keep, vocabulary)
        starts[line.line] = len(text)
        text += line.text
        previous = line
    return text.strip(), starts


class _Placed(NamedTuple):
    """A line with its tidied text. `entry`: it is of a table of contents. `measure`: the width of its block's longest
    line. `leading`: from one line of its block to the next."""

    line: Line
    text: str
    entry: bool
    measure: float
    leading: float


def _placed(blocks: Sequence[Sequence[Line]]) -> Iterable[_Placed]:
    for block in blocks:
        steps = [after.y - before.y for before, after in pairwise(block) if 0 < after.y - before.y < 3 * after.size]
        measure = max((line.right - line.left for line in block), default=0.0)
        for line in block:
            text = unspaced(line)
            short = drop_leaders(text)
            if short:
                yield _Placed(line, short, short != text, measure, median(steps) if steps else 0.0)


def _joined(text: str, previous: _Placed, line: _Placed, keep: frozenset[Line], vocabulary: frozenset[str]) -> str:
    """The text so far, ready for the next line: with a blank line, a line break, a space or nothing at its end."""
    before, after = previous.line, line.line
    step = after.y - before.y
    if step > 1.5 * (line.leading or after.size * 1.5) and step > 1.5 * after.size:
        return f"{text}\n\n"
    begins = (
        previous.entry
        or (line.entry and _DIGIT_END.search(previous.text))
        or after in keep
        or before in keep
        or _BULLET.match(line.text)
        or max(after.size, before.size) > 1.3 * min(after.size, before.size)
        or _is_row(before)
        or _is_row(after)
    )
    if not begins and (before.hyphenated or (_HYPHENATED.search(previous.text) and line.text[0].islower())):
        return _dehyphenated(text, line.text, vocabulary)
    if begins or _SENTENCE_STOP.search(previous.text) or before.right - before.left < _SHORT_LINE * previous.measure:
        return f"{text}\n"
    return text if _UNSPACED_END.search(text) and _UNSPACED_START.match(line.text) else f"{text} "


def _masked(line: Line) -> str:
    return _NUMBER.sub("#", line.text)


def _is_row(line: Line) -> bool:
    """Whether a line is of a table: wide gaps are between its cells."""
    return any(after.left - before.right > 1.5 * line.size for before, after in pairwise(line.words))


def _dehyphenated(text: str, following: str, vocabulary: frozenset[str]) -> str:
    """Text that ends in a hyphen, without it unless it belongs to a compound, such as "self-hosted" or "US-ASCII".

    What the document writes elsewhere decides; else a compound goes on with a capital or a digit.
    """
    stem = text.rstrip("-\u2010")
    before, after = _WORD_END.search(stem), _WORD_START.match(following)
    if not before or not after:
        return f"{stem}-"
    first, last = before[0].lower(), after[0].lower()
    if f"{first}{last}" in vocabulary:
        return stem
    compound = f"{first}-{last}" in vocabulary or first in _COMPOUND_STARTS or not following[0].islower()
    return f"{stem}-" if compound else stem


def unspaced(line: Line) -> str:
    """The line's text without the spaces that only spread it: 转 入 当 前 用 户, S U M M A R Y."""
    if all(word.typed for word in line.words) and not _IDEOGRAPH.search(line.text):
        return line.text
    near = [
        bool(_IDEOGRAPH.match(before.text[-1]) and _IDEOGRAPH.match(after.text[0]))
        and after.left - before.right <= 0.9 * line.size
        for before, after in pairwise(line.words)
    ]
    spread = sum(near) * 2 > sum(near) + sum(_adjacent_ideographs(word.text) for word in line.words)
    text = line.words[0].text
    tracked = _tracked(line.words)
    for number, (before, after) in enumerate(pairwise(line.words)):
        gap = after.left - before.right
        wide = _WIDE_CHARACTER.match(before.text[-1]) and _WIDE_CHARACTER.match(after.text[0])
        joined = wide and gap <= 0.9 * line.size and (spread or (not after.typed and gap < 0.5 * line.size))
        text += after.text if joined or number in tracked else f" {after.text}"
    return text


def _adjacent_ideographs(text: str) -> int:
    return sum(bool(_IDEOGRAPH.match(a) and _IDEOGRAPH.match(b)) for a, b in pairwise(text))


def _tracked(words: Sequence[Word]) -> frozenset[int]:
    """The gaps inside letter-spaced words: those of at least four single letters, where no space was typed."""
    found: set[int] = set()
    begin = 0
    for end in range(1, len(words) + 1):
        if end < len(words) and not words[end].typed and len(words[end].text) == len(words[end - 1].text) == 1:
            continue
        run = words[begin:end]
        if len(run) >= _TRACKED_LETTERS and all(word.text.isalpha() for word in run):
            gaps = [after.left - before.right for before, after in pairwise(run)]
            found.update(begin + i for i, gap in enumerate(gaps) if gap <= 1.7 * median(gaps))
        begin = end
    return frozenset(found)


def drop_leaders(text: str) -> str:
    """An entry of a table of contents without the dots that lead to its page number.

    >>> drop_leaders("1.3 Reset . . . . . . . . 27")
    '1.3 Reset 27'
    >>> drop_leaders("Wait ... and see")
    'Wait ... and see'
    """
    parts, place = [], 0
    for mark in _LEADER.finditer(text):
        rest = text[mark.end() :].strip()
        if not rest or _PAGE_LABEL.fullmatch(rest) or sum(not dot.isspace() for dot in mark[0]) >= _LONG_LEADER:
            parts.append(text[place : mark.start()].rstrip())
            place = mark.end()
    return " ".join(part for part in (*parts, text[place:].strip()) if part)
