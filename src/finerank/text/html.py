"""HTML pages to documents: the main text with its headings, title and language."""

import re
from bisect import bisect_left
from collections.abc import Iterator

from finerank.text.clean import CleanText, clean_markup, strip_html
from finerank.text.document import LoadedDocument
from finerank.text.headings import Heading
from finerank.text.markup import Markup, parse

_TITLE = re.compile(r"<title\b[^<>]*>(.{0,1000}?)</title", re.IGNORECASE | re.DOTALL)
_LANGUAGE = re.compile(r"<html\b[^<>]*\b(?:xml:)?lang\s*=\s*[\"']?([A-Za-z-]+)", re.IGNORECASE)
_TITLE_CHARACTERS = 1000


def read_html(source: str, boilerplate: bool = False) -> Iterator[LoadedDocument]:
    """The document of an HTML page. With `boilerplate`, navigation, footers, banners and hidden text are kept."""
    markup = parse(source)
    clean = clean_markup(markup, "all" if boilerplate else "main")
    title, language = _TITLE.search(source), _LANGUAGE.search(source)
    yield LoadedDocument(
        clean.text,
        title=" ".join(strip_html(title[1]).text.split()) if title else "",
        headings=tuple(html_headings(markup, clean)),
        metadata={"lang": language[1]} if language else {},
        original=clean,
    )


def html_headings(markup: Markup, clean: CleanText) -> list[Heading]:
    """<h1> to <h6>, and what has the role of a heading, at their places in the clean text."""
    found = []
    for element in markup.elements:
        tag = element.tag
        if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            level = int(tag[1])
        elif element.role == "heading":
            level = element.count("aria-level", 6)
        else:
            continue
        start, end = bisect_left(clean.starts, element.inner), bisect_left(clean.starts, element.close)
        if start < end <= start + _TITLE_CHARACTERS and (title := " ".join(clean.text[start:end].split())):
            found.append(
                Heading(start + len(clean.text[start:end]) - len(clean.text[start:end].lstrip()), level, title)
            )
    return found
