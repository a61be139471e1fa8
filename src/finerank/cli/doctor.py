"""`finerank doctor`: is this machine, and this model, in order? What is not comes with its remedy."""

import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finerank import __version__
from finerank.cli import options
from finerank.cli.render import print_json
from finerank.errors import FinerankError
from finerank.paths import cache_dir, existing, is_writable
from finerank.scoring.device import Check, Device, check_gpu
from finerank.scoring.families import FAMILIES
from finerank.scoring.model_files import ModelFiles, find_model
from finerank.scoring.processor import check_native, check_threads
from finerank.settings import Settings

_PACKAGES = {
    "tokenizers": "",
    "numpy": "",
    "huggingface-hub": "",
    "onnxruntime": "onnx",
    "torch": "torch",
    "safetensors": "torch",
    "transformers": "transformers",
    "sentencepiece": "sentencepiece",
    "onnx": "export",
}
"""Packages, and the extra that brings each; without one it belongs to the base install."""

_OPTIONAL = ("cpu", "gpu")
"""Sections whose checks may fail: without either, scores are computed all the same."""

_ENGINES = {
    "native": "finerank's own, native",
    "onnx": "ONNX Runtime",
    "torch": "finerank's own, on torch",
    "transformers": "transformers",
}

_COPIES = 1.5
"""Memory that loading takes at its peak, in sizes of the weights."""

_WARM_QUERY = "how do I reset the router's password?"
_WARM_PASSAGES = ["Hold the reset button for ten seconds; the password is then the one on the label."] * 10


def doctor(
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
    model: options.Model = None,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
    checksums: Annotated[bool, typer.Option(help="compute the SHA-256 of the model's files")] = True,
) -> None:
    """Check versions, devices, memory, the model's files, the cache and speed. Exits with 1 if something fails."""
    Settings.load(model=model, device=device, dtype=dtype)
    console = Console()
    sections: dict[str, list[Check]] = {}
    for title, checks in _sections(model, device, dtype, checksums):
        sections[title] = checks
        if not (as_json or as_jsonl):
            console.print(Text(f"\n{title}", style="bold"))
            console.print(checks_table(checks))
    needed = [check for title, checks in sections.items() if title not in _OPTIONAL for check in checks]
    failed = [check for check in needed if not check.passed]
    if as_json or as_jsonl:
        fields = {title: [_fields(check) for check in checks] for title, checks in sections.items()}
        lines = [{"section": title, **line} for title, section in fields.items() for line in section]
        print_json({"ok": not failed, **fields}, lines, as_lines=as_jsonl)
    else:
        console.print(f"\n{len(failed)} problem(s)" if failed else f"\nall is well; {_where(sections)}")
    raise typer.Exit(1 if failed else 0)


def _where(sections: Mapping[str, Sequence[Check]]) -> str:
    return "the GPU is ready" if all(check.passed for check in sections["gpu"]) else "scores are computed on the CPU"


