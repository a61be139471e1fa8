"""`finerank evaluate`: judged sets to measures, first stage against reranked, and what reranking cost."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finerank.cli import options
from finerank.cli.interrupt import told_when_interrupted
from finerank.cli.progress import pairs_progress
from finerank.cli.render import print_json
from finerank.errors import UnusablePath
from finerank.evaluation.keyword_traps import TrapOutcome, load_traps, trap_accuracy, trap_languages, try_traps
from finerank.io.atomic import check_output, write_text
from finerank.io.jsonl import to_json

if TYPE_CHECKING:
    from finerank.evaluation.compare import Comparison, Difference
    from finerank.evaluation.datasets import JudgedSet
    from finerank.evaluation.results import Averages, Cost, Evaluation

_RESULT, _REPORT = "evaluation.json", "report.html"

_SURE = 0.05
"""The p-value under which a difference is coloured."""

_WORST_SLICES = 8

STORE_MEASURES = ("nDCG@10", "RR@10", "R@5")
"""What is measured over a store: five passages go into a prompt."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a run of the command found; the comparisons are with the first stage, and with --against."""

    evaluation: "Evaluation"
    comparisons: "tuple[Comparison, ...]" = ()
    outcomes: tuple[TrapOutcome, ...] = ()


def evaluate(
    sets: Annotated[list[Path] | None, typer.Argument(help="BEIR folders, or folders that hold some")] = None,
    store: Annotated[
        Path | None, typer.Option(help="judge recall from this store, with --queries and --qrels", show_default=False)
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help='with --store: JSON lines {"_id", "text", "lang"?}', show_default=False)
    ] = None,
    run: Annotated[Path | None, typer.Option(help="the first stage as a TREC run, for one set")] = None,
    qrels: Annotated[Path | None, typer.Option(help="judgements, BEIR's or TREC's, for one set or a store")] = None,
    split: Annotated[str, typer.Option(help="which of a set's qrels/ to use")] = "test",
    depth: Annotated[int | None, typer.Option(min=1, help="candidates a query", show_default=False)] = None,
    max_queries: Annotated[int | None, typer.Option(min=1, help="queries a set", show_default=False)] = None,
    seed: Annotated[
        int | None, typer.Option(help="draw --max-queries at random; unset takes the first", show_default=False)
    ] = None,
    measures: Annotated[
        str | None, typer.Option(help="such as nDCG@10,RR@10,AP,R@50; the first is compared", show_default=False)
    ] = None,
    traps: Annotated[bool, typer.Option("--traps", help="try the keyword traps too")] = False,
    against: Annotated[Path | None, typer.Option(help=f"compare with the {_RESULT} of another run")] = None,
    out: Annotated[Path | None, typer.Option(help=f"write {_RESULT} and {_REPORT} into this folder")] = None,
    with_text: Annotated[bool, typer.Option("--with-text", help="keep the queries' text in what is written")] = False,
    encoding: options.Encoding = None,
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
    model: options.Model = None,
    revision: options.Revision = None,
    backend: options.Backend = None,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
    max_length: options.MaxLength = None,
    batch_tokens: options.BatchTokens = None,
    threads: options.Threads = None,
    effort: options.Effort = None,
    first_model: options.FirstModel = None,
    top_n: options.TopN = None,
    template: options.Template = None,
    long_documents: options.LongDocuments = None,
    pooling: options.Pooling = None,
    clean: options.Clean = None,
    cache: options.Cache = None,
) -> None:
    """Measure a model on judged SETS: nDCG@10 and others, before and after reranking.

    Candidates are ranked as the first stage gave them; a relevant document it did not find is not put in. With --store
    the first stage is its recall, and what is found is kept there: `search` and `ask` then rerank where that helps.
    """
    if store is not None and (sets or run or not (queries and qrels)):
        raise typer.BadParameter("--store goes with --queries and --qrels, and without SETS")
    if store is None and not sets and (against or not traps):
        raise typer.BadParameter("name SETS; --traps alone goes without")
    from finerank.evaluation.compare import check_measured, compare_evaluations, compare_with_first_stage
    from finerank.evaluation.evaluate import evaluate
    from finerank.evaluation.measures import MEASURES, check_measures
    from finerank.evaluation.results import read_evaluation

    usual = STORE_MEASURES if store is not None else MEASURES
    names = check_measures([name.strip() for name in measures.split(",")] if measures else usual)
    load = {
        "revision": revision, "backend": backend, "device": device, "dtype": dtype, "max_length": max_length,
        "batch_tokens": batch_tokens, "threads": threads, "template": template, "long_documents": long_documents,
        "pooling": pooling, "clean": clean, "cache": cache, "threshold": 0.0,
        "effort": effort, "first_model": first_model,
    }  # fmt: skip
    if options.check_engine(model, **load).effort == "fast" and top_n is None:
        raise typer.BadParameter("effort=fast makes a difference where the first N are asked for: give --top-n")
    options.check_files(store=store, queries=queries)
    if out is not None:
        options.check_out_folder(out)
    other = read_evaluation(against) if against is not None else None
    if other is not None:
        check_measured(other, names[0])
    if store is not None and queries is not None and qrels is not None:
        judged = _judge_store(store, queries, qrels, depth)
    else:
        from finerank.cli.judged import read_sets

        judged = read_sets(sets or [], split, depth, run, qrels)
    if out is not None:
        _prepare(out)
    unfinished = told_when_interrupted("Nothing was written; with --cache FILE the next run keeps its scores")
    with unfinished, options.load_reranker(model, **load) as reranker, pairs_progress("reranking") as progress:
        limits = {"depth": depth, "max_queries": max_queries, "seed": seed, "top_n": top_n}
        found = evaluate(reranker, judged, measures=names, with_text=with_text, progress=progress, **limits)
        every = [trap for language in trap_languages() for trap in load_traps(language)] if traps else []
        outcomes = tuple(try_traps(reranker, every))
        found = replace(found, model=reranker.model)
    if store is not None:
        _keep_evidence(store, found, judged)
    findings = Findings(found, (compare_with_first_stage(found),) if found.sets else (), outcomes)
    if out is not None:
        _write(out, findings)  # before a comparison that may be refused
    if other is not None:
        named = replace(other, model=str(against)) if other.model == found.model else other
        findings = replace(findings, comparisons=(*findings.comparisons, compare_evaluations(named, found)))
        if out is not None:
            _write(out, findings)
    if as_json or as_jsonl:
        document = findings_json(findings)
        print_json(document, query_lines(document), as_lines=as_jsonl)
    else:
        print_findings(Console(), findings)


