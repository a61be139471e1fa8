"""XLSX to text: a section for each sheet, a line for each row."""

import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime, time
from itertools import groupby, islice, zip_longest
from pathlib import Path
from typing import Any

from finerank.errors import MissingExtra
from finerank.text.dates import parse_date
from finerank.text.document import LoadedDocument, Report
from finerank.text.headings import Heading
from finerank.text.office import open_package

_GAP = 16
"""Empty cells in a row that are kept at most: a cell far out makes no line of ten thousand bars."""


def read_xlsx(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The document of an XLSX file: the values that were saved, or a formula where none was.

    Raises `UnreadableFile`, and `MissingExtra` without openpyxl.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtra("reading XLSX", "rag") from error
    with open_package(path, "XLSX") as package, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions, which bear no text
        has_formulas = False
        for name in package.names():  # before openpyxl reads them: refuses what is made to exhaust memory
            if name.lower().endswith((".xml", ".rels")):
                content = package.read(name)
                has_formulas = has_formulas or b"<f>" in content or b"<f " in content
        title, date = package.properties()
        values = openpyxl.load_workbook(path, read_only=True, data_only=True)
        formulas = openpyxl.load_workbook(path, read_only=True) if has_formulas else None
        try:
            sheets = [
                (sheet.title, list(_rows(sheet, formulas[sheet.title] if formulas else None)))
                for sheet in values.worksheets
            ]
        finally:
            values.close()
            if formulas:
                formulas.close()
    text, headings = "", []
    for name, rows in sheets:
        if rows:
            text += "\n\n" if text else ""
            headings.append(Heading(len(text), 1, name))
            text += "\n".join([name, *rows])
    yield LoadedDocument(text, title=title, headings=tuple(headings), date=parse_date(date) if date else None)


def _rows(sheet: Any, formulas: Any) -> Iterator[str]:  # noqa: ANN401 - openpyxl is loaded late
    sheet.reset_dimensions()  # as a file states them, they may be wrong
    if formulas is not None:
        formulas.reset_dimensions()
    width = 0
    for row, written in zip_longest(
        sheet.iter_rows(), formulas.iter_rows() if formulas is not None else (), fillvalue=()
    ):
        cells = [_value(cell) for cell in row]
        for column, cell in enumerate(written):
            if column < len(cells) and not cells[column] and cell.value is not None:
                cells[column] = str(cell.value)
        if any(cells):
            width = width or len(cells)
            yield " | ".join(_narrowed(cells, width))


def _narrowed(cells: Sequence[str], width: int) -> list[str]:
    """A row as wide as the first one if it has no more cells, and long gaps cut short."""
    last = max(number for number, cell in enumerate(cells) if cell)
    padded = [*cells[: max(last + 1, width)], *[""] * (width - len(cells))]
    kept: list[str] = []
    for filled, group in groupby(padded, key=bool):
        kept += islice(group, None if filled else _GAP)
    return kept


def _value(cell: Any) -> str:  # noqa: ANN401 - openpyxl is loaded late
    """A cell's value as it reads: dates in ISO form, percentages with their sign."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "minutes")
    if isinstance(value, int | float):
        if "%" in str(cell.number_format):
            return f"{value * 100:.10g}%"
        return f"{value:.15g}"
    return " ".join(str(value).split())
