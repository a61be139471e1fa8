"""`finerank rank`: one query against files, JSON lines or standard input; or a whole file of requests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from finerank.cli import options
from finerank.cli.candidates import read_candidates
from finerank.cli.progress import pairs_progress
from finerank.cli.render import print_json, print_usage, ranking_json, ranking_table, result_json
from finerank.errors import UnusablePath

if TYPE_CHECKING:
    from finerank.explain import Explanation, Piece
    from finerank.ranking import RankedDocument, Ranking
    from finerank.reranker import Reranker

GOOD = 0.5
"""The score from which a bar is green when no threshold is given."""


def rank(
    query: Annotated[str | None, typer.Argument(help="the question; left out with --batch")] = None,
    files: Annotated[list[Path] | None, typer.Argument(help="text files, one candidate each")] = None,
    docs: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines: strings, or objects with text or content, id, title, metadata; - is standard input"
        ),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(help='rank every line {"query", "documents"} of this file; - is standard input'),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="with --batch: where the rankings go; a run that died goes on")
    ] = None,
    top_n: options.TopN = None,
    threshold: options.Threshold = None,
    calibration: options.Calibration = None,
    explain: Annotated[bool, typer.Option(help="show the sentence and words that decided each score")] = False,
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
    template: options.Template = None,
    long_documents: options.LongDocuments = None,
    pooling: options.Pooling = None,
    clean: options.Clean = None,
    cache: options.Cache = None,
    cache_entries: options.CacheEntries = None,
    passage_cache_mb: options.PassageCacheMb = None,
    chunk_overlap: options.ChunkOverlap = None,
    deterministic: options.Deterministic = None,
    fallback: options.Fallback = None,
    effort: options.Effort = None,
    first_model: options.FirstModel = None,
) -> None:
    """Put documents in order of how well they answer QUERY.

    Candidates come from FILES, from --docs, or from standard input, one a line. The table shows every candidate, green
    from the threshold up and red under it; --json and --jsonl leave out what is under it.
    """
    if (query is None) == (batch is None):
        raise typer.BadParameter("give a QUERY, or --batch FILE, and not both")
    if batch is not None and (docs is not None or explain or as_json):
        raise typer.BadParameter("--batch writes JSON lines; --docs, --explain and --json do not go with it")
    if out is not None and batch is None:
        raise typer.BadParameter("--out goes with --batch; redirect standard output instead")
    if out is not None and out.is_dir():
        raise UnusablePath(f"--out {out}: is a folder; name a file, such as {out / 'rankings.jsonl'}")
    if query is not None:
        options.check_question(
            query, "QUERY", "finerank rank 'QUESTION' " + " ".join(map(str, [query, *(files or [])]))
        )
    options.check_files(batch=batch if str(batch) != "-" else None)
    load = {
        "revision": revision, "backend": backend, "device": device, "dtype": dtype, "max_length": max_length,
        "batch_tokens": batch_tokens, "threads": threads, "template": template, "long_documents": long_documents,
        "pooling": pooling, "clean": clean, "cache": cache, "fallback": fallback, "threshold": threshold,
        "cache_entries": cache_entries, "chunk_overlap": chunk_overlap, "deterministic": deterministic,
        "calibration": calibration, "effort": effort, "first_model": first_model, "passage_cache_mb": passage_cache_mb,
    }  # fmt: skip
    options.check_engine(model, **load)
    documents = read_candidates(files or [], docs) if query is not None else []
    with options.load_reranker(model, **load) as reranker:
        if batch is not None:
            from finerank.cli.batch import rank_batch

            raise typer.Exit(rank_batch(reranker, batch, out, top_n))
        assert query is not None
        machine = as_json or as_jsonl
        with pairs_progress("scoring") as progress:
            keep_all = None if machine else 0.0
            ranking = reranker.rank(query, documents, top_n=top_n, threshold=keep_all, progress=progress)
        explanations = [reranker.explain(query, result.document) for result in ranking] if explain else []
        if machine:
            print_machine(ranking, explanations, as_lines=as_jsonl)
        else:
            print_table(reranker, ranking, explanations)


def print_table(reranker: "Reranker", ranking: "Ranking", explanations: "list[Explanation]") -> None:
    """The ranking for people."""
    console = Console()
    good = GOOD if reranker.settings.threshold is None else reranker.settings.threshold
    console.print(ranking_table(ranking, good))
    for result, explanation in zip(ranking, explanations, strict=False):
        print_explanation(console, result, explanation)
    print_usage(console, ranking, f"{reranker.model} on {reranker.device.name} ({reranker.device.precision})")
    if reranker.device.checks and reranker.device.reason:
        console.print(Text(f"  not on the GPU: {reranker.device.reason}", style="bright_black"))


def print_explanation(console: Console, result: "RankedDocument", explanation: "Explanation") -> None:
    """The sentence that carries most, its words shaded by what they carry, and the faithfulness figure."""
    best = explanation.best_sentence
    line = Text(f"{result.rank:>3} ", style="bold")
    line.append(f"{best.drop:+.2f} ", style="magenta")
    start, end = best.span
    strongest = max((word.drop for word in explanation.words), default=0.0)
    shaded = Text(result.document.text[start:end])  # spans lie in the original, where `clean` left text out
    for word in explanation.words:
        if strongest > 0 and word.drop > 0.25 * strongest:
            style = "bold green" if word.drop > 0.6 * strongest else "green"
            shaded.stylize(style, word.span[0] - start, word.span[1] - start)
    console.print(line + shaded)
    if explanation.random_drop is not None:
        note = f"      without it the logit drops {explanation.top_drop:.2f}; without another sentence "
        console.print(Text(note + f"{explanation.random_drop:.2f} on average", style="bright_black"))


def explanation_json(explanation: "Explanation") -> dict[str, object]:
    """An explanation as JSON fields."""

    def pieces(items: "tuple[Piece, ...]") -> list[dict[str, object]]:
        return [{"text": piece.text, "span": list(piece.span), "drop": piece.drop} for piece in items]

    return {
        "sentences": pieces(explanation.sentences),
        "words": pieces(explanation.words),
        "faithfulness": {"top_drop": explanation.top_drop, "random_drop": explanation.random_drop},
    }


def print_machine(ranking: "Ranking", explanations: "list[Explanation]", *, as_lines: bool) -> None:
    """The ranking as JSON; explanations, if any, inside the results they explain."""
    document = ranking_json(ranking)
    results = [result_json(result) for result in ranking]
    for fields, explanation in zip(results, explanations, strict=False):
        fields["explanation"] = explanation_json(explanation)
    print_json({**document, "results": results}, results, as_lines=as_lines)
