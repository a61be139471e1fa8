"""Documents to passages: cut on sentences, headings and pages, each with where it came from. Embeds nothing."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finerank.ranking import Span
from finerank.text.chunk import section_spans
from finerank.text.headings import heading_paths
from finerank.text.load import LoadedDocument
from finerank.text.terms import terms


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage with its place: the `span` in the file's own text, the `page` (from 1) of a paged document that most
    of it is on, the headings it stands under, outermost first."""

    text: str
    span: Span
    heading: str = ""
    page: int | None = None


def passages(document: LoadedDocument, max_terms: int, overlap_terms: int) -> Iterator[Passage]:
    """The passages of a document, at most `max_terms` terms long, in order; none of a document without text."""
    text = document.text[document.body :]
    breaks = [place - document.body for place in document.breaks]
    spans = section_spans(text, breaks, count_terms, max_terms, overlap_terms)
    places = [start + document.body for start, _ in spans]
    headings = heading_paths(document.text, document.headings, places)
    for (start, end), place, heading in zip(spans, places, headings, strict=True):
        yield Passage(
            text[start:end],
            document.original_span((place, end + document.body)),
            _titled(document.title, heading),
            bisect_right(document.pages, place + (end - start) // 2) if document.pages else None,
        )


def count_terms(texts: Sequence[str]) -> list[int]:
    """How many terms each text has: words, and characters of scripts without spaces."""
    return [len(terms(text)) for text in texts]


def _titled(title: str, path: str) -> str:
    return path if not title or path.startswith(title) else f"{title} > {path}" if path else title
