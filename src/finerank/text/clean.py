"""Markup to plain text, keeping for every character the place in the original it came from; and laid-out pages to
running text.

Markup is one pass of one expression, linear in the text: the standard library's parser has inputs of 30 KB that take
it seconds, and other parsers keep no offsets.
"""

import html
import re
from array import array
from collections import Counter
from collections.abc import Sequence
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

_BULLET = re.compile(r"[•▪◦‣*–—-]\s|\(?\d{1,3}[.)]\s|\(?[a-z][.)]\s")
_HYPHENATED = re.compile(r"[^\W\d_]-$")
_SENTENCE_STOP = re.compile(r"[.!?:;。！？：；؟।]['\"”’」』)）]*$")
_UNSPACED_END = re.compile("[\u0e00-\u0e7f\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]$")
_UNSPACED_START = re.compile("[\u0e00-\u0e7f\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
_BLANK_LINES = re.compile(r"\n{3,}")
_NUMBERS = re.compile(r"\d+")
_SHORT_LINE = 0.6
_FEW_PAGES = 2


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


def unwrap_pages(pages: Sequence[str]) -> list[str]:
    """Pages as a PDF's layout gives them, as running text: broken lines are joined, words hyphenated at the end of a
    line too, and lines that stand at the edge of most pages (running heads and page numbers) are dropped.

    >>> unwrap_pages(["The reset but-\\nton is behind\\nthe lamp.\\n• Hold it."])
    ['The reset button is behind the lamp.\\n• Hold it.']
    """
    split = [[line.strip() for line in page.split("\n")] for page in pages]
    repeated = _edge_lines(split)
    return [_unwrap([line for line in lines if _edge_key(line) not in repeated]) for lines in split]


def _unwrap(lines: Sequence[str]) -> str:
    longest = max(map(len, lines), default=0)
    text = ""
    previous = ""
    for line in lines:
        if not line or not previous or _ends(previous, longest) or _BULLET.match(line):
            text += "\n" + line
        elif _HYPHENATED.search(previous) and line[0].islower():
            text = text[:-1] + line
        else:
            text += ("" if _UNSPACED_END.search(previous) and _UNSPACED_START.match(line) else " ") + line
        previous = line
    return _BLANK_LINES.sub("\n\n", text).strip()


def _ends(line: str, longest: int) -> bool:
    """Whether a line ends its paragraph: it ends a sentence, or stops well before the margin, as a heading does."""
    return bool(_SENTENCE_STOP.search(line)) or len(line) < _SHORT_LINE * longest


def _edge_lines(pages: Sequence[Sequence[str]]) -> frozenset[str]:
    """What the first or last line of more than half of the pages says, numbers aside; of three pages at least."""
    edges: Counter[str] = Counter()
    for lines in pages:
        filled = [line for line in lines if line]
        edges.update({_edge_key(line) for line in (*filled[:1], *filled[-1:])})
    return frozenset(key for key, count in edges.items() if len(pages) > _FEW_PAGES and count * 2 > len(pages))


def _edge_key(line: str) -> str:
    return _NUMBERS.sub("#", line)


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
