"""The options that every command that loads a model takes, and the loading."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from finerank.settings import Options, RagSettings, option_help

if TYPE_CHECKING:
    from finerank.rag.pipeline import Pipeline
    from finerank.reranker import Reranker

Model = Annotated[str | None, typer.Option("--model", "-m", help=option_help("model"), show_default=False)]
Revision = Annotated[str | None, typer.Option(help=option_help("revision"), show_default=False)]
Backend = Annotated[str | None, typer.Option(help=option_help("backend"), show_default=False)]
DeviceName = Annotated[str | None, typer.Option("--device", help=option_help("device"), show_default=False)]
DtypeName = Annotated[str | None, typer.Option("--dtype", help=option_help("dtype"), show_default=False)]
MaxLength = Annotated[int | None, typer.Option(help=option_help("max_length"), show_default=False)]
BatchTokens = Annotated[int | None, typer.Option(help=option_help("batch_tokens"), show_default=False)]
Threads = Annotated[int | None, typer.Option(help=option_help("threads"), show_default=False)]
Template = Annotated[str | None, typer.Option(help=option_help("template"), show_default=False)]
LongDocuments = Annotated[str | None, typer.Option(help=option_help("long_documents"), show_default=False)]
Pooling = Annotated[str | None, typer.Option(help=option_help("pooling"), show_default=False)]
Clean = Annotated[bool | None, typer.Option("--clean", help=option_help("clean"), show_default=False)]
Cache = Annotated[str | None, typer.Option(help=option_help("cache"), show_default=False)]
CacheEntries = Annotated[int | None, typer.Option(help=option_help("cache_entries"), show_default=False)]
ChunkOverlap = Annotated[int | None, typer.Option(help=option_help("chunk_overlap"), show_default=False)]
Deterministic = Annotated[
    bool | None, typer.Option("--deterministic", help=option_help("deterministic"), show_default=False)
]
Effort = Annotated[str | None, typer.Option(help=option_help("effort"), show_default=False)]
FirstModel = Annotated[str | None, typer.Option(help=option_help("first_model"), show_default=False)]
Fallback = Annotated[str | None, typer.Option(help=option_help("fallback"), show_default=False)]
Threshold = Annotated[float | None, typer.Option(help=option_help("threshold"), show_default=False)]
Calibration = Annotated[str | None, typer.Option(help=option_help("calibration"), show_default=False)]
TopN = Annotated[int | None, typer.Option(min=0, help="keep the first N", show_default=False)]
StoreFolder = Annotated[Path, typer.Option("--store", "-s", help="the store's folder", show_default=False)]
Where = Annotated[
    list[str] | None,
    typer.Option(help="lang=zh, year>=2020, date>2024-01-31, source~manual; may be given again", show_default=False),
]


def _rag(name: str, *flags: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*flags, help=option_help(name, RagSettings), show_default=False)
    return option


Mode = Annotated[str | None, _rag("mode")]
Recall = Annotated[int | None, _rag("recall")]
RerankTop = Annotated[int | None, _rag("rerank_top")]
AnswerThreshold = Annotated[float | None, _rag("threshold")]
Gate = Annotated[str | None, _rag("gate")]
Rewrite = Annotated[str | None, _rag("rewrite")]
GeneratorUrl = Annotated[str | None, _rag("generator_url")]
GeneratorModel = Annotated[str | None, _rag("generator_model")]
EmbedderName = Annotated[str | None, _rag("embedder", "--embedder")]
EmbedderModel = Annotated[str | None, _rag("embedder_model")]
PassageTerms = Annotated[int | None, _rag("passage_terms")]
OverlapTerms = Annotated[int | None, _rag("overlap_terms")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
AsJsonLines = Annotated[bool, typer.Option("--jsonl", help="print one JSON object a line")]


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
