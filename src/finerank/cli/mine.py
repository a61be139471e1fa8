"""`finerank mine`: hard negatives for training examples."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from finerank.cli import options
from finerank.cli.interrupt import told_when_interrupted
from finerank.cli.progress import pairs_progress
from finerank.cli.render import print_json
from finerank.errors import InvalidSetting, UnusablePath
from finerank.io.atomic import check_output, is_standard_output
from finerank.ranking import is_blank

FORMATS = ("finerank", "lists", "flagembedding", "triples", "pairs", "dataset", "beir", "trec")
"""The names of `finerank.training.examples.READERS`, which is imported late."""

if TYPE_CHECKING:
    from finerank.reranker import Reranker
    from finerank.training.candidates import CandidateSource
    from finerank.training.examples import Example
    from finerank.training.negatives import Mined


def mine(
    data: Annotated[Path, typer.Argument(help="training examples: a file or a folder")],
    out: Annotated[Path, typer.Option(help="the file to write; .gz and .zst are compressed", show_default=False)],
    corpus: Annotated[
        Path | None,
        typer.Option(help="JSON lines, TSV, a BEIR folder or a folder of text files; default: DATA's own passages"),
    ] = None,
    data_format: Annotated[
        str, typer.Option("--format", help="DATA's format; auto finds out", metavar="|".join(("auto", *FORMATS)))
    ] = "auto",
    embedder: Annotated[
        str | None, typer.Option(help="find candidates by this embedding model rather than by BM25", show_default=False)
    ] = None,
    reranker: Annotated[
        str | None, typer.Option(help="put the candidates in this reranker's order first", show_default=False)
    ] = None,
    ranks: Annotated[str, typer.Option(help="take negatives from these ranks, first-last")] = "1-100",
    negatives: Annotated[int, typer.Option(help="negatives a query")] = 7,
    sample: Annotated[bool, typer.Option("--sample/--top", help="draw them, or take the first")] = True,
    seed: Annotated[int, typer.Option(min=0, help="of the draw")] = 0,
    teacher: Annotated[
        str | None, typer.Option(help="a reranker that finds false negatives and scores all", show_default=False)
    ] = None,
    margin: Annotated[float, typer.Option(help="false: above the lowest positive's logit less this")] = 0.0,
    max_score: Annotated[float, typer.Option(help="false: above this score, 0 to 1")] = 1.0,
    false_negatives: Annotated[
        str, typer.Option(help="drop them, or relabel them with the teacher's score", metavar="drop|relabel")
    ] = "drop",
    encoding: options.Encoding = None,
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
    device: options.DeviceName = None,
    dtype: options.DtypeName = None,
    max_length: options.MaxLength = None,
) -> None:
    """Add hard negatives to the examples in DATA, and write them, with the teacher's logits if there is one.

    Prints how many candidates were dropped, and why.
    """
    from finerank.training.examples import read_examples, write_examples
    from finerank.training.negatives import FalseNegatives, Mining, mine_negatives

    mining = Mining(
        negatives=negatives,
        ranks=parse_ranks(ranks),
        sample=sample,
        seed=seed,
        margin=margin,
        max_score=max_score,
        false_negatives=cast("FalseNegatives", false_negatives),
    )
    if data_format not in ("auto", *FORMATS):
        raise InvalidSetting(f"--format {data_format}: must be one of auto, {', '.join(FORMATS)}")
    _check_out(out, data)
    options.check_files(corpus=corpus)
    settings = {"device": device, "dtype": dtype, "max_length": max_length}
    for name in (reranker, teacher):
        options.check_engine(name, **settings)
    examples = list(read_examples(data, data_format))
    passages = _passages(corpus, examples)
    with ExitStack() as opened:
        opened.enter_context(told_when_interrupted(f"Nothing was written to {out}"))

        def load(model: str | None) -> "Reranker | None":
            return opened.enter_context(options.load_reranker(model, **settings)) if model is not None else None

        judge = load(teacher)
        source = _source(passages, embedder, device, load(reranker))
        progress = opened.enter_context(pairs_progress("mining"))
        mined = mine_negatives(examples, passages, source, mining, teacher=judge, progress=progress)
    try:
        write_examples(out, mined.examples)
    except OSError as error:
        raise InvalidSetting(f"--out {out}: {error.strerror}") from error
    _report(mined, out, as_json, as_jsonl)


def parse_ranks(text: str) -> tuple[int, int]:
    """ "5-100" as (5, 100). Raises `InvalidSetting` if it is not like that."""
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise InvalidSetting(f"--ranks {text}: must be first-last, as in 5-100")
    return int(first), int(last)


def _check_out(out: Path, data: Path) -> None:
    """Raise what would be wrong with the output before the work, not after it."""
    try:
        check_output(out)
    except OSError as error:
        raise UnusablePath(f"--out {out}: must be a file in a folder that exists ({error.strerror})") from error
    if out.exists() and data.exists() and out.samefile(data):
        raise InvalidSetting(f"--out {out}: is the input; name another")


def _passages(corpus: Path | None, examples: Sequence["Example"]) -> list[str]:
    from finerank.training.candidates import read_passages

    if corpus is not None:
        return read_passages(corpus)
    return list(dict.fromkeys(text for example in examples for text in example.passages if not is_blank(text)))


def _source(
    passages: Sequence[str], embedder: str | None, device: str | None, reranker: "Reranker | None"
) -> "CandidateSource":
    from finerank.retrieval.embed import load_embedder
    from finerank.training.candidates import Bm25, Nearest, Reranked

    source = Bm25(passages) if embedder is None else Nearest(passages, load_embedder(embedder, device))
    return source if reranker is None else Reranked(source, passages, reranker)


def _report(mined: "Mined", out: Path, as_json: bool, as_jsonl: bool) -> None:
    figures = {
        "out": str(out),
        "queries": len(mined.examples),
        "mined": mined.mined,
        "short": mined.short,
        "relabelled": mined.relabelled,
        "dropped": mined.dropped,
    }
    if as_json or as_jsonl:
        print_json(figures, [figures], as_lines=as_jsonl)
        return
    beside = is_standard_output(out)  # whose reader wants the examples
    typer.echo(
        f"{out}: {mined.mined} negatives for {len(mined.examples)} queries, {mined.relabelled} of them relabelled",
        err=beside,
    )
    typer.echo(f"  {mined.short} queries got fewer than asked", err=beside)
    for reason, count in sorted(mined.dropped.items()):
        typer.echo(f"  {count} candidates dropped: {reason}", err=beside)
