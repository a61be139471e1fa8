"""`finerank pretrain`: an encoder learns from raw text what goes with what."""

from pathlib import Path
from typing import Annotated

import typer

from finerank.cli import options
from finerank.cli.interrupt import told_when_interrupted
from finerank.cli.train import how_to_go_on, read_options, report


def pretrain(
    model: Annotated[str, typer.Argument(help="an encoder or a reranker to start from: hub id or local folder")],
    texts: Annotated[Path, typer.Argument(help="a folder of .txt, .md and .jsonl files, or one file")],
    out: Annotated[Path, typer.Option(help="the run's folder; a run that was cut off there goes on")],
    config: Annotated[Path | None, typer.Option(help="a TOML file of pretraining and training options")] = None,
    given: Annotated[list[str] | None, typer.Option("--set", help="one option, NAME=VALUE")] = None,
    encoding: options.Encoding = None,
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
) -> None:
    """Pretrain MODEL on TEXTS: on pairs made from them, and on masked words.

    The folder --out is as `finerank train` writes it; train from its model/ on judged queries next.
    """
    from finerank.training.pretrain import PretrainSettings
    from finerank.training.pretrain import pretrain as run
    from finerank.training.run import check_place

    settings = PretrainSettings.of(read_options(config, given or ()))
    check_place(out, settings.train)
    with told_when_interrupted(lambda: how_to_go_on(out)):
        record = run(model, texts, out, settings=settings)
    report(record, out, as_json, as_jsonl)
