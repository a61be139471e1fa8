"""`finerank train`: fine-tune a reranker on your own judged queries."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from finerank.cli import options
from finerank.cli.interrupt import told_when_interrupted
from finerank.cli.render import print_json
from finerank.errors import InvalidInput, InvalidSetting, UnusablePath

if TYPE_CHECKING:
    from finerank.training.examples import Example
    from finerank.training.train import Refresh


def train(
    model: Annotated[str, typer.Argument(help="a reranker or an encoder to start from: hub id or local folder")],
    data: Annotated[list[Path], typer.Argument(help="training examples: files or folders, of any format we read")],
    out: Annotated[Path, typer.Option(help="the run's folder; a run that was cut off there goes on")],
    dev: Annotated[Path | None, typer.Option(help="judged lists to watch; the best checkpoint by them is kept")] = None,
    dev_share: Annotated[float, typer.Option(help="without --dev, the share of DATA held out")] = 0.02,
    config: Annotated[Path | None, typer.Option(help="a TOML file of training options")] = None,
    given: Annotated[list[str] | None, typer.Option("--set", help="one training option, NAME=VALUE")] = None,
    scores: Annotated[Path | None, typer.Option(help="a teacher's scores of DATA, a JSON lines file")] = None,
    refresh: Annotated[
        Path | None,
        typer.Option(help="a corpus to mine new negatives from before every later epoch, by the model as it is then"),
    ] = None,
    encoding: options.Encoding = None,
    as_json: options.AsJson = False,
    as_jsonl: options.AsJsonLines = False,
) -> None:
    """Train MODEL on DATA; writes the model, its card and every figure into the folder --out.

    The guide lists the training options: --set loss=lambda --set learning_rate=1e-5 --set augment.typos=0.1.
    """
    from finerank.training.examples import read_examples, with_teacher_scores
    from finerank.training.run import check_place
    from finerank.training.train import TrainSettings
    from finerank.training.train import train as run

    settings = TrainSettings.of(read_options(config, given or ()))
    _check_share(dev_share)
    options.check_files(dev=dev, scores=scores, refresh=refresh)
    check_place(out, settings)
    examples = [example for path in data for example in read_examples(path)]
    if scores:
        examples = list(with_teacher_scores(examples, scores))
    held_out = list(read_examples(dev)) if dev else _hold_out(examples, dev_share)
    mining, drawn_from = _refresher(refresh) if refresh else (None, "")
    with told_when_interrupted(lambda: how_to_go_on(out)):
        record = run(model, examples, out, dev=held_out, settings=settings, refresh=mining, refresh_from=drawn_from)
    report(record, out, as_json, as_jsonl)


def report(record: Mapping[str, Any], out: Path, as_json: bool, as_jsonl: bool) -> None:
    """Print what a run reached: once, where several processes train together."""
    from finerank.training.run import is_main_process

    if not is_main_process():
        return
    if as_json or as_jsonl:
        print_json(record, [record], as_lines=as_jsonl)
        return
    table = Table("dev lists", "before", "after", box=None)
    for name, value in record["after"].items():
        table.add_row(name, f"{record['before'][name]:.4f}", f"{value:.4f}")
    console = Console()
    console.print(table if record["after"] else "No dev lists: the model was not judged.")
    console.print(
        f"{record['steps']} steps in {record['seconds']:.0f} s; the model is in {out / 'model'}", markup=False
    )


def how_to_go_on(out: Path) -> str:
    """What an interrupted run leaves, and how to go on."""
    from finerank.training.run import last_checkpoint

    last = last_checkpoint(out / "checkpoints")
    if last is None:
        return f"{out} holds no checkpoint yet: the same command begins again"
    return f"The same command goes on from {last}"


def read_options(config: Path | None, given: Iterable[str]) -> dict[str, Any]:
    """The options of a TOML file and of --set, the later over the earlier; augment.typos=0.1 is one of a table's."""
    values = _read_toml(config) if config else {}
    for text in given:
        name, value = parse_setting(text)
        table, dot, key = name.partition(".")
        if dot and not isinstance(values.get(table, {}), Mapping):
            raise InvalidSetting(f"--set {text}: {table} is {values[table]!r}, and no table; give one of the two")
        values[table] = {**values.get(table, {}), key: value} if dot else value
    return values


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UnusablePath(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path}: not readable as TOML: {error}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """`NAME=VALUE`, the value as TOML reads it, or else as text."""
    name, sign, value = text.partition("=")
    if not sign:
        raise InvalidSetting(f"--set {text}: must be NAME=VALUE")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _refresher(corpus: Path) -> "tuple[Refresh, str]":
    """Gives every example new hard negatives: what BM25 finds in the corpus, in the order of the model at that time.
    And a fingerprint of the corpus."""
    from finerank.reranker import Reranker
    from finerank.training.candidates import Bm25, Reranked, read_passages
    from finerank.training.negatives import mine_negatives, only_relevant

    passages = read_passages(corpus)
    found = Bm25(passages)

    def refresh(folder: Path, examples: "Sequence[Example]") -> "Sequence[Example]":
        with Reranker.from_pretrained(folder, effort="full") as now:
            mined = mine_negatives([only_relevant(each) for each in examples], passages, Reranked(found, passages, now))
        return mined.examples

    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage}\0".encode("utf-8", "surrogatepass"))
    return refresh, digest.hexdigest()


def _check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise InvalidSetting(f"--dev-share {share}: must be between 0 and 1")


def _hold_out(examples: "list[Example]", share: float) -> "list[Example]":
    """Take the last `share` of the examples away from them, and return it."""
    _check_share(share)
    count = round(len(examples) * share)
    if count >= len(examples):
        raise InvalidInput("there are too few examples to hold some out; give --dev-share 0")
    held_out = examples[len(examples) - count :]
    del examples[len(examples) - count :]
    return held_out
