"""`finerank search`: the passages of a store that answer a question, as recall found and as reranking orders them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finerank.cli import options
from finerank.cli.render import print_json, score_bar
from finerank.settings import RagSettings

if TYPE_CHECKING:
    from finerank.rag.results import FoundPassage, Search
    from finerank.ranking import Document

_BAR = 10


def search(
    question: Annotated[str, typer.Argument(help="what to search for")],
    store: options.StoreFolder,
    where: options.Where = None,
    mode: options.Mode = None,
    recall: options.Recall = None,
    rerank_top: options.RerankTop = None,
    gate: options.Gate = None,
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
    model: options.Model = None,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
    cache: options.Cache = None,
) -> None:
    """Search a store: recall, rerank, rules; the passages with their scores, and where they stood before reranking."""
    from finerank.rag.results import passage_json, search_json
    from finerank.retrieval.where import Filter

    settings = RagSettings.load(mode=mode, recall=recall, rerank_top=rerank_top, gate=gate)
    options.check_question(question, "QUESTION", "finerank search 'QUESTION' --store FOLDER")
    filters = Filter.parse(where or [])
    with options.open_pipeline(store, settings, model, device=device, dtype=dtype, cache=cache) as pipeline:
        found = pipeline.search(question, where=filters)
    if as_json or as_jsonl:
        print_json(search_json(found), [passage_json(each) for each in found.reranked], as_lines=as_jsonl)
    else:
        print_search(Console(), found, settings)


def print_search(console: Console, found: "Search", settings: RagSettings) -> None:
    """The funnel, the passages and what was dropped, for people."""
    print_funnel(console, found)
    if not found.reranked:
        console.print("nothing found")
    else:
        console.print(passages_table(found, settings.threshold))
    dropped = {drop.passage.document.id: drop.reason for drop in found.dropped}
    for each in found.reranked:
        if each.document.id in dropped:
            console.print(Text(f"  {each.rank}: dropped, {dropped[each.document.id]}", style="bright_black"))
        if each.merged:
            others = ", ".join(place(document) for document in each.merged)
            console.print(Text(f"  {each.rank}: merged with {others}", style="bright_black"))


def print_funnel(console: Console, found: "Search") -> None:
    """How it narrowed, which order counts, and what was not as asked."""
    steps = []
    for stage in found.stages:
        count = f"{stage.kept}" if stage.given in (0, stage.kept) else f"{stage.given}→{stage.kept}"
        steps.append(f"{stage.name}{'' if stage.name == 'rewrite' else f' {count}'} ({stage.seconds * 1000:.0f} ms)")
    console.print(Text("  " + "  ·  ".join(steps), style="bright_black"), soft_wrap=True)
    if found.query != found.question:
        console.print(Text(f"  asked as: {found.query}", style="bright_black"))
    style = "bright_black" if found.decision.order == "rerank" else "yellow"
    console.print(Text(f"  order: {found.decision.order}, {found.decision.why}", style=style), soft_wrap=True)
    for note in found.notes:
        console.print(Text(f"  {note}", style="yellow"))


def passages_table(found: "Search", threshold: float) -> Table:
    """One row a passage: its place, where recall had it, its score, its source and text; dropped ones are dim."""
    dropped = {drop.passage.document.id for drop in found.dropped}
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    table.add_column("#", justify="right")
    table.add_column("recall", justify="right")
    table.add_column("score", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("passage", overflow="fold")
    for each in found.reranked:
        good = each.score is None or each.score >= threshold
        dim = "bright_black" if each.document.id in dropped else ""
        text = Text(place(each.document), style="cyan") + Text(f"\n{_snippet(each)}", style=dim)
        table.add_row(
            str(each.rank),
            _moved(each),
            score_bar(each.score, good, _BAR) if each.score is not None else "",
            Text(f"{each.score:.4f}" if each.score is not None else "", style="green" if good else "red"),
            text,
        )
    return table


def place(document: "Document") -> str:
    """Where a passage stands, in words: docs/guide.md:120-480, page 3, Install > Linux."""
    found = document.metadata
    parts = [f"{shown_path(str(found.get('source') or document.id))}:{found.get('start')}-{found.get('end')}"]
    if found.get("key"):
        parts.append(str(found["key"]))
    if found.get("page"):
        parts.append(f"page {found['page']}")
    if found.get("heading"):
        parts.append(str(found["heading"]))
    return ", ".join(parts)


def shown_path(source: str) -> str:
    """A path relative to the working directory, if it lies under it."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else source


def _moved(each: "FoundPassage") -> Text:
    up = each.recall_rank - each.rank
    style = "green" if up > 0 else "red" if up < 0 else "bright_black"
    return Text(f"{each.recall_rank}", style=style)


def _snippet(each: "FoundPassage") -> str:
    text = " ".join(each.document.text.split())
    return text if len(text) <= 160 else text[:157] + "..."
