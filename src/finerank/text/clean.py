"""Markup to plain text, keeping for every character the place in the original it came from; and laid-out pages to
running text."""

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finerank.ranking import Span
from finerank.text.markup import Keep, Markup, parse
from finerank.text.render import render

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


def strip_html(text: str, keep: Keep = "visible") -> CleanText:
    """Drop tags, comments, scripts and styles; resolve entities; put a line break between blocks and fold spaces.

    Rows of tables come as lines of cells, `<pre>` as it is. Without `keep="all"`, what is hidden and signs such as
    permalinks are dropped, with "main" navigation, footers and banners too. Text without markup comes back as it is:
    "a < b" is no tag.

    >>> strip_html("<h1>Reset</h1><p>Hold it for 10&nbsp;s</p><tr><td>a<td>b</table>").text
    'Reset\\nHold it for 10 s\\na | b'
    """
    return clean_markup(parse(text), keep)


def clean_markup(markup: Markup, keep: Keep) -> CleanText:
    """The text of parsed markup; see `strip_html`."""
    if not markup.marks:
        whole = markup.source
        return CleanText(whole, array("l", range(len(whole))), array("l", range(1, len(whole) + 1)))
    return CleanText(*render(markup, keep))


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
