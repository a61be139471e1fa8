"""`finerank train` and `finerank pretrain`, on a model of two layers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from finerank import FinerankError, InvalidInput, InvalidSetting
from finerank.cli import build_app
from finerank.cli.train import parse_setting, read_options
from finerank.training.examples import Example, write_examples

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:tensorboard")

QUICK = ("--set", "max_steps=2", "--set", "lists_per_step=4", "--set", "evaluate_every=2", "--set", "device=cpu")


@pytest.fixture
def data(tmp_path: Path, make_lists: Callable[..., list[Example]]) -> Path:
    write_examples(tmp_path / "lists.jsonl", make_lists(10))
    return tmp_path / "lists.jsonl"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(("train", "pretrain")), [*map(str, arguments)])


def test_the_report_is_json_on_standard_output(tiny_model: Path, data: Path, tmp_path: Path):
    config = tmp_path / "config.toml"
    config.write_text('loss = "lambda"\nseed = 3\n[augment]\ntypos = 0.1\n')
    out = tmp_path / "out"
    more = ("--config", config, "--set", "seed=4", "--set", "augment.shuffle=0.2", "--dev-share", "0.2", "--json")
    result = run("train", tiny_model, data, "--out", out, *QUICK, *more)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["settings"]["loss"] == "lambda"
    assert record["settings"]["seed"] == 4
    assert (record["settings"]["augment"]["typos"], record["settings"]["augment"]["shuffle"]) == (0.1, 0.2)
    assert record["data"]["examples"] == 8
    assert record["dev"]["examples"] == 2
    assert (out / "model" / "model.safetensors").is_file()


def test_a_table_says_what_the_dev_lists_gained(tiny_model: Path, data: Path, tmp_path: Path):
    scores = tmp_path / "scores.jsonl"
    scores.write_text("[0.5, 0, 0, 0, 0, 0]\n" * 10)
    more = ("--dev", data, "--scores", scores, "--set", "distill=kl")
    result = run("train", tiny_model, data, "--out", tmp_path / "out", *QUICK, *more)
    assert result.exit_code == 0, result.output
    words = result.stdout.split()
    assert words[:4] == ["dev", "lists", "before", "after"]
    assert "nDCG@10" in words
    assert "2 steps in" in result.stdout
    assert "Loading" not in result.output


def test_pretraining_reports_alike(tiny_model: Path, tmp_path: Path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(6):
        (texts / f"{number}.txt").write_text(f"bada belo biru {number}. dada delo {number} diru.\n" * 3)
    more = ("--set", "dev_share=0.0", "--set", "mlm_weight=0.5", "--set", "passage_characters=60")
    result = run("pretrain", tiny_model, texts, "--out", tmp_path / "out", *QUICK, *more)
    assert result.exit_code == 0, result.output
    assert "No dev lists: the model was not judged." in result.stdout
    assert json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["mlm_weight"] == 0.5


def test_negatives_are_mined_anew_between_epochs(tiny_model: Path, data: Path, tmp_path: Path):
    corpus = tmp_path / "corpus.jsonl"
    queries = [json.loads(line)["query"] for line in data.read_text(encoding="utf-8").splitlines()]
    corpus.write_text("".join(json.dumps({"text": f"{query} nowhere"}) + "\n" for query in queries), encoding="utf-8")
    steps = ("--set", "epochs=2", "--set", "lists_per_step=5", "--set", "device=cpu", "--dev-share", "0")
    result = run("train", tiny_model, data, "--out", tmp_path / "out", *steps, "--refresh", corpus)
    assert result.exit_code == 0, result.output
    kept = (tmp_path / "out" / "examples-1.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(kept) == 10
    for example in map(json.loads, kept):
        wrong = [text for text, label in zip(example["passages"], example["labels"], strict=True) if not label]
        assert wrong
        assert all(text.endswith(" nowhere") for text in wrong)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("--set", "loss"), InvalidSetting, "--set loss: must be NAME=VALUE"),
        (("--set", "los=bce"), InvalidSetting, "unknown training option 'los'"),
        (("--config", "none.toml"), InvalidSetting, "none.toml: No such file"),
        (("--dev-share", "1.5"), InvalidSetting, "--dev-share 1.5: must be between 0 and 1"),
        (("--dev-share", "0.99"), InvalidInput, "too few examples"),
    ],
)
def test_what_is_wrong_is_named(data: Path, options: tuple[str, ...], error: type[FinerankError], message: str):
    result = run("train", "nothing", data, "--out", data.parent / "out", *options)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)


def test_a_bad_config_is_named(tmp_path: Path):
    (tmp_path / "bad.toml").write_text("loss = ")
    with pytest.raises(InvalidSetting, match=r"bad\.toml: not readable as TOML"):
        read_options(tmp_path / "bad.toml", [])


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1e-5", 1e-5), ("a=true", True), ("a=lambda", "lambda"), ("a='1'", "1"), ("a=x=y", "x=y")],
)
def test_values_are_read_as_toml_or_as_text(text: str, value: object):
    assert parse_setting(text) == ("a", value)