def findings_json(findings: Findings) -> dict[str, Any]:
    """Everything found, as one JSON object; `--against` reads it."""
    from finerank.evaluation.compare import comparison_json
    from finerank.evaluation.results import evaluation_json

    document = evaluation_json(findings.evaluation)
    document["comparisons"] = [comparison_json(comparison) for comparison in findings.comparisons]
    if findings.outcomes:
        document["traps"] = traps_json(findings.outcomes)
    return document


def query_lines(document: dict[str, Any]) -> list[dict[str, Any]]:
    """One object a query, for --jsonl."""
    return [{"set": result["name"], **query} for result in document["sets"] for query in result["queries"]]


def traps_json(outcomes: Sequence[TrapOutcome]) -> dict[str, Any]:
    """How often the passage that answers came first, by language and overall, and where it did not."""
    figures = {name: {**asdict(f), "accuracy": f.accuracy} for name, f in trap_accuracy(outcomes).items()}
    return {
        "overall": figures.pop("overall"),
        "languages": figures,
        "wrong": [{"language": o.language, "name": o.name} for o in outcomes if not o.right],
    }


def print_findings(console: Console, findings: Findings) -> None:
    """The findings for people."""
    evaluation = findings.evaluation
    if evaluation.sets:
        console.print(averages_table("set", evaluation.by_set(), evaluation.measures))
        rows = [*evaluation.by_language(), *evaluation.overall()]
        console.print(averages_table("language", rows, evaluation.measures))
        for result in evaluation.sets:
            for note in result.notes:
                console.print(Text(f"  {result.name}: {note}", style="yellow"))
    for comparison in findings.comparisons:
        print_comparison(console, comparison)
    if findings.outcomes:
        console.print(traps_table(findings.outcomes))
    if evaluation.sets:
        print_cost(console, evaluation.model, evaluation.cost)


