"""`finerank index`: folders of documents into a store that `search` and `ask` read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from finerank.cli import options
from finerank.cli.interrupt import told_when_interrupted
from finerank.cli.render import print_json
from finerank.errors import InvalidSetting, UnusablePath
from finerank.settings import RagSettings

if TYPE_CHECKING:
    from finerank.retrieval.index import Indexed
    from finerank.retrieval.index import Progress as IndexProgress
    from finerank.text.load import Report


def index(
    docs: Annotated[
        list[Path], typer.Argument(help="files and folders: text, HTML, PDF, Office files, tables, mail ...")
    ],
    store: options.StoreFolder,
    metadata: Annotated[
        list[str] | None, typer.Option(help="name=value, kept with every passage; may be given again")
    ] = None,
    embedder: options.EmbedderName = None,
    embedder_model: options.EmbedderModel = None,
    passage_terms: options.PassageTerms = None,
    overlap_terms: options.OverlapTerms = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="take out what was indexed from DOCS that are missing or empty now")
    ] = False,
    boilerplate: options.Boilerplate = None,
    encoding: options.Encoding = None,
    as_json: options.AsJson = False,
) -> None:
    """Index DOCS into a store, or bring the store up to date: only what changed is read again.

    Stopped or killed, it leaves a store that works, and goes on from there the next time. Exit code 3: some files
    or pages could not be read, or some of DOCS are missing; what was indexed of them stays. Exit code 1: there was
    nothing to index.
    """
    from finerank.rag.open import open_embedder
    from finerank.retrieval.index import Cutting
    from finerank.retrieval.index import index as index_files
    from finerank.retrieval.index import prune as prune_files
    from finerank.system.sandbox import Limits
    from finerank.text.load import ReadOptions
    from finerank.text.ocr import open_ocr

    settings = RagSettings.load(
        embedder=embedder,
        embedder_model=embedder_model,
        passage_terms=passage_terms,
        overlap_terms=overlap_terms,
        boilerplate=boilerplate,
    )
    given = dict(_pair(text) for text in metadata or [])
    options.check_out_folder(store, "--store")
    if not store.is_dir():
        _check_docs(docs, store)
    loaded, made = open_embedder(settings)
    limits = Limits(settings.read_timeout_s, settings.read_memory_mb)
    reading = ReadOptions(limits, open_ocr(settings.ocr, settings.read_timeout_s), settings.boilerplate)
    cutting = Cutting(settings.passage_terms, settings.overlap_terms, reading)
    unfinished = f"What was indexed so far is in {store} and can be searched; the same command goes on"
    with told_when_interrupted(unfinished):
        pruned = prune_files(docs, store) if prune else 0
        there = [path for path in docs if os.path.exists(path)] if prune else docs
        with _progress() as (progress, report):
            done = index_files(
                there, store, loaded, made, metadata=given, cutting=cutting, progress=progress, report=report
            )
    done = replace(done, removed=done.removed + pruned)
    if as_json:
        print_json(asdict(done), [asdict(done)], as_lines=False)
    else:
        Console().print(Text(summary(done, store)), soft_wrap=True)
    if done.skipped or done.unread_pages:
        raise typer.Exit(3)
    if not (done.added or done.changed or done.unchanged or done.removed):
        raise UnusablePath(f"{_names(docs)}: nothing to index there")


def summary(done: "Indexed", store: Path) -> str:
    """What became of the files, in a line or two."""
    parts = [f"{done.added} new", f"{done.changed} changed", f"{done.unchanged} unchanged", f"{done.removed} removed"]
    skipped = f", {done.skipped} skipped" if done.skipped else ""
    unread = f", {done.unread_pages} pages without text" if done.unread_pages else ""
    return (
        f"{', '.join(parts)}{skipped}{unread}; {done.passages} passages written\n"
        f"{store}: {done.total_passages} passages of {done.total_files} files"
    )


def _check_docs(docs: list[Path], store: Path) -> None:
    """Raise `UnusablePath`, before a store is made, if there is nothing to put into it."""
    from finerank.text.load import READERS, find_files

    if next(find_files(docs, lambda _: None, store), None) is None:
        missing = [path for path in docs if not os.path.exists(path)]
        if missing:
            raise UnusablePath(f"{_names(missing)}: no such file or folder; check the path")
        raise UnusablePath(f"{_names(docs)}: nothing to index there; finerank reads {', '.join(READERS)}")


def _names(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidSetting(f"--metadata {text}: must be name=value")
    return name.strip(), value.strip()


@contextmanager
def _progress() -> "Iterator[tuple[IndexProgress, Report]]":
    """A bar over the bytes read, and what reports problems above it."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("indexing"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[passages]} passages"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None, passages=0)
    with bar:
        yield (
            lambda done, total, passages: bar.update(task, completed=done, total=total, passages=passages),
            lambda what: console.print(Text(what, style="yellow"), soft_wrap=True),
        )
