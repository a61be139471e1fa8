"""Files and standard input to text: the one reader of every command, in constant memory."""

import gzip
import io
import logging
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, TextIO

from finerank.errors import InvalidInput, MissingExtra
from finerank.io.encodings import Survey, check_encoding, common_name, marked_encoding, repair

logger = logging.getLogger("finerank")

Report = Callable[[str], None]
"""Takes in words what was wrong with a part of a file."""

STANDARD_INPUT = Path("-")
"""The path that means standard input."""

_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
_BLOCK_BYTES = 1 << 20
_PACKED_BYTES = 1 << 14
_NAMED_PLACES = 5
_encoding: ContextVar[str | None] = ContextVar("encoding", default=None)


@contextmanager
def reading_as(encoding: str | None) -> Iterator[None]:
    """Read every text in this encoding, unless a byte order mark says another; None detects each file's.

    Raises `InvalidSetting` if there is no such encoding.
    """
    token = _encoding.set(check_encoding(encoding) if encoding else None)
    try:
        yield
    finally:
        _encoding.reset(token)


def current_encoding() -> str | None:
    """The codec that `reading_as` names."""
    return _encoding.get()


def decode(content: bytes, name: str, report: Report | None = None) -> str:
    """The text of a file's content, its line breaks as \\n.

    A guessed encoding and bytes that do not fit are reported. Raises `UnreadableFile` if it is no text.

    >>> decode("重置按钮".encode("gb18030"), "a.txt", lambda problem: print(problem[:50]))
    a.txt: not UTF-8 (byte 0, line 1); read as gb18030
    '重置按钮'
    """
    text = "".join(TextLines(io.BytesIO(content), name, report))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path, report: Report | None = None) -> str:
    """The text of a file, or of standard input for "-", decompressed if gzip or zstandard wrote it; as `decode`."""
    with open_lines(path, report) as lines:
        return "".join(lines).replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def open_lines(path: Path, report: Report | None = None) -> "Iterator[TextLines]":
    """The lines of a file, or of standard input for "-", as they are needed; as `decode`, and with their own ends.

    Content that gzip or zstandard wrote is decompressed. Raises `InvalidInput` naming what cannot be read.
    """
    name = "standard input" if path == STANDARD_INPUT else str(path)
    try:
        file = standard_input().buffer if path == STANDARD_INPUT else path.open("rb")
    except OSError as error:
        raise InvalidInput(f"{name}: {error.strerror}") from error
    try:
        yield TextLines(file, name, report)
    except _DAMAGED as error:
        raise InvalidInput(f"{name}: is damaged ({error}); compress it again") from error
    finally:
        if path != STANDARD_INPUT:
            file.close()


def standard_input() -> TextIO:
    """Raises `InvalidInput` where it is closed, as under some schedulers."""
    if sys.stdin is None:
        raise InvalidInput("standard input is closed: name files, or give a file with --docs or --batch")
    return sys.stdin


