"""JSON lines: the one reader and writer of every command, and JSON that is valid in any locale."""

import gzip
import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from finerank.errors import InvalidInput, MissingExtra
from finerank.io.atomic import as_text, open_binary_output
from finerank.io.decode import Report, open_lines


def read_lines(path: Path, report: Report | None = None) -> Iterator[tuple[int, str]]:
    """Every line that is not blank with its number, without its end; "-" is standard input. See `open_lines`."""
    with open_lines(path, report) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def read_values(path: Path, report: Report | None = None) -> Iterator[tuple[int, Any]]:
    """Every JSON value with the number of its line. Raises `InvalidInput` naming file and line of what is none."""
    for number, line in read_lines(path, report):
        yield number, parse_json(line, f"{path}, line {number}")


def read_objects(path: Path, report: Report | None = None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Every JSON object with the number of its line. Raises `InvalidInput` naming file and line of what is none."""
    for number, value in read_values(path, report):
        if not isinstance(value, dict):
            raise InvalidInput(f"{path}, line {number}: is not a JSON object; each line must be one")
        yield number, value


def parse_json(text: str, place: str) -> Any:  # noqa: ANN401 - whatever stands there
    """The value of a JSON text. Raises `InvalidInput` that begins with the place."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{place}: not readable as JSON: {error}") from error


def to_json(value: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON as the standard has it: a float that is NaN or infinite is null.

    >>> to_json({"score": float("nan"), "text": "重置"})
    '{"score": null, "text": "重置"}'
    """
    try:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=ascii_only, indent=indent, allow_nan=False)


def is_unicode(stream: TextIO) -> bool:
    """Whether a stream takes every character; to another, JSON is written in ASCII with escapes."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")
    return encoding.startswith("utf") or encoding == "cp65001"


@contextmanager
def open_json_lines(path: Path) -> Iterator[TextIO]:
    """A file of JSON lines to write, compressed if its name ends in .gz or .zst; see `open_output`.

    Raises `MissingExtra` for .zst without zstandard, before anything is changed.
    """
    compressor = _zstandard(path) if path.suffix == ".zst" else None
    with ExitStack() as opened:
        file = opened.enter_context(open_binary_output(path))
        if path.suffix == ".gz":
            file = cast("io.BufferedWriter", opened.enter_context(gzip.GzipFile(path.stem, "wb", fileobj=file)))
        elif compressor is not None:
            file = opened.enter_context(compressor.stream_writer(file, closefd=False))
        yield opened.enter_context(as_text(file))


def _zstandard(path: Path) -> Any:  # noqa: ANN401 - zstandard is untyped
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtra(path.name, "train") from error
    return zstandard.ZstdCompressor()


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
