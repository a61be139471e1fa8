"""Words and lines of a page with their places, in points from its top left corner."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Word(NamedTuple):
    """Text without white space. `typed`: a space character precedes it; else only a gap does."""

    text: str
    left: float
    right: float
    typed: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A line of text: its baseline `y`, the height of its type, and whether a word at its end is hyphenated."""

    words: tuple[Word, ...]
    y: float
    size: float
    hyphenated: bool = False

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def left(self) -> float:
        return min(self.words[0].left, self.words[-1].left)

    @property
    def right(self) -> float:
        return max(self.words[0].right, self.words[-1].right)


def plain_lines(text: str) -> list[Line]:
    """Lines of plain text, as from OCR, as if set in a typewriter's face; blank lines leave gaps.

    >>> [(line.text, line.y) for line in plain_lines("Reset\\n\\nHold it.")]
    [('Reset', 12.0), ('Hold it.', 36.0)]
    """
    lines = []
    for number, row in enumerate(text.splitlines(), start=1):
        words = tuple(Word(mark[0], 6.0 * mark.start(), 6.0 * mark.end()) for mark in re.finditer(r"\S+", row))
        if words:
            lines.append(Line(words, 12.0 * number, 10.0))
    return lines


def rows_of(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines from top to bottom, those on one baseline together."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.y, line.left)):
        if rows and line.y - rows[-1][0].y <= 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows
