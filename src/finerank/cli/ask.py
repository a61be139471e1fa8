"""`finerank ask`: a question answered from a store, with citations."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.style import Style
from rich.text import Text

from finerank.cli import options
from finerank.cli.render import print_json
from finerank.cli.search import passages_table, print_funnel, shown_path
from finerank.settings import RagSettings

if TYPE_CHECKING:
    from finerank.rag.pipeline import Pipeline
    from finerank.rag.results import Answer, Citation
    from finerank.retrieval.where import Filter

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What passages and generators may hold and a terminal would obey."""


def ask(
    question: Annotated[str, typer.Argument(help="what to answer")],
    store: options.StoreFolder,
    where: options.Where = None,
    mode: options.Mode = None,
    recall: options.Recall = None,
    rerank_top: options.RerankTop = None,
    threshold: options.AnswerThreshold = None,
    gate: options.Gate = None,
    rewrite: options.Rewrite = None,
    generator_url: options.GeneratorUrl = None,
    generator_model: options.GeneratorModel = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="do not answer from the cache")] = False,
    as_json: options.AsJson = False,
    model: options.Model = None,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
    cache: options.Cache = None,
) -> None:
    """Answer QUESTION from a store's passages, citing them as [1].

    With a generator (any OpenAI-compatible endpoint) the answer is written, as it comes; without one it is put
    together from the passages' own sentences.
    """
    from finerank.rag.results import answer_json
    from finerank.retrieval.where import Filter

    settings = RagSettings.load(
        mode=mode, recall=recall, rerank_top=rerank_top, threshold=threshold, gate=gate, rewrite=rewrite,
        generator_url=generator_url, generator_model=generator_model, answer_cache_s=0.0 if fresh else None,
    )  # fmt: skip
    options.check_question(question, "QUESTION", "finerank ask 'QUESTION' --store FOLDER")
    filters = Filter.parse(where or [])
    with options.open_pipeline(store, settings, model, device=device, dtype=dtype, cache=cache) as pipeline:
        if as_json:
            answer = pipeline.ask(question, where=filters)
            print_json(answer_json(answer), [answer_json(answer)], as_lines=False)
        else:
            print_answer(Console(), pipeline, question, filters, settings)


def print_answer(console: Console, pipeline: "Pipeline", question: str, where: "Filter", settings: RagSettings) -> None:
    """The answer as it is written; before it the funnel, after it the sources."""
    from finerank.rag.results import Answer, Search

    for event in pipeline.stream(question, where=where):
        if isinstance(event, Search):
            print_funnel(console, event)
            if event.reranked:
                console.print(passages_table(event, settings.threshold))
            console.print()
        elif isinstance(event, str):
            sys.stdout.write(_CONTROL.sub("", event))
            sys.stdout.flush()
        elif isinstance(event, Answer):
            console.print("\n")
            _print_sources(console, event)


def _print_sources(console: Console, answer: "Answer") -> None:
    for each in answer.citations:
        link = Path(each.source).as_uri() if Path(each.source).is_absolute() else None
        console.print(Text(f"  [{each.number}] {_where(each)}", style=Style(color="cyan", link=link)), soft_wrap=True)
    for note in answer.notes:
        console.print(Text(f"  {note}", style="yellow"), soft_wrap=True)
    console.print(Text(f"  {_how(answer)}  ·  {answer.seconds:.1f} s", style="bright_black"), soft_wrap=True)


def _how(answer: "Answer") -> str:
    kinds = {
        "generated": f"written by {answer.generator}",
        "extractive": "no generator wrote it: sentences of the passages, word for word",
        "unknown": "no passage passed the threshold",
    }
    if answer.search and answer.search.decision.order == "keep":
        kinds["extractive"] += "; no reranker judged them, so they may not answer"
    return kinds[answer.kind] + ("  ·  from the answer cache" if answer.cached else "")


def _where(each: "Citation") -> str:
    parts = [f"{shown_path(each.source)}:{each.start}-{each.end}", each.key, each.heading]
    return ", ".join([part for part in parts if part] + ([f"page {each.page}"] if each.page else []))
