"""Uploaded PDFs: read in a child process that a crafted one takes down alone."""

import asyncio
import time
from pathlib import Path

import pytest
from tests.text.pdfs import crafted_pdf, write_pdf

from finerank.errors import InvalidInput, RequestTooLarge
from finerank.serving import upload
from finerank.serving.upload import Uploads
from finerank.system.sandbox import Limits

QUICK = Limits(timeout_s=1.0, memory_mb=256)


def test_passages_and_the_pages_without_text(tmp_path: Path):
    content = write_pdf(tmp_path / "a.pdf", ["Hold the button.", "", "Keep it dry."], scans=[1]).read_bytes()
    found = asyncio.run(Uploads(10**6).read("a.pdf", content))
    assert " ".join(map(str, found["passages"])) == "Hold the button. Keep it dry."
    assert found["unread_pages"] == [2]


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [(Limits(0.5, 4096), "took more than 0.5 s"), (Limits(30, 160), "needs more than 160 MB")],
    ids=["time", "memory"],
)
def test_a_crafted_pdf_is_refused_and_the_loop_stays_free(tmp_path: Path, limits: Limits, complaint: str):
    content = crafted_pdf(tmp_path / "a.pdf").read_bytes()
    sound = write_pdf(tmp_path / "b.pdf", ["Hold the button."]).read_bytes()
    pauses: list[float] = []

    async def beat() -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - started)

    async def main() -> None:
        uploads = Uploads(10**6, limits)
        beating = asyncio.create_task(beat())
        with pytest.raises(InvalidInput, match=f"the body: not readable as PDF .*{complaint}"):
            await uploads.read("a.pdf", content)
        assert (await uploads.read("b.pdf", sound))["passages"] == ["Hold the button."]
        beating.cancel()

    asyncio.run(main())
    assert max(pauses) < 0.4


@pytest.mark.parametrize("content", [b"hello", b"%PDF-1.4 nothing more", b""])
def test_what_is_no_pdf_is_refused(content: bytes):
    with pytest.raises(InvalidInput, match=r"the body: not readable as PDF \(.*\)$"):
        asyncio.run(Uploads(10**6).read("a.pdf", content))


def test_a_pdf_with_too_much_text_is_refused(tmp_path: Path):
    content = write_pdf(tmp_path / "a.pdf", ["Hold the button for ten seconds.\nThen wait."] * 20).read_bytes()
    with pytest.raises(RequestTooLarge, match="over 500 bytes"):
        asyncio.run(Uploads(500).read("a.pdf", content))


def test_a_caller_that_leaves_frees_its_process_only_once_the_child_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upload, "PROCESSES", 1)
    content = crafted_pdf(tmp_path / "a.pdf").read_bytes()
    sound = write_pdf(tmp_path / "b.pdf", ["Hold the button."]).read_bytes()

    async def main() -> None:
        uploads = Uploads(10**6, QUICK)
        first = asyncio.create_task(uploads.read("a.pdf", content))
        await asyncio.sleep(0.1)
        first.cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(uploads.read("b.pdf", sound), 0.2)
        assert (await uploads.read("b.pdf", sound))["passages"] == ["Hold the button."]

    asyncio.run(main())
