"""`finerank demo`: a reranker at work, as a person would try one."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from finerank.cli import options
from finerank.cli.doctor import checks_table
from finerank.cli.render import print_json, print_usage, ranking_table, score_bar
from finerank.evaluation.keyword_traps import KeywordTrap, load_traps
from finerank.settings import DEFAULT_MODEL_LANGUAGES
from finerank.text.terms import bm25

if TYPE_CHECKING:
    from finerank.reranker import Reranker

FIRST_QUERY = "how do I make my laptop's battery last longer?"
FIRST_PASSAGES = (
    "Our shop sells laptop batteries from 49 euros, and last year's laptops are discounted for longer.",
    "To get more hours out of a laptop battery, turn down the screen brightness and close the programs you do not "
    "use. Power saving mode helps too.",
    "The longest laptop on record was a prototype with two screens side by side.",
    "Lithium cells were first sold to consumers in 1991.",
)

_TRAP_BAR = 12


def demo(
    lang: Annotated[
        str, typer.Option(help="zh, en, ja, ko, fr, es, de, ru, ar, pt, vi or th")
    ] = DEFAULT_MODEL_LANGUAGES[0],
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
    model: options.Model = None,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
) -> None:
    """See a reranker at work: load it, rank once, then try it on keyword traps against word overlap (BM25)."""
    console = Console(quiet=as_json or as_jsonl)
    traps = load_traps(lang)
    start = time.perf_counter()
    with options.load_reranker(model, device=device, dtype=dtype) as reranker:
        console.print(Rule("1  the model", align="left"))
        loaded_s = time.perf_counter() - start
        where = f"{reranker.device.name}, {reranker.device.precision}"
        console.print(f"{reranker.model} loaded in {loaded_s:.2f} s on {where}", markup=False)
        if reranker.device.reason:
            console.print(Text(reranker.device.reason, style="bright_black"))
        if reranker.device.checks:
            console.print(checks_table(reranker.device.checks))
        ranking = reranker.rank(FIRST_QUERY, FIRST_PASSAGES, threshold=0.0)
        console.print(Text(f"\n{FIRST_QUERY}", style="bold"))
        console.print(ranking_table(ranking, 0.5))
        print_usage(console, ranking, reranker.model)
        console.print(Rule("\n2  keyword traps", align="left"))
        outcomes = [try_trap(reranker, trap, console) for trap in traps]
        _print_summary(console, outcomes, reranker.model)
    if as_json or as_jsonl:
        results = _results(traps, outcomes)
        print_json({"lang": lang, "model": reranker.model, "traps": results}, results, as_lines=as_jsonl)


def try_trap(reranker: "Reranker", trap: KeywordTrap, console: Console) -> tuple[bool, bool]:
    """Rank one trap both ways and show it; returns whether word overlap, and the model, put the answer first."""
    passages = trap.passages
    answer = passages.index(trap.answer)
    start = time.perf_counter()
    overlap = bm25(trap.query, passages)
    overlap_ms = (time.perf_counter() - start) * 1000
    by_overlap = sorted(range(len(passages)), key=lambda index: -overlap[index])
    ranking = reranker.rank(trap.query, passages, threshold=0.0)
    model_ms = ranking.usage.seconds["total"] * 1000
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim", expand=True)
    table.add_column("#", justify="right")
    table.add_column(f"word overlap, BM25 ({overlap_ms:.1f} ms)", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("", width=_TRAP_BAR, no_wrap=True)
    table.add_column(f"{reranker.model} ({model_ms:.0f} ms)", ratio=3, no_wrap=True, overflow="ellipsis")
    for rank, (index, result) in enumerate(zip(by_overlap, ranking, strict=True), start=1):
        table.add_row(
            str(rank),
            _marked(passages[index], index == answer),
            score_bar(result.score, result.index == answer, _TRAP_BAR),
            _marked(f"{result.score:.3f}  {result.document.text}", result.index == answer),
        )
    console.print(Text(f"\n{trap.query}", style="bold"))
    console.print(table)
    decided = reranker.explain(trap.query, ranking[0].document).best_sentence
    console.print(Text("   decided by: ", style="bright_black") + Text(decided.text, style="italic"))
    return by_overlap[0] == answer, ranking[0].index == answer


def _marked(text: str, answer: bool) -> Text:
    return Text(("✓ " if answer else "  ") + text, style="green" if answer else "", overflow="ellipsis", no_wrap=True)


def _print_summary(console: Console, outcomes: list[tuple[bool, bool]], model: str) -> None:
    overlap, right = (sum(column) for column in zip(*outcomes, strict=True))
    console.print(Rule(align="left"))
    console.print(f"answer first: word overlap {overlap} of {len(outcomes)}, {model} {right} of {len(outcomes)}")


def _results(traps: list[KeywordTrap], outcomes: list[tuple[bool, bool]]) -> list[dict[str, object]]:
    return [
        {"name": trap.name, "query": trap.query, "bm25_right": overlap, "model_right": right}
        for trap, (overlap, right) in zip(traps, outcomes, strict=True)
    ]
