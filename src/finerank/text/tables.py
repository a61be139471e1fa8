"""CSV, TSV and JSON lines to documents, one at a time; every filled cell of a row is in its document."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from finerank.errors import InvalidInput, UnreadableFile
from finerank.io.decode import Report, open_lines
from finerank.io.jsonl import parse_json
from finerank.text.dates import parse_date
from finerank.text.document import LoadedDocument

TEXT_FIELDS = ("text", "content", "contents", "body", "passage")
"""The field of a record that is its text: the first of these that is filled."""

TABLE_VERSION = 2
"""Changes with what is read of a table, which is then read again."""

ID_FIELDS = ("id", "_id")

_CELL_CHARACTERS = 1 << 24
_SAMPLE_LINES = 200
_SAMPLE_CHARACTERS = 1 << 16
_DELIMITERS = "\t|;,"
"""The likelier first where two of them fit: a comma stands in prose and in numbers too."""

_NAMES = frozenset({
    *TEXT_FIELDS, *ID_FIELDS, "title", "name", "question", "query", "answer", "description", "summary", "date", "url",
    "lang", "language", "source", "author", "category", "tags", "label", "score", "key", "value", "city", "country",
    "price", "标题", "内容", "正文", "文本", "问题", "答案", "回答", "编号", "名称", "姓名", "日期",
    "类别", "分类", "标签",
})  # fmt: skip
"""What columns are called, in lower case."""

_NAME_CHARACTERS = 40
_SENTENCE_END = re.compile(r"[.!?。！？…；;]['\"”’」』)）]*$")
_NUMBER = re.compile(r"[-+]?[\d.,: /%€$£¥-]*\d[\d.,: /%€$£¥-]*")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_LETTERS, _DIGITS = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")


def read_json_lines(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The records of a file of JSON lines. A bad line is reported, and the rest is read."""
    with open_lines(path, report) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                value = parse_json(line, f"{path}, line {number}")
            except InvalidInput as error:
                report(str(error))
                continue
            try:
                yield record({"text": value} if isinstance(value, str) else value, number, lines.done)
            except ValueError as error:
                report(f"{path}, line {number}: {error}")


