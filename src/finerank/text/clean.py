"""Markup to plain text, keeping for every character the place in the original it came from."""

import html
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

from finerank.ranking import Span

# Not <head>, whose end tag may be left out; all it holds is below.
_SKIPPED = frozenset({"script", "style", "template", "noscript", "svg", "title"})
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure", "footer"),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "option", "p", "pre"),
        *("section", "table", "tbody", "td", "th", "thead", "title", "tr", "ul"),
    }
)
_MARKUP = re.compile(r"<[a-zA-Z!/][^<>]*>|&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z]+\d*);")


@dataclass(frozen=True, slots=True)
class CleanText:
    """Plain text, and `offsets[i]`: where character i came from in the original (one entry more than characters).

    `entities`: the lengths of the resolved entities, by their place in the original.
    """

    text: str
    offsets: "array[int]"
    entities: Mapping[int, int] = field(default_factory=dict)

    def original_span(self, span: Span) -> Span:
        """A span of the clean text as a span of the original."""
        start, end = span
        if start >= end:
            return self.offsets[start], self.offsets[start]
        last = self.offsets[end - 1]
        return self.offsets[start], last + self.entities.get(last, 1)


def strip_html(text: str) -> CleanText:
    """Drop tags, comments, scripts and styles; resolve entities; put a line break between blocks and fold spaces.

    Text without markup comes back as it is: "a < b" is no tag.

    >>> strip_html("<h1>Reset</h1><p>Hold it for 10&nbsp;s</p>").text
    'Reset\\nHold it for 10 s'
    """
    if not _MARKUP.search(text):
        return CleanText(text, array("l", range(len(text) + 1)))
    parser = _TextParser(text)
    parser.feed(text)
    parser.close()
    return parser.result(len(text))


class _TextParser(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self._source = source
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", source))]
        self._characters: list[str] = []
        self._offsets = array("l")
        self._entities: dict[int, int] = {}
        self._skip_depth = 0
        self._pending = ""

    def result(self, end: int) -> CleanText:
        return CleanText("".join(self._characters), array("l", [*self._offsets, end]), self._entities)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skip_depth += 1
        self._break_at(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break_at(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED and self._skip_depth:
            self._skip_depth -= 1
        self._break_at(tag)

    def handle_data(self, data: str) -> None:
        start = self._position()
        for offset, character in enumerate(data):
            self._put(character, start + offset)

    def handle_entityref(self, name: str) -> None:
        self._handle_reference(f"&{name}")

    def handle_charref(self, name: str) -> None:
        self._handle_reference(f"&#{name}")

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Skip `<![...>` as browsers do; the parent class raises AssertionError on unknown names."""
        return self.parse_bogus_comment(i, report)

    def _handle_reference(self, reference: str) -> None:
        start = self._position()
        reference += ";" * self._source.startswith(";", start + len(reference))
        text = html.unescape(reference)
        if text == reference:  # an ampersand, and no entity
            self.handle_data(text)
            return
        self._entities[start] = len(reference)
        for character in text:
            self._put(character, start)

    def _position(self) -> int:
        line, column = self.getpos()
        return self._line_starts[line - 1] + column

    def _break_at(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._pending = "\n"

    def _put(self, character: str, offset: int) -> None:
        if self._skip_depth:
            return
        if character.isspace():
            self._pending = self._pending or " "
            return
        if self._pending and self._characters:
            self._characters.append(self._pending)
            self._offsets.append(offset - 1 if offset else 0)
        self._pending = ""
        self._characters.append(character)
        self._offsets.append(offset)
