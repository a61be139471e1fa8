"""What a reader makes of a file: its text with the places of headings, pages and records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from finerank.ranking import Span
from finerank.text.clean import CleanText
from finerank.text.headings import Heading

Report = Callable[[str], None]
"""Receives a message about a part of a file that could not be read."""


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document of a file.

    `key` tells the records of one file apart and is empty for the only one. `breaks` are offsets where a passage must
    begin anew, `pages` where each page begins (page 1 first). Offsets are into `text`; `original` says where they lie
    in the file's own text, if that is another. `body`: where the text proper begins. `done`: bytes of the file read.
    """

    text: str
    key: str = ""
    title: str = ""
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    date: datetime | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    original: CleanText | None = None
    body: int = 0
    line: int | None = None
    done: int = 0

    @property
    def breaks(self) -> list[int]:
        return [*(heading.start for heading in self.headings), *self.pages]

    def original_span(self, span: Span) -> Span:
        """A span of `text` as a span of the file's own text."""
        return self.original.original_span(span) if self.original else span
