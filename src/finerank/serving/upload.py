"""A file dropped on the page to candidates, where the page cannot read it itself: the text of a PDF, in passages."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from finerank.errors import InvalidInput, RequestTooLarge, UnreadableFile
from finerank.system.sandbox import Limits, SandboxError
from finerank.text.isolated import shared_sandbox
from finerank.text.passages import passages
from finerank.text.pdf import read_pdf

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

    async def read_pdf(self, content: bytes) -> dict[str, list[str] | list[int]]:
        """The `passages` of a PDF, and its `unread_pages`: those without text.

        Raises `InvalidInput` for what is no PDF, is locked, holds no text, or takes more than the limits;
        `RequestTooLarge` for one with too much text.
        """
        await self._free.acquire()
        work = asyncio.get_running_loop().run_in_executor(None, self._read, content)
        work.add_done_callback(self._release)
        return await asyncio.shield(work)  # the caller may leave before the child is done

    def _release(self, work: asyncio.Future[dict[str, list[str] | list[int]]]) -> None:
        self._free.release()
        if not work.cancelled():
            work.exception()  # nobody may be left to ask for it

    def _read(self, content: bytes) -> dict[str, list[str] | list[int]]:
        found: list[str] = []
        unread: list[int] = []
        size = 0
        with tempfile.TemporaryDirectory(prefix="finerank-") as folder:
            path = Path(folder) / "dropped.pdf"
            path.write_bytes(content)
            try:
                for part in shared_sandbox(self._limits).stream(f"{__name__}:pdf_passages", str(path)):
                    if isinstance(part, list):
                        unread = part
                        continue
                    found.append(part)
                    size += len(part.encode(errors="replace"))
                    if size > self._max_bytes:
                        raise RequestTooLarge(f"the body: its text has over {self._max_bytes} bytes; split the file")
            except SandboxError as error:
                kind, _, said = str(error).partition(": ")
                known = kind == UnreadableFile.__name__
                said = said.removeprefix(f"{path}: ") if known else f"not readable as PDF ({error})"
                raise InvalidInput(f"the body: {said}") from error
        return {"passages": found, "unread_pages": unread}


def pdf_passages(file: str) -> Iterator[str | tuple[int, ...]]:
    """The child's part: the pages of a PDF without text, then the passages."""
    (document,) = read_pdf(Path(file), report=lambda _: None)
    if not document.text:
        raise UnreadableFile("holds no text; if it is a scan, recognize its text first, as with ocrmypdf")
    yield document.unread_pages
    for passage in passages(document, PASSAGE_TERMS, 0):
        yield " ".join(passage.text.split())
