"""Text of DrawingML: shapes, tables, charts and diagrams, which DOCX, PPTX and XLSX share."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from finerank.text.office import Package, Relationship, attribute, child, local, rows_text, whole

if TYPE_CHECKING:
    from lxml.etree import _Element


def drawing_texts(package: Package, relationships: Mapping[str, Relationship], element: "_Element") -> list[str]:
    """The text of a chart or a diagram that an element refers to."""
    names = ("id",) if local(element) == "chart" else ("dm",)
    there = relationships.get(next((attribute(element, name) for name in names if attribute(element, name)), ""))
    if there is None or there.external or not package.has(there.target):
        return []
    root = package.xml(there.target)
    return (
        chart_texts(root) if local(element) == "chart" else [text for each in _all(root, "p") if (text := line(each))]
    )


def chart_texts(root: "_Element") -> list[str]:
    """A chart's titles, and for each series its name, categories and values as rows."""
    texts = [text for each in _all(root, "p") if (text := line(each))]
    rows: list[list[str]] = []
    shown: list[str] = []
    for series in _all(root, "ser"):
        values = {name: _points(child(series, name)) for name in ("tx", "cat", "xVal", "val", "yVal")}
        heads = values["cat"] or values["xVal"]
        if heads and heads != shown:
            rows.append(["", *heads])
            shown = heads
        rows.append([" ".join(values["tx"]), *(values["val"] or values["yVal"])])
    return texts + rows_text(rows)


def line(paragraph: "_Element") -> str:
    """The text of a paragraph (a:p)."""
    pieces: list[str] = []
    for each in paragraph:
        name = local(each)
        if name == "br":
            pieces.append("\n")
        elif name == "r" or (name == "fld" and attribute(each, "type") != "slidenum"):
            pieces += (part.text or "" for part in each if local(part) == "t")
        elif name == "m" or name == "AlternateContent":
            pieces += (part.text or "" for part in _first_branch(each).iter() if local(part) == "t")
    return "".join(pieces).strip()


def table_rows(table: "_Element") -> list[list[str]]:
    """The rows of a table (a:tbl): a cell over several columns once, one over several rows in each."""
    rows: list[list[str]] = []
    spanned: dict[int, tuple[int, str]] = {}
    for row in table:
        if local(row) != "tr":
            continue
        cells: list[str] = []
        for column, cell in enumerate(each for each in row if local(each) == "tc"):
            text = " ".join(filter(None, (line(each) for each in _all(cell, "p"))))
            if attribute(cell, "vMerge") in ("1", "true"):
                left, text = spanned.get(column, (0, ""))
                spanned[column] = (left - 1, text)
            elif (high := whole(attribute(cell, "rowSpan"), 1)) > 1:
                spanned[column] = (high - 1, text)
            if attribute(cell, "hMerge") not in ("1", "true"):
                cells.append(text)
        rows.append(cells)
    return rows


def _points(element: "_Element | None") -> list[str]:
    """The values (c:v) in the order of their points."""
    if element is None:
        return []
    return [(each.text or "").strip() for each in element.iter() if local(each) == "v"]


def _all(element: "_Element", name: str) -> Iterator["_Element"]:
    return (each for each in element.iter() if local(each) == name)


def _first_branch(element: "_Element") -> "_Element":
    return next((each for each in element if local(each) in ("Choice", "Fallback")), element)
