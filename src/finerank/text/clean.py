"""Markup to plain text, keeping for every character the place in the original it came from."""

from array import array
from dataclasses import dataclass

from finerank.ranking import Span
from finerank.text.markup import Keep, Markup, parse
from finerank.text.render import render


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

    >>> strip_html("<h1>Reset</h1><p>Hold it for 10&nbsp;s</p><table><tr><td>a<td>b</table>").text
    'Reset\\nHold it for 10 s\\na | b'
    """
    return clean_markup(parse(text), keep)


def clean_markup(markup: Markup, keep: Keep) -> CleanText:
    """The text of parsed markup; see `strip_html`."""
    if not markup.marks:
        whole = markup.source
        return CleanText(whole, array("l", range(len(whole))), array("l", range(1, len(whole) + 1)))
    return CleanText(*render(markup, keep))
