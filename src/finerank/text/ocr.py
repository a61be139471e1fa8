"""OCR of pages without text, by a command or a function of yours."""

import base64
import importlib
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from finerank.errors import FinerankError, InvalidSetting
from finerank.system.sandbox import Limits, SandboxError
from finerank.text.document import Report
from finerank.text.isolated import shared_sandbox

Ocr = Callable[[Path], str]
"""Takes a page as a grayscale PNG of 300 dpi, returns its text."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class OcrFailed(FinerankError):
    """OCR of a page ended with an error."""


def open_ocr(setting: str, timeout_s: float) -> Ocr | None:
    """The OCR that the setting `ocr` names: a command with {image} for the image's path, that prints the text, or a
    function as "module:name"; None if it is empty. Raises `InvalidSetting`.
    """
    if not setting:
        return None
    if _FUNCTION.fullmatch(setting):
        return _function(setting)
    try:
        words = shlex.split(setting)
    except ValueError as error:
        raise InvalidSetting(f"ocr={setting!r}: {error}", option="ocr") from error
    if not any("{image}" in word for word in words[1:]):
        raise InvalidSetting(
            f"ocr={setting!r}: must be a command with {{image}}, as tesseract {{image}} -, or module:function",
            option="ocr",
        )
    if shutil.which(words[0]) is None:
        raise InvalidSetting(
            f"ocr={setting!r}: there is no program {words[0]}; install it, or name its path", option="ocr"
        )
    return lambda image: _run(words, image, timeout_s)


def ocr_pages(path: Path, pages: Sequence[int], ocr: Ocr, report: Report, limits: Limits) -> list[tuple[int, str]]:
    """The text of the pages (from 1) that OCR could read, each with its number. Failures are reported."""
    texts = []
    for number in pages:
        with tempfile.TemporaryDirectory(prefix="finerank-ocr-") as folder:
            image = Path(folder) / f"page-{number}.png"
            try:
                (content,) = shared_sandbox(limits).stream("finerank.text.pdf:page_images", str(path), [number])
                image.write_bytes(base64.b64decode(content))
                texts.append((number, ocr(image)))
            except (OcrFailed, SandboxError) as error:
                report(f"{path}, page {number}: OCR failed: {error}")
            except Exception as error:  # noqa: BLE001 - a function of the user's may raise anything
                report(f"{path}, page {number}: OCR failed: {type(error).__name__}: {error}")
    return texts


def _function(setting: str) -> Ocr:
    module, _, name = setting.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidSetting(f"ocr={setting!r}: {error}", option="ocr") from error
    if not callable(function):
        raise InvalidSetting(f"ocr={setting!r}: is not a function", option="ocr")
    return function  # type: ignore[no-any-return]


def _run(words: Sequence[str], image: Path, timeout_s: float) -> str:
    command = [word.replace("{image}", str(image)) for word in words]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise OcrFailed(f"{words[0]} took more than {timeout_s:g} s; raise read_timeout_s") from error
    except OSError as error:
        raise OcrFailed(f"{words[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OcrFailed(f"{words[0]} ended with exit code {done.returncode}{f': {said[-1]}' if said else ''}")
    return done.stdout.decode(errors="replace").replace("\f", "\n")
