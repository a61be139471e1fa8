"""Documents to passages: cut on sentences, headings and pages, each with where it came from. Embeds nothing."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finerank.ranking import Span
from finerank.text.chunk import section_spans
from finerank.text.headings import heading_path
from finerank.text.load import LoadedDocument
from finerank.text.terms import terms


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage with its place: the `span` in the file's own text, the `page` (from 1) of a paged document, the
    headings it stands under, outermost first."""

    text: str
    span: Span
    heading: str = ""
    page: int | None = None


def passages(document: LoadedDocument, max_terms: int, overlap_terms: int) -> Iterator[Passage]:
    """The passages of a document, at most `max_terms` terms long, in order; none of a document without text."""
    text = document.text[document.body :]
    breaks = [place - document.body for place in document.breaks]
    for start, end in section_spans(text, breaks, count_terms, max_terms, overlap_terms):
        first, last = start + document.body, end + document.body
        yield Passage(
            document.text[first:last],
            document.original_span((first, last)),
            _heading(document, first),
            bisect_right(document.pages, first) if document.pages else None,
        )


def count_terms(texts: Sequence[str]) -> list[int]:
    """How many terms each text has: words, and characters of scripts without spaces."""
    return [len(terms(text)) for text in texts]


def _heading(document: LoadedDocument, place: int) -> str:
    """The headings over a passage that begins at `place`; those it begins with count, the last of them too."""
    for heading in document.headings:
        if place <= heading.start and not document.text[place : heading.start].strip():
            end = document.text.find("\n", heading.start)
            place = end if end >= 0 else len(document.text)
    path = heading_path(document.headings, place)
    return path if not document.title or path.startswith(document.title) else f"{document.title} > {path}".rstrip(" >")
