"""The options that every command that loads a model takes, and the loading."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from typer.models import OptionInfo

from finerank.errors import InvalidSetting, UnusablePath
from finerank.io.decode import reading_as
from finerank.paths import existing, is_writable
from finerank.settings import Options, RagSettings, ServeSettings, Settings, option_choices, option_help

if TYPE_CHECKING:
    from finerank.rag.pipeline import Pipeline
    from finerank.reranker import Reranker


def flag(name: str, *flags: str, of: type[Settings] | type[ServeSettings] | type[RagSettings] = Settings) -> OptionInfo:
    """A flag for one of the settings: its help, the values it takes if they are fixed, and no default of its own."""
    choices = "|".join(option_choices(name, of)) or None
    option: OptionInfo = typer.Option(*flags, help=option_help(name, of), metavar=choices, show_default=False)
    return option


def _read_as(context: typer.Context, name: str | None) -> str | None:
    """Read text in this encoding for as long as the command runs."""
    try:
        context.with_resource(reading_as(name))
    except InvalidSetting as error:
        raise typer.BadParameter(str(error)) from error
    return name


Model = Annotated[str | None, flag("model", "--model", "-m")]
Revision = Annotated[str | None, flag("revision")]
Backend = Annotated[str | None, flag("backend")]
DeviceName = Annotated[str | None, flag("device", "--device")]
DtypeName = Annotated[str | None, flag("dtype", "--dtype")]
MaxLength = Annotated[int | None, flag("max_length")]
BatchTokens = Annotated[int | None, flag("batch_tokens")]
Threads = Annotated[int | None, flag("threads")]
Template = Annotated[str | None, flag("template")]
LongDocuments = Annotated[str | None, flag("long_documents")]
Pooling = Annotated[str | None, flag("pooling")]
Clean = Annotated[bool | None, flag("clean", "--clean")]
Cache = Annotated[str | None, flag("cache")]
CacheEntries = Annotated[int | None, flag("cache_entries")]
PassageCacheMb = Annotated[int | None, flag("passage_cache_mb")]
ChunkOverlap = Annotated[int | None, flag("chunk_overlap")]
Deterministic = Annotated[bool | None, flag("deterministic", "--deterministic")]
Effort = Annotated[str | None, flag("effort")]
FirstModel = Annotated[str | None, flag("first_model")]
Fallback = Annotated[str | None, flag("fallback")]
Threshold = Annotated[float | None, flag("threshold")]
Calibration = Annotated[str | None, flag("calibration")]
TopN = Annotated[int | None, typer.Option(min=0, help="keep the first N", show_default=False)]
StoreFolder = Annotated[Path, typer.Option("--store", "-s", help="the store's folder", show_default=False)]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="lang=zh, year>=2020, status in (new, old), source~manual; may be given again", show_default=False
    ),
]
Mode = Annotated[str | None, flag("mode", of=RagSettings)]
Recall = Annotated[int | None, flag("recall", of=RagSettings)]
RerankTop = Annotated[int | None, flag("rerank_top", of=RagSettings)]
AnswerThreshold = Annotated[float | None, flag("threshold", of=RagSettings)]
Gate = Annotated[str | None, flag("gate", of=RagSettings)]
Rewrite = Annotated[str | None, flag("rewrite", of=RagSettings)]
GeneratorUrl = Annotated[str | None, flag("generator_url", of=RagSettings)]
GeneratorModel = Annotated[str | None, flag("generator_model", of=RagSettings)]
EmbedderName = Annotated[str | None, flag("embedder", "--embedder", of=RagSettings)]
EmbedderModel = Annotated[str | None, flag("embedder_model", of=RagSettings)]
PassageTerms = Annotated[int | None, flag("passage_terms", of=RagSettings)]
OverlapTerms = Annotated[int | None, flag("overlap_terms", of=RagSettings)]
Boilerplate = Annotated[bool | None, flag("boilerplate", of=RagSettings)]
Encoding = Annotated[
    str | None,
    typer.Option(
        envvar="FINERANK_ENCODING",
        callback=_read_as,
        help="encoding of the text files read, such as gb18030; unset finds out for each",
        metavar="NAME",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
AsJsonLines = Annotated[bool, typer.Option("--jsonl", help="print one JSON object a line")]


def check_engine(model: str | None, **options: object) -> Settings:
    """The settings that `load_reranker` will load with, so that a wrong value is an error before any work."""
    return Settings.load(model=model, **options)


def check_files(**paths: Path | None) -> None:
    """Raise `UnusablePath` if there is nothing at the path of an option, before any work."""
    for name, path in paths.items():
        if path is not None and not os.path.exists(path):
            raise UnusablePath(f"--{name.replace('_', '-')} {path}: no such file or folder; check the path")


def check_out_folder(path: Path, flag: str = "--out") -> None:
    """Raise `UnusablePath` before the work if nothing could be written into a folder, new or not, after it."""
    place = existing(path)
    if not place.is_dir():
        raise UnusablePath(f"{flag} {path}: {place} is a file; name a folder")
    if not is_writable(path):
        raise UnusablePath(f"{flag} {path}: cannot be written to; name another folder")


def check_question(text: str, what: str, example: str) -> None:
    """Raise `InvalidSetting` if a file's name stands where a question should: it was probably left out."""
    if os.path.isfile(text.strip()):
        raise InvalidSetting(
            f"{what} {text!r}: is a file here, not a question; put the question first, as in {example}. If the name is "
            f"the question, write more than the name"
        )


def load_reranker(model: str | None, **options: object) -> "Reranker":
    """`Reranker.from_pretrained` with the options that were given; the settings fill in the rest."""
    from finerank.reranker import Reranker

    return Reranker.from_pretrained(model, **cast("Options", {k: v for k, v in options.items() if v is not None}))


@contextmanager
def open_pipeline(folder: Path, settings: RagSettings, model: str | None, **load: object) -> "Iterator[Pipeline]":
    """The pipeline over a store, with its rerankers; the store is opened first, for it is quick to fail."""
    from finerank.rag.open import open_pipeline
    from finerank.retrieval.store import Store

    Store.open(folder)
    with ExitStack() as opened:
        # The pipeline has its own threshold, and wants to see what is below it.
        reranker = opened.enter_context(load_reranker(model, **{**load, "threshold": 0.0}))
        light = None
        if settings.light_model:
            light = opened.enter_context(load_reranker(settings.light_model, threshold=0.0, effort="full"))
        yield open_pipeline(folder, reranker, settings, model=reranker.model, light=light)
