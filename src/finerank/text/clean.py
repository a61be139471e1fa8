"""Markup to plain text, keeping for every character the place in the original it came from.

Markup is one pass of one expression, linear in the text: the standard library's parser has inputs of 30 KB that take
it seconds, and other parsers keep no offsets.
"""

import html
import re
from array import array
from dataclasses import dataclass

from finerank.ranking import Span

_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure", "footer"),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "option", "p", "pre"),
        *("section", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    }
)
# Comments; elements whose content is no text (not <head>, whose end tag may be left out); tags; declarations; entities.
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<skipped>script|style|template|noscript|svg|title)\b(?:[^<>]*/>|.*?(?:</(?P=skipped)\s*>|\Z))"
    r"|</?(?P<tag>[a-z][^\s<>/]*+)[^<>]*+>"
    r"|<[!?][^<>]*+>"
    r"|(?P<entity>&(?:\#\d{1,7}|\#x[\da-f]{1,6}|[a-z][a-z\d]{1,31});?)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class CleanText:
    """Plain text; character i came from [starts[i], ends[i]) of the original (an entity is longer than a character)."""

    text: str
    starts: "array[int]"
    ends: "array[int]"

    def original_span(self, span: Span) -> Span:
        """A span of the clean text as a span of the original; an empty one stays empty."""
        first, last = span
        if first < last:
            return self.starts[first], self.ends[last - 1]
        place = self.starts[first] if first < len(self.starts) else (self.ends[-1] if self.ends else 0)
        return place, place


def strip_html(text: str) -> CleanText:
    """Drop tags, comments, scripts and styles; resolve entities; put a line break between blocks and fold spaces.

    Text without markup comes back as it is: "a < b" is no tag.

    >>> strip_html("<h1>Reset</h1><p>Hold it for 10&nbsp;s</p>").text
    'Reset\\nHold it for 10 s'
    """
    marks = [mark for mark in _MARKUP.finditer(text) if not mark["entity"] or html.unescape(mark[0]) != mark[0]]
    if not marks:
        return CleanText(text, array("l", range(len(text))), array("l", range(1, len(text) + 1)))
    folded = _FoldedText()
    done = 0
    for mark in marks:
        folded.add(text, done, mark.start())
        if mark["entity"]:
            for character in html.unescape(mark[0]):
                folded.put(character, mark.start(), mark.end())
        elif (mark["tag"] or "").lower() in _BLOCKS:
            folded.pending = "\n"
        done = mark.end()
    folded.add(text, done, len(text))
    return CleanText("".join(folded.characters), folded.starts, folded.ends)


class _FoldedText:
    """Text as it grows, with runs of white space as one space, or as the line break of a block."""

    def __init__(self) -> None:
        self.characters: list[str] = []
        self.starts = array("l")
        self.ends = array("l")
        self.pending = ""

    def add(self, source: str, start: int, end: int) -> None:
        for place in range(start, end):
            self.put(source[place], place, place + 1)

    def put(self, character: str, start: int, end: int) -> None:
        if character.isspace():
            self.pending = self.pending or " "
            return
        if self.pending and self.characters:
            self._append(self.pending, start, start)
        self.pending = ""
        self._append(character, start, end)

    def _append(self, character: str, start: int, end: int) -> None:
        self.characters.append(character)
        self.starts.append(start)
        self.ends.append(end)