def print_comparison(console: Console, comparison: "Comparison") -> None:
    """The difference and how sure it is; then the slices that fell, the worst first."""
    console.print(Text(f"\n{comparison.after} against {comparison.before}, {comparison.measure}", style="bold"))
    console.print(_difference("  all", comparison.overall))
    for name, found in comparison.languages.items():
        if found.mean < 0:
            console.print(_difference(f"  {name}", found))
    fell = sorted((part for part in comparison.slices if part.mean < 0), key=lambda part: part.mean)
    for part in fell[:_WORST_SLICES]:
        worst = ", ".join(f"{change.id} {change.delta:+.2f}" for change in part.worst[:3])
        line = f"  worse by {part.by}: {part.name} {part.mean:+.4f}, {part.hurt} of {part.queries} queries fell"
        console.print(Text(line, style="red") + Text(f" ({worst})", style="bright_black"))
    for note in comparison.notes:
        console.print(Text(f"  {note}", style="yellow"))


def averages_table(what: str, rows: "Sequence[Averages]", measures: Sequence[str]) -> Table:
    """One row a set or language: each measure before and after, green where it rose and red where it fell."""
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    table.add_column(what, overflow="fold")
    table.add_column("queries", justify="right")
    for name in measures:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = [_change(row.first_stage[name], row.reranked[name]) for name in measures]
        table.add_row(Text(row.name), str(row.queries), *cells)
    return table


def print_cost(console: Console, model: str, cost: "Cost") -> None:
    """One grey line: pairs, tokens, time, speed."""
    parts = [model, f"{cost.pairs} pairs", f"{cost.tokens} tokens", f"{cost.seconds:.1f} s"]
    parts.append(f"{cost.pairs_per_s:.1f} pairs/s")
    if cost.truncated:
        parts.append(f"{cost.truncated} truncated")
    if cost.cached:
        parts.append(f"{cost.cached} cached")
    console.print(Text("  " + "  ·  ".join(parts), style="bright_black"))


def traps_table(outcomes: Sequence[TrapOutcome]) -> Table:
    """How often the answer came first, a row a language."""
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    table.add_column("keyword traps")
    table.add_column("answer first", justify="right")
    for name, figure in trap_accuracy(outcomes).items():
        table.add_row(name, f"{figure.right} of {figure.traps}")
    return table


def _judge_store(store: Path, queries: Path, qrels: Path, depth: int | None) -> "list[JudgedSet]":
    from finerank.rag.judge import judged_sets
    from finerank.rag.open import open_retriever
    from finerank.settings import RagSettings

    settings = RagSettings.load()
    with pairs_progress("searching") as progress:
        return judged_sets(open_retriever(store, settings), queries, qrels, depth or settings.recall, progress)


def _keep_evidence(store: Path, found: "Evaluation", judged: "list[JudgedSet]") -> None:
    from finerank.rag.gate import write_evidence
    from finerank.rag.judge import evidence

    write_evidence(store, evidence(found, judged))


def _difference(name: str, found: "Difference") -> Text:
    sure = found.p_value < _SURE
    text = Text(f"{name}: ")
    text.append(f"{found.mean:+.4f}", style=("green" if found.mean > 0 else "red") if sure else "")
    text.append(f", 95% interval {found.low:+.4f} to {found.high:+.4f}, p = {found.p_value:.4f}; ")
    return text.append(f"{found.helped} of {found.queries} queries better, {found.hurt} worse")


def _change(before: float, after: float) -> Text:
    style = "green" if after > before else "red" if after < before else ""
    return Text(f"{before:.3f}→{after:.3f}", style=style)


def _prepare(out: Path) -> None:
    """What writing needs, before hours of scoring: the library that draws, and a folder."""
    import finerank.evaluation.report  # noqa: F401 - raises MissingExtra

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (_RESULT, _REPORT):
            check_output(out / name)
    except OSError as error:
        raise UnusablePath(f"--out {out}: {error.strerror}") from error


def _write(out: Path, findings: Findings) -> None:
    from finerank.evaluation.report import evaluation_page

    document = to_json(findings_json(findings), indent=1) + "\n"
    page = evaluation_page(findings.evaluation, findings.comparisons, findings.outcomes)
    try:
        write_text(out / _RESULT, document)
        write_text(out / _REPORT, page)
    except OSError as error:
        raise UnusablePath(f"--out {out}: {error.strerror}") from error
