"""`finerank export`: a model as ONNX."""

from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from finerank.cli import options
from finerank.cli.interrupt import told_when_interrupted
from finerank.cli.render import print_json


def export(
    model: Annotated[str, typer.Argument(help="hub id or local folder with safetensors")],
    out: Annotated[Path, typer.Argument(help="a new folder")],
    precision: Annotated[str, typer.Option(help="of the weights", metavar="fp32|int8")] = "fp32",
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
) -> None:
    """Write MODEL as ONNX into OUT, and hold it to its source on real text in 12 languages.

    Prints the largest logit difference and Kendall's tau; fails, and writes nothing, if they are out of bounds.
    """
    from finerank.training.export import Precision, export

    unfinished = told_when_interrupted("Nothing was written")
    with unfinished, Console(stderr=True).status(f"exporting {model} in {precision} and comparing"):
        parity = export(model, out, cast("Precision", precision))
    figures = {
        "model": model,
        "out": str(out),
        "precision": precision,
        "pairs": parity.pairs,
        "logit_difference": parity.logit_difference,
        "logit_spread": parity.logit_spread,
        "kendall_tau": parity.kendall_tau,
    }
    if as_json or as_jsonl:
        print_json(figures, [figures], as_lines=as_jsonl)
        return
    typer.echo(f"{out}: {model} as ONNX in {precision}")
    typer.echo(f"  on {parity.pairs} pairs: logits differ by at most {parity.logit_difference:.2g}", nl=False)
    typer.echo(f" of a spread of {parity.logit_spread:.2g}; Kendall's tau {parity.kendall_tau:.4f}")
