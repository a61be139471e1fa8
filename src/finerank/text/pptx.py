"""PPTX to text: a page for each slide, with its tables, charts, diagrams and notes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from finerank.text.dates import parse_date
from finerank.text.document import LoadedDocument, Report
from finerank.text.drawings import drawing_texts, line, table_rows
from finerank.text.headings import Heading
from finerank.text.office import Package, Relationship, attribute, child, local, open_package, rows_text

if TYPE_CHECKING:
    from lxml.etree import _Element

_FEET = frozenset(("sldNum", "ftr", "dt", "hdr", "sldImg"))
_TITLES = frozenset(("title", "ctrTitle"))


def read_pptx(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The document of a PPTX file. Slide numbers, headers and footers are left out.

    Raises `UnreadableFile`, and `MissingExtra` without lxml.
    """
    with open_package(path, "PPTX") as package:
        slides = list(_slides(package))
        title, date = package.properties()
    text, pages, headings = "", [], []
    for number, (heading, lines) in enumerate(slides):
        text += "\n\n" if number else ""
        pages.append(len(text))
        if heading:
            headings.append(Heading(len(text), 1, heading))
        text += "\n".join([heading, *lines] if heading else lines)
    yield LoadedDocument(
        text, title=title, headings=tuple(headings), pages=tuple(pages), date=parse_date(date) if date else None
    )


def _slides(package: Package) -> Iterator[tuple[str, list[str]]]:
    """The title and the lines of each slide, in the order they are shown."""
    main = package.main_part()
    relationships = package.relationships(main)
    order = child(package.xml(main), "sldIdLst")
    for each in order if order is not None else ():
        there = relationships.get(_relation(each))
        if there is None or there.external:
            continue
        related = package.relationships(there.target)
        titles: list[str] = []
        tree = child(package.xml(there.target), "cSld", "spTree")
        lines = list(_shapes(tree, package, related, titles)) if tree is not None else []
        for other in related.values():
            if other.kind == "notesSlide" and package.has(other.target):
                notes = child(package.xml(other.target), "cSld", "spTree")
                lines += _shapes(notes, package, {}, []) if notes is not None else ()
        yield " ".join(" ".join(titles).split()), lines


def _relation(element: "_Element") -> str:
    """The id of a relationship: the attribute `id` that has a namespace."""
    return next((str(value) for key, value in element.attrib.items() if str(key).endswith("}id")), "")


def _shapes(
    tree: "_Element", package: Package, related: Mapping[str, Relationship], titles: list[str]
) -> Iterator[str]:
    for shape in tree:
        name = local(shape)
        if name == "AlternateContent":
            branches = [each for each in shape if local(each) in ("Choice", "Fallback")]
            yield from _shapes(branches[0], package, related, titles) if branches else ()
        elif name == "grpSp":
            yield from _shapes(shape, package, related, titles)
        elif name in ("sp", "cxnSp", "pic"):
            kind = next((attribute(each, "type") for each in shape.iter() if local(each) == "ph"), "")
            if kind in _FEET:
                continue
            texts = [text for each in shape.iter() if local(each) == "p" and (text := line(each))]
            if kind in _TITLES:
                titles += texts
            else:
                yield from texts
        elif name == "graphicFrame":
            for each in shape.iter():
                if local(each) == "tbl":
                    yield from rows_text(table_rows(each))
                elif local(each) in ("chart", "relIds"):
                    yield from drawing_texts(package, related, each)
