"""The options that every command that loads a model takes, and the loading."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from finerank.settings import Options, option_help

if TYPE_CHECKING:
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
Fallback = Annotated[str | None, typer.Option(help=option_help("fallback"), show_default=False)]
Threshold = Annotated[float | None, typer.Option(help=option_help("threshold"), show_default=False)]
Calibration = Annotated[str | None, typer.Option(help=option_help("calibration"), show_default=False)]
TopN = Annotated[int | None, typer.Option(min=0, help="keep the first N", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
AsJsonLines = Annotated[bool, typer.Option("--jsonl", help="print one JSON object a line")]


def load_reranker(model: str | None, **options: object) -> "Reranker":
    """`Reranker.from_pretrained` with the options that were given; the settings fill in the rest."""
    from finerank.reranker import Reranker

    return Reranker.from_pretrained(model, **cast("Options", {k: v for k, v in options.items() if v is not None}))
