"""`finerank calibrate`: judged pairs to a calibration.json, and to a threshold of a wanted precision or recall."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from finerank.cli import options
from finerank.cli.interrupt import told_when_interrupted
from finerank.cli.progress import pairs_progress
from finerank.cli.render import print_json
from finerank.errors import InvalidSetting, UnusablePath
from finerank.io.atomic import check_output, is_standard_output, write_text
from finerank.io.jsonl import to_json
from finerank.scoring.calibration import CALIBRATION_FILE, calibration_json
from finerank.scoring.model_files import EMBEDDED_DIR, ModelFiles

if TYPE_CHECKING:
    from finerank.evaluation.calibrate import Fit, Threshold
    from finerank.evaluation.datasets import JudgedSet
    from finerank.reranker import Reranker


def calibrate(
    data: Annotated[list[Path], typer.Argument(help='BEIR folders, or JSON lines {"query", "passage", "label"}')],
    method: Annotated[
        str, typer.Option(help="the curve from logits to probabilities", metavar="platt|isotonic")
    ] = "platt",
    precision: Annotated[
        float | None, typer.Option(help="find the threshold of this precision", show_default=False)
    ] = None,
    recall: Annotated[float | None, typer.Option(help="find the threshold of this recall", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="which of a set's qrels/ to use")] = "test",
    depth: Annotated[int | None, typer.Option(min=1, help="candidates a query", show_default=False)] = None,
    max_queries: Annotated[int | None, typer.Option(min=1, help="queries a set", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f"the folder for {CALIBRATION_FILE}; unset is the model's own", show_default=False),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="write an HTML report here", show_default=False)] = None,
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
) -> None:
    """Fit what probability a model's logits stand for, on judged DATA, and save it beside the model.

    Say --precision or --recall to get the threshold that reaches it. A candidate that was not judged counts as not
    relevant.
    """
    from finerank.evaluation.calibrate import calibrate, check_goal, judge_pairs

    check_goal(method, precision, recall)
    if report is not None:
        import finerank.evaluation.report  # noqa: F401 - raises MissingExtra, and now rather than after scoring

        _check_report(report)
    if out is not None:
        options.check_out_folder(out)
    load = {
        "revision": revision, "backend": backend, "device": device, "dtype": dtype, "max_length": max_length,
        "batch_tokens": batch_tokens, "threads": threads, "template": template, "long_documents": long_documents,
        "pooling": pooling, "clean": clean, "cache": cache, "threshold": 0.0, "calibration": "off",
    }  # fmt: skip
    options.check_engine(model, **load)
    sets = [judged.limited(max_queries, depth) for path in data for judged in _read(path, split, depth)]
    unfinished = told_when_interrupted("Nothing was written; with --cache FILE the next run keeps its scores")
    with unfinished, options.load_reranker(model, **load) as reranker, pairs_progress("scoring") as progress:
        folder = _prepare(out or _own_folder(reranker.files))
        pairs = judge_pairs(reranker, sets, progress)
        fit = calibrate(pairs, method, precision=precision, recall=recall)
        fitted_on = _fitted_on(reranker, fit)
    _write(folder / CALIBRATION_FILE, to_json(calibration_json(fit.calibration, fitted_on), indent=1) + "\n")
    if report is not None:
        from finerank.evaluation.report import calibration_page

        _write(report, calibration_page(reranker.model, method, fit))
    if as_json or as_jsonl:
        document = fit_json(fit, fitted_on, method, folder / CALIBRATION_FILE)
        print_json(document, [document], as_lines=as_jsonl)
    else:
        beside = report is not None and is_standard_output(report)
        print_fit(Console(stderr=beside), fit, method, folder / CALIBRATION_FILE)


def fit_json(fit: "Fit", fitted_on: dict[str, Any], method: str, path: Path) -> dict[str, Any]:
    """The fit as one JSON object."""
    return {
        "file": str(path),
        **fitted_on,
        "method": method,
        "before": asdict(fit.before),
        "after": asdict(fit.after),
        "threshold": asdict(fit.threshold) if fit.threshold else None,
    }


def print_fit(console: Console, fit: "Fit", method: str, path: Path) -> None:
    """The fit for people."""
    console.print(f"{path}: {method}, fitted on {fit.pairs} pairs of {fit.queries} queries", markup=False)
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    for column in ("on queries it was not fitted on", "calibration error", "Brier score"):
        table.add_column(column, justify="left" if column.startswith("on") else "right")
    for name, quality in (("score, as before", fit.before), ("probability", fit.after)):
        table.add_row(name, f"{quality.calibration_error:.4f}", f"{quality.brier:.4f}")
    console.print(table)
    if fit.threshold is not None:
        print_threshold(console, fit.threshold)


def print_threshold(console: Console, found: "Threshold") -> None:
    """The threshold in full, to be copied, and what it reached."""
    cut = f"keep score >= {found.score!r}, or probability >= {found.probability!r}"
    console.print(f"{found.goal} {found.wanted}: {cut}", soft_wrap=True)
    console.print(f"  reached: precision {found.precision:.4f}, recall {found.recall:.4f}, {found.kept} pairs kept")
    if found.held_out_precision is None or found.held_out_recall is None:
        console.print("  on queries it was not chosen on: unknown, some part of the queries cannot reach it")
        return
    elsewhere = f"precision {found.held_out_precision:.4f}, recall {found.held_out_recall:.4f}"
    console.print(f"  on queries it was not chosen on: {elsewhere}")


def _read(path: Path, split: str, depth: int | None) -> "list[JudgedSet]":
    from finerank.cli.judged import read_sets
    from finerank.evaluation.datasets import read_pairs

    return [read_pairs(path)] if path.is_file() else read_sets([path], split, depth)


def _own_folder(files: ModelFiles | None) -> Path:
    """The model's folder, if it is the user's to write into: an embedded model and the hub's cache are shared."""
    if files is None:
        raise InvalidSetting("this model has no folder; say where the calibration goes with --out FOLDER")
    folder = files.folder.resolve()
    embedded = folder.is_relative_to(EMBEDDED_DIR)
    if embedded or (folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir()):
        where = "inside the installed package" if embedded else "in the cache of downloaded models"
        raise InvalidSetting(
            f"{files.name} lies {where}, which is not written to; say --out FOLDER, and load the model with "
            f"calibration='FOLDER/{CALIBRATION_FILE}'"
        )
    return files.folder