class TextLines:
    """The lines of a binary stream as text, read once. `encoding` is the codec, known once reading has begun.

    A file is read twice: where its first bytes are ASCII, only the last may say what it is. Of a pipe the first line
    that is not ASCII decides.
    """

    def __init__(self, file: IO[bytes], name: str, report: Report | None = None) -> None:
        self.encoding = ""
        self._file = file
        self._name = name
        self._report = report or (lambda problem: logger.warning("%s", problem))
        self._read = 0
        self._bad: list[tuple[int, int]] = []
        self._bad_count = 0
        self._lines = 0

    @property
    def done(self) -> int:
        """Bytes of the file that were read."""
        return self._file.tell() if self._file.seekable() else self._read

    def __iter__(self) -> Iterator[str]:
        buffered: Any = self._file if hasattr(self._file, "peek") else io.BufferedReader(self._file)
        try:
            stream = self._survey(buffered)
            yield from self._wide(stream) if self.encoding.startswith(("utf-16", "utf-32")) else self._narrow(stream)
        finally:
            if buffered is not self._file:
                buffered.detach()  # else its end would close the file
            self._report_bad()

    def _survey(self, file: io.BufferedReader) -> io.BufferedReader:
        """Find the encoding; returns the stream, decompressed, at its beginning."""
        if file.seekable():
            start = file.tell()
            self._choose(_survey_all(_decompressed(file, self._name), self._name))
            file.seek(start)
            return _decompressed(file, self._name)
        stream = _decompressed(file, self._name)
        survey = Survey(self._name)
        head = stream.peek(1)
        if marked_encoding(head) or b"\0" in head or current_encoding():
            survey.feed(head[: len(head) // 4 * 4] or head)  # whole characters of UTF-16 and UTF-32
            self._choose(survey)
            return stream
        survey.feed(head[: head.rfind(b"\n") + 1])
        if survey.bad or survey.escaped:
            self._choose(survey)
        return stream

    def _choose(self, survey: Survey) -> None:
        marked, given = marked_encoding(survey.head), current_encoding()
        if given and not marked:
            self.encoding = given
            return
        self.encoding, guess = survey.verdict()
        if guess:
            name = common_name(self.encoding)
            self._report(
                f"{self._name}: {guess}; read as {name}, which may be wrong: better convert it to UTF-8, or name its "
                "encoding with --encoding"
            )

    def _narrow(self, stream: io.BufferedReader) -> Iterator[str]:
        valid = 0
        for raw in stream:
            codec = self.encoding or "utf-8-sig"
            try:
                text = raw.decode(codec)
            except UnicodeDecodeError:
                if not self.encoding:
                    self._choose_late(raw, valid)
                text = self._repaired(raw)
            if not self.encoding:
                valid += len(raw) - len(text)
                if "\0" in text:
                    self._choose_late(raw, valid)
            self._read += len(raw)
            yield from _split(text) if "\r" in text else (text,)
            self._lines += 1

    def _choose_late(self, raw: bytes, valid: int) -> None:
        """Of a pipe, at its first line that is not UTF-8: to look further could be to wait for ever."""
        survey = Survey(self._name, valid=valid)
        survey.feed(raw)
        self._choose(survey)

    def _repaired(self, raw: bytes) -> str:
        text, places = repair(raw, self.encoding)
        for place in places[: _NAMED_PLACES - len(self._bad)]:
            self._bad.append((self._read + place, self._lines + 1))
        self._bad_count += len(places)
        return text

    def _wide(self, stream: io.BufferedReader) -> Iterator[str]:
        text = io.TextIOWrapper(stream, self.encoding, errors="replace", newline="")
        try:
            for line in text:
                if count := line.count("\ufffd"):
                    self._bad.append((-1, self._lines + 1))
                    self._bad_count += count
                yield line
                self._lines += 1
        finally:
            text.detach()  # else its end would close the stream

    def _report_bad(self) -> None:
        if not self._bad_count:
            return
        places = [f"line {line}" if place < 0 else f"byte {place} (line {line})" for place, line in self._bad]
        shown = ", ".join(places[:_NAMED_PLACES])
        rest = f" and {self._bad_count - _NAMED_PLACES} more" if self._bad_count > _NAMED_PLACES else ""
        what = "1 byte sequence is" if self._bad_count == 1 else f"{self._bad_count} byte sequences are"
        name = common_name(self.encoding or "utf-8").upper()
        self._report(f"{self._name}: {what} not {name} and read as U+FFFD: {shown}{rest}; correct the file")


def _survey_all(stream: io.BufferedReader, name: str) -> Survey:
    survey = Survey(name)
    with suppress(*_DAMAGED):  # what comes before the damage is read, which is then reported where it is
        while block := stream.read(_BLOCK_BYTES):
            survey.feed(block + stream.readline())
    return survey


def _decompressed(file: io.BufferedReader, name: str) -> io.BufferedReader:
    head = file.peek(4)
    if head.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if head.startswith(_ZSTANDARD):
        return io.BufferedReader(_ZstandardStream(file, name))
    return file


class _ZstandardStream(io.RawIOBase):
    """What zstandard compressed, in as many frames as there are. Unlike the library's own reader it raises EOFError
    where the last of them is not whole."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtra(Path(name).name, "train") from error
        self._stream = stream
        self._begin, self._error = zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - what io passes
        while not self._ready and (block := self._stream.read(_PACKED_BYTES)):
            self._unpack(block)
        if not self._ready and self._frame is not None:
            raise EOFError("it ends within a frame")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _unpack(self, block: bytes) -> None:
        while block:
            self._frame = self._frame or self._begin()
            try:
                self._ready += self._frame.decompress(block)
            except self._error as error:
                raise zlib.error(str(error)) from error
            block = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None


def _split(text: str) -> Iterator[str]:
    """At each \\n, \\r\\n and lone \\r, which stay."""
    return iter(io.StringIO(text, newline=""))