def read_csv(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The rows of a table. The delimiter is found by looking, and so is whether the first row names the columns."""
    csv.field_size_limit(_CELL_CHARACTERS)
    with open_lines(path, report) as opened:
        lines = iter(opened)
        sample = list(_take_sample(lines))
        first = next((number for number, line in enumerate(sample) if line.strip()), 0)
        named = _SEPARATOR_LINE.fullmatch(sample[first]) if sample else None
        first += bool(named)
        tabs = "\t" if path.suffix.lower() == ".tsv" else ""
        delimiter = named[1] if named else tabs or find_delimiter(sample[first:])
        rows = csv.reader(chain(sample[first:], lines), delimiter=delimiter)
        try:
            yield from _records(rows, _sampled(sample[first:], delimiter), path, report, first)
        except csv.Error as error:
            raise UnreadableFile(f"{path}, line {first + rows.line_num}: not readable as CSV: {error}") from error


def find_delimiter(sample: Sequence[str]) -> str:
    """The delimiter that gives the rows as many cells as the first; a character of no text where none does.

    >>> find_delimiter(['"Name, first";Price', "A;1,5"])
    ';'
    """
    best, most = "\x1f", 0.0
    for delimiter in _DELIMITERS:
        lengths = [len(row) for row in _sampled(sample, delimiter)]
        if lengths and lengths[0] > 1:
            share = lengths.count(lengths[0]) / len(lengths)
            if share > most:
                best, most = delimiter, share
    return best


def has_header(rows: Sequence[Sequence[str]], in_doubt: bool = True) -> bool:
    """Whether the first row names the columns of the others.

    It does if it holds a common name of a column, and does not if it holds a number or a sentence, or a cell built like
    those under it (q1, q2, ...). `in_doubt` is the answer for several columns; a single one then has no name.
    """
    first, others = [cell.strip() for cell in rows[0]], rows[1:]
    if any(cell.lower() in _NAMES for cell in first):
        return True
    if any(len(cell) > _NAME_CHARACTERS or _SENTENCE_END.search(cell) or _NUMBER.fullmatch(cell) for cell in first):
        return False
    columns = [
        [row[place].strip() for row in others if len(row) > place and row[place].strip()] for place in range(len(first))
    ]
    if any(cells and all(map(_NUMBER.fullmatch, cells)) for cells in columns):
        return True
    for cell, cells in zip(first, columns, strict=True):
        if any(map(str.isdigit, cell)) and len(cells) > 1 and {_shape(each) for each in cells} == {_shape(cell)}:
            return False
        if cell and len(others) > 1 and cell in cells:
            return False
    if len(first) > 1:
        return in_doubt
    lengths = sorted(map(len, columns[0]))
    return bool(lengths) and len(first[0]) * 3 <= lengths[0] and len(first[0].split()) <= 2


def column_names(first: Sequence[str]) -> list[str]:
    """A different name for every column: an empty one is named for its place, a second "name" is "name (2)".

    >>> column_names(["name", "", "Name", "name"])
    ['name', 'column 2', 'Name', 'name (2)']
    """
    names: list[str] = []
    seen: Counter[str] = Counter()
    taken = {cell.strip() for cell in first}
    for place, cell in enumerate(first, start=1):
        name = cell.strip() or f"column {place}"
        seen[name] += 1
        while seen[name] > 1 and f"{name} ({seen[name]})" in taken:
            seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def record(value: object, line: int, done: int) -> LoadedDocument:
    """A JSON object or a row of a table. Raises ValueError if it has no text."""
    if not isinstance(value, Mapping):
        raise ValueError("is neither a string nor an object")
    texts = [name for name in TEXT_FIELDS if isinstance(value.get(name), str)]
    name = next((name for name in texts if value[name].strip()), None)
    if name is None:
        raise ValueError(f"has no {'filled ' if texts else ''}string under any of {', '.join(TEXT_FIELDS)}")
    id_name = next((name for name in ID_FIELDS if isinstance(value.get(name), str | int) and value[name] != ""), None)
    given = value.get("metadata")
    used = (name, id_name, "title", *(["metadata"] if isinstance(given, Mapping) else []))
    others = {key: each for key, each in value.items() if key not in used}
    metadata = {**others, **(given if isinstance(given, Mapping) else {})}
    return LoadedDocument(
        value[name],
        key=str(value[id_name]) if id_name else f"line {line}",
        title=str(value.get("title") or ""),
        date=parse_date(metadata.get("date")),
        metadata=metadata,
        line=line,
        done=done,
    )


def _records(
    rows: Iterable[Sequence[str]], sample: Sequence[Sequence[str]], path: Path, report: Report, offset: int
) -> Iterator[LoadedDocument]:
    if not sample:
        raise UnreadableFile(f"{path}: has no rows, not even one with the columns' names")
    filled = [row for row in sample if _is_filled(row)]
    header = bool(filled) and has_header(filled, in_doubt=_is_filled(sample[0]))
    names = column_names(filled[0]) if header else []
    if header and not has_header(filled, in_doubt=False):
        taken = ", ".join(names)
        report(f"{path}: takes the first row ({taken}) for the columns' names; if it is a record, add a row of names")
    count = 0
    for row in rows:
        line = rows.line_num + offset  # type: ignore[attr-defined]  # csv's reader has no public type
        if not _is_filled(row):
            continue
        if header:
            header = False
            continue
        count += 1
        if names and len(row) > len(names):
            names = column_names([*filled[0], *[""] * (len(row) - len(filled[0]))])
        cells = _cells(row, names)
        try:
            yield record(cells, line, 0)
        except ValueError:
            report(f"{path}, line {line}: has nothing but {', '.join(f'{name} {cells[name]!r}' for name in cells)}")
    if not count:
        raise UnreadableFile(f"{path}: has the columns {', '.join(names)}, and no rows under their names")


def _cells(row: Sequence[str], names: Sequence[str]) -> dict[str, object]:
    """The filled cells of a row by their columns' names; its text is all of them but its id where no column is one of
    text, and the cells themselves where the columns have no names."""
    if not names:
        filled = [cell for cell in row if cell.strip()]
        return {"text": "\n".join(filled)}
    known = (*TEXT_FIELDS, *ID_FIELDS, "title", "date")
    cells: dict[str, object] = {}
    for name, cell in zip(names, row, strict=False):
        folded = name.lower() if name.lower() in known and name.lower() not in (*cells, *names) else name
        if cell.strip():
            cells[folded] = cell
    if not cells.keys() & set(TEXT_FIELDS):
        said = [f"{name}: {cell}" for name, cell in cells.items() if name not in ID_FIELDS]
        cells |= {"text": "\n".join(said)} if said else {}
    return cells


def _take_sample(lines: Iterator[str]) -> Iterator[str]:
    size = 0
    for line in islice(lines, _SAMPLE_LINES):
        yield line
        size += len(line)
        if size >= _SAMPLE_CHARACTERS:
            return


def _sampled(sample: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows of the sample that are not blank, but for the last of a long one, which may be cut off."""
    try:
        rows = [row for row in csv.reader(sample, delimiter=delimiter) if len(row) > 1 or _is_filled(row)]
    except csv.Error:
        return []
    long = len(sample) >= _SAMPLE_LINES - 2 or sum(map(len, sample)) >= _SAMPLE_CHARACTERS
    return rows[:-1] if long and len(rows) > 1 else rows


def _is_filled(row: Sequence[str]) -> bool:
    return any(cell.strip() for cell in row)


def _shape(cell: str) -> str:
    """How a cell is built: q12 and q7 alike."""
    return _DIGITS.sub("9", _LETTERS.sub("a", cell))
