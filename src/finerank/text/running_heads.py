"""Running heads and feet: the lines at the edges of pages that repeat from page to page."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from statistics import median

from finerank.text.pdf_lines import Line, rows_of

_NUMBERS = re.compile(r"\d+|\b[ivxlc]+\b")
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}

MAX_HEAD_LINES = 3
"""Lines of a running head or foot, at most."""

_FAR = 30
"""A number beside words counts as a page number only this near to the page's place in the file: not in "Order 1001"."""


def running_lines(pages: Sequence[Sequence[Line]], keep: frozenset[Line] = frozenset()) -> frozenset[Line]:
    """The lines of running heads and feet: what repeats at the edge of most pages, of most odd or even ones, or of
    neighboring ones with a gap after it. Page numbers may differ as the pages do.
    """
    if len(pages) <= 2:
        return frozenset()
    rows = [rows_of(lines) for lines in pages]
    found: set[Line] = set()
    for edge in (rows, [page[::-1] for page in rows]):
        found.update(_running_lines_of_edge(edge, keep))
    return frozenset(found)


def _running_lines_of_edge(pages: Sequence[Sequence[list[Line]]], keep: frozenset[Line]) -> Iterable[Line]:
    depths = [0] * len(pages)
    for depth in range(MAX_HEAD_LINES + 1):
        open_pages = [i for i, page in enumerate(pages) if depths[i] == depth and len(page) > depth]
        signatures = {i: _signatures(pages[i][depth], i) for i in open_pages}
        places: dict[str, list[int]] = defaultdict(list)
        for i, each in signatures.items():
            for signature in each:
                places[signature].append(i)
        for i in open_pages:
            row = pages[i][depth]
            apart = _apart(pages[i], depth)
            if not keep.intersection(row) and any(
                _repeats(places[signature], i, len(pages), apart) for signature in signatures[i]
            ):
                depths[i] += 1
    # A page that repeats line after line is a form, or the same text again: only its outermost line is a head.
    depths = [min(depth, 1) if depth > MAX_HEAD_LINES or depth == len(page) else depth
              for depth, page in zip(depths, pages, strict=True)]  # fmt: skip
    for i, row in enumerate(_band(pages, depths)):
        if row and not keep.intersection(row):
            depths[i] = 1
    for depth, page in zip(depths, pages, strict=True):
        for row in page[:depth]:
            yield from row


def _repeats(places: Sequence[int], page: int, count: int, apart: bool) -> bool:
    """Whether a row that stands on the pages `places` is a running head of `page`, of `count` pages."""
    alike = sum(1 for place in places if (place - page) % 2 == 0)
    same_side = (count + 1 - page % 2) // 2
    near = any(0 < abs(place - page) <= 2 for place in places)
    return len(places) * 2 > count or (alike >= 2 and alike * 2 > same_side) or (apart and near and len(places) >= 3)


def _band(pages: Sequence[Sequence[list[Line]]], depths: Sequence[int]) -> list[list[Line]]:
    """For each page without a running head, its outermost row if it stands where most pages have theirs: the head of a
    chapter too short to repeat it."""
    bands = Counter(round(page[0][0].y) for page, depth in zip(pages, depths, strict=True) if depth and page)
    if not bands:
        return [[] for _ in pages]
    place, _ = bands.most_common(1)[0]
    heads = [page[0][0] for page, depth in zip(pages, depths, strict=True) if depth and abs(page[0][0].y - place) <= 1]
    if len(heads) * 2 <= len(pages) or len(pages) < 2 * MAX_HEAD_LINES:
        return [[] for _ in pages]
    size = median(head.size for head in heads)

    def fits(page: Sequence[list[Line]]) -> bool:
        return abs(page[0][0].y - place) <= 1 and abs(page[0][0].size - size) <= 0.6 and _apart(page, 0)

    return [
        page[0] if not depth and len(page) > 1 and fits(page) else [] for page, depth in zip(pages, depths, strict=True)
    ]


def _apart(page: Sequence[list[Line]], depth: int) -> bool:
    """Whether a gap separates a row at the edge, and the few that may belong to the same head, from the text."""
    rows = [row[0] for row in page[depth : MAX_HEAD_LINES + 1]]
    return len(rows) < 2 or any(abs(b.y - a.y) > 1.7 * max(a.size, b.size) for a, b in pairwise(rows))


def _signatures(row: Sequence[Line], page: int) -> set[str]:
    """What must be equal in the rows of a running head: its words and the size of its type. Each number of it is
    either the same on all pages, or counts them."""
    text = " ".join(line.text for line in row)
    numbers = _NUMBERS.findall(text)
    words = f"{row[0].size:.0f} " + _NUMBERS.sub("#", text)
    bare = not any(character.isalpha() for character in _NUMBERS.sub("", text))
    options = [{number, *_counted(number, page, bare)} for number in numbers[-2:]]
    return {f"{words} {(*numbers[:-2], *choice)}" for choice in product(*options)}


def _counted(number: str, page: int, bare: bool) -> list[str]:
    value = int(number) if number.isdigit() and len(number) < 9 else _roman(number)
    return [f"{value - page:+d}"] if bare or abs(value - page) <= _FAR else []


def _roman(number: str) -> int:
    values = [_ROMAN.get(letter, 0) for letter in number]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))
