"""A file dropped on the page to candidates, where the page cannot read it itself: its text, in passages."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finerank.errors import InvalidInput, MissingExtra, RequestTooLarge, UnreadableFile
from finerank.messages import Message, message_json
from finerank.system.sandbox import Limits, SandboxError
from finerank.text.isolated import shared_sandbox
from finerank.text.load import READERS
from finerank.text.passages import passages

PASSAGE_TERMS = 150

LIMITS = Limits(timeout_s=30.0, memory_mb=768)
"""What reading one upload may take."""

PROCESSES = 2
"""Uploads read at once; others wait."""


class Uploads:
    """Reads uploads in child processes. `max_bytes`: what the passages of one may have together."""

    def __init__(self, max_bytes: int, limits: Limits = LIMITS) -> None:
        self._max_bytes = max_bytes
        self._limits = limits
        self._free = asyncio.Semaphore(PROCESSES)

    async def read(self, name: str, content: bytes) -> dict[str, list[Any]]:
        """The `passages` of a file of the kind that its name's suffix tells, `notes` on what of it could not be read,
        and the `unread_pages` of a PDF: those without text.

        Raises `InvalidInput` for another kind, and for what is damaged, locked, holds no text, or takes more than the
        limits; `RequestTooLarge` for one with too much text.
        """
        suffix = Path(name).suffix.lower()
        if suffix not in READERS:
            message = "X-Filename: {name!r} is of a kind finerank does not read; it reads {kinds}"
            raise InvalidInput(Message(message, "file.kind", name=name, kinds=", ".join(READERS)))
        await self._free.acquire()
        work = asyncio.get_running_loop().run_in_executor(None, self._read, suffix, content)
        work.add_done_callback(self._release)
        return await asyncio.shield(work)  # the caller may leave before the child is done

    def _release(self, work: asyncio.Future[dict[str, list[Any]]]) -> None:
        self._free.release()
        if not work.cancelled():
            work.exception()  # nobody may be left to ask for it

    def _read(self, suffix: str, content: bytes) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {"passages": [], "notes": [], "unread_pages": []}
        size = 0
        with tempfile.TemporaryDirectory(prefix="finerank-") as folder:
            path = Path(folder) / f"dropped{suffix}"
            path.write_bytes(content)
            try:
                for what, value in shared_sandbox(self._limits).stream(f"{__name__}:file_passages", str(path)):
                    found[what].append(value)
                    size += len(value.encode(errors="replace")) if isinstance(value, str) else 0
                    if size > self._max_bytes:
                        message = "the body: its text has over {limit} bytes; split the file"
                        raise RequestTooLarge(Message(message, "file.long", limit=self._max_bytes))
            except SandboxError as error:
                raise _unreadable(error, path) from error
        found["notes"] = [{"message": note, **message_json(note)} for note in found["notes"]]
        if not found["passages"]:
            message = "the body: holds no text; if it is a scan, recognize its text first, as with ocrmypdf"
            raise InvalidInput(Message(message, "file.no-text"))
        return found


def _unreadable(error: SandboxError, path: Path) -> InvalidInput:
    kind, _, message = str(error).partition(": ")
    if kind == UnreadableFile.__name__:
        return InvalidInput(f"the body: {_without(path, message)}")
    if kind == MissingExtra.__name__:
        return InvalidInput(Message("the body: {why}", "file.extra", why=message))
    form = path.suffix.removeprefix(".").upper()
    return InvalidInput(Message("the body: not readable as {format} ({why})", "file.broken", format=form, why=error))


def _without(path: Path, message: str) -> str:
    return message.removeprefix(str(path)).lstrip(":, ").replace(str(path), path.name)


def file_passages(file: str) -> Iterator[tuple[str, str | int]]:
    """The child's part: passages, notes on what could not be read, and the numbers of a PDF's pages without text."""
    path = Path(file)
    notes: list[str] = []
    for document in READERS[path.suffix](path, notes.append):
        yield from (("unread_pages", page) for page in document.unread_pages)
        for passage in passages(document, PASSAGE_TERMS, 0):
            if text := " ".join(passage.text.split()):
                yield "passages", text
    yield from (("notes", _without(path, note)) for note in notes)