def _prepare(folder: Path) -> Path:
    """The folder, made and found writable before the pairs are scored."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusablePath(f"--out {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise UnusablePath(f"{folder}: cannot be written to; say --out FOLDER")
    try:
        check_output(folder / CALIBRATION_FILE)
    except OSError as error:
        raise UnusablePath(f"{folder / CALIBRATION_FILE}: {error.strerror}") from error
    return folder


def _check_report(report: Path) -> None:
    """Raise what would be wrong with the report's place before the pairs are scored, not after it."""
    try:
        check_output(report)
    except OSError as error:
        raise UnusablePath(f"--report {report}: {error.strerror}; name a file in a folder that exists") from error


def _fitted_on(reranker: "Reranker", fit: "Fit") -> dict[str, Any]:
    """What the fit holds for: another model, precision, template or length has other logits."""
    return {
        "model": reranker.model,
        "precision": reranker.device.precision,
        "max_length": reranker.max_length,
        "template": reranker.settings.template,
        "long_documents": reranker.settings.long_documents,
        "pairs": fit.pairs,
        "relevant": fit.relevant,
        "queries": fit.queries,
    }


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a model must not meet half a calibration."""
    try:
        write_text(path, text)
    except OSError as error:
        raise UnusablePath(f"{path}: {error.strerror}") from error