def checks_table(checks: Sequence[Check]) -> Table:
    """One line a check: mark, name, what was found, and what to do about it."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for check in checks:
        mark = Text("✓", style="green") if check.passed else Text("✗", style="red")
        found = Text(check.found, overflow="fold")
        if not check.passed and check.remedy:
            found.append(f"\n→ {check.remedy}", style="yellow")
        table.add_row(mark, Text(check.name, no_wrap=True), found)
    return table


def _sections(
    model: str | None, device: str | None, dtype: str | None, checksums: bool
) -> Iterator[tuple[str, list[Check]]]:
    yield "versions", list(_versions())
    yield "machine", [_memory(), _disk(cache_dir())]
    yield "cpu", [check_native(), check_threads()]
    yield "gpu", list(check_gpu("mps" if platform.system() == "Darwin" else "cuda"))
    yield "model", list(_model(model, device, dtype, checksums))


def _versions() -> Iterator[Check]:
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {_cpus()} CPUs"
    yield Check("python", sys.version_info >= (3, 11), system, "finerank needs Python 3.11 or newer.")
    yield Check("finerank", True, __version__)
    for package, extra in _PACKAGES.items():
        try:
            yield Check(package, True, version(package))
        except PackageNotFoundError:
            found = f"not installed; finerank[{extra}] brings it" if extra else "missing"
            yield Check(package, bool(extra), found, f"pip install {package}")


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory(needed: float = 0.5) -> Check:
    """Whether there are `needed` GiB of free memory."""
    try:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return Check("memory", True, "not known on this system")
    remedy = "Close other programs, or take a smaller or an int8 model."
    return Check("memory", free >= needed, f"{free:.1f} GiB free, {needed:.1f} needed", remedy)


def _disk(folder: Path) -> Check:
    import shutil

    place = existing(folder)
    found = f"{folder}, {shutil.disk_usage(place).free / 2**30:.1f} GiB free"
    return Check(
        "cache folder",
        place.is_dir() and is_writable(place),
        found,
        "Not writable: set FINERANK_CACHE_DIR to a folder that is.",
    )


def _model(model: str | None, device: str | None, dtype: str | None, checksums: bool) -> Iterator[Check]:
    try:
        settings = Settings.load(model=model, device=device, dtype=dtype)
        files = find_model(settings.model, settings.revision, settings.backend, settings.dtype, settings.device)
        for path in (*files.weights, files.tokenizer):
            yield Check(path.name, True, _file(path, checksums))
        yield _memory(0.3 + _COPIES * sum(path.stat().st_size for path in files.weights) / 2**30)
        start = time.perf_counter()
        with options.load_reranker(model, device=device, dtype=dtype, cache="off") as reranker:
            seconds = time.perf_counter() - start
            yield Check("loads", True, f"{reranker!r} in {seconds:.2f} s")
            yield Check("engine", True, f"{_ENGINES[files.backend]}: {_why(files, settings, reranker.device)}")
            if reranker.device.checks and reranker.device.reason:
                yield Check("device", True, f"{reranker.device.name}: {reranker.device.reason}")
            yield Check("score cache", True, settings.cache)
            reranker.rank(_WARM_QUERY, _WARM_PASSAGES[:1])
            start = time.perf_counter()
            distinct = [f"{number} {passage}" for number, passage in enumerate(_WARM_PASSAGES)]
            usage = reranker.rank(_WARM_QUERY, distinct).usage
            milliseconds = (time.perf_counter() - start) * 1000
            yield Check(
                "forward",
                True,
                f"{usage.pairs} pairs of {usage.tokens // usage.pairs} tokens: {milliseconds:.0f} ms",
            )
    except FinerankError as error:
        yield Check("loads", False, f"{type(error).__name__}", str(error))


def _why(files: ModelFiles, settings: Settings, device: Device) -> str:
    """Why this engine runs the model."""
    model_type, native = files.config.get("model_type"), check_native()
    if settings.backend != "auto":
        return f"backend={settings.backend!r} was asked for"
    if files.backend == "native":
        return f"safetensors of the type {model_type}, in {device.precision} on {native.found}"
    if files.backend == "onnx" and not any(files.folder.glob("*.safetensors")):
        return "the model has an ONNX file and no safetensors"
    if model_type not in FAMILIES:
        return f"the native engine does not run the type {model_type}"
    if device.kind != "cpu":
        return f"the model fits on {device.name}"
    if not native.passed:
        return f"native engine: {native.found}"
    return f"dtype={settings.dtype!r} is not for the native engine"


def _file(path: Path, checksums: bool) -> str:
    size = f"{path.stat().st_size / 2**20:.1f} MiB"
    if not checksums:
        return size
    with path.open("rb") as file:
        return f"{size}  sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _fields(check: Check) -> dict[str, object]:
    fields: dict[str, object] = {"name": check.name, "passed": check.passed, "found": check.found}
    return fields if check.passed else {**fields, "remedy": check.remedy}
