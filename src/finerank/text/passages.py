"""Documents to passages: cut on sentences, headings and pages, each with where it came from. Embeds nothing."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from finerank.ranking import Span
from finerank.text.chunk import section_spans
from finerank.text.headings import Heading, heading_paths
from finerank.text.load import LoadedDocument
from finerank.text.terms import terms

_SMALL = 8
"""A page of less than one in so many parts of a passage's terms goes with the next."""

_MARKUP = 200
"""Characters of a heading's section that may be markup, such as the line under it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage with its place: the `span` in the file's own text, the `page` (from 1) of a paged document that most
    of it is on, the headings it stands under, outermost first."""

    text: str
    span: Span
    heading: str = ""
    page: int | None = None


def passages(document: LoadedDocument, max_terms: int, overlap_terms: int) -> Iterator[Passage]:
    """The passages of a document, at most `max_terms` terms long, in order; none of a document without text.

    What stands under two headings is never one passage.
    """
    text = document.text[document.body :]
    breaks = [place - document.body for place in _section_starts(document, max_terms // _SMALL)]
    spans = section_spans(text, breaks, count_terms, max_terms, overlap_terms)
    paths = heading_paths(document.headings, [end + document.body - 1 for _, end in spans])
    for (start, end), path in zip(spans, paths, strict=True):
        place = start + document.body
        yield Passage(
            text[start:end],
            document.original_span((place, end + document.body)),
            _titled(document.title, path),
            bisect_right(document.pages, place + (end - start) // 2) if document.pages else None,
        )


def _section_starts(document: LoadedDocument, least_terms: int) -> list[int]:
    """Where passages must begin: at headings and pages. But a heading that has no text of its own goes with the heading
    below it or the page after it, and less than `least_terms` go with the page after them."""
    headings = {heading.start: heading for heading in document.headings}
    starts: list[int] = []
    bare: Heading | None = None
    terms_so_far = least_terms
    cuts = sorted({document.body, *(place for place in document.breaks if place > document.body), len(document.text)})
    for start, end in pairwise(cuts):
        heading, text = headings.get(start), document.text[start:end]
        below = bare is not None and (heading is None or heading.level > bare.level)
        if not below and (heading is not None or terms_so_far >= least_terms):
            starts.append(start)
            terms_so_far = 0
        terms_so_far += count_terms([text])[0] if document.pages else least_terms
        bare = (heading or bare) if _says_only(text, heading.title if heading else "") else None
    return starts


def _says_only(text: str, title: str) -> bool:
    """Whether there is nothing in the text but the title, punctuation and markup aside."""
    filled = text.strip()
    return len(filled) <= _MARKUP + 4 * len(title) and _letters(filled) == _letters(title)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def count_terms(texts: Sequence[str]) -> list[int]:
    """How many terms each text has: words, and characters of scripts without spaces."""
    return [len(terms(text)) for text in texts]


def _titled(title: str, path: str) -> str:
    return path if not title or f"{path} > ".startswith(f"{title} > ") else f"{title} > {path}" if path else title
