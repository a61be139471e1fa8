"""Flags: every setting that a command takes, with the values it may have."""

from dataclasses import fields

import pytest
from typer.testing import CliRunner

from finerank.cli import build_app
from finerank.cli.mine import FORMATS
from finerank.settings import ServeSettings, Settings
from finerank.training.examples import READERS


def help_of(command: str) -> str:
    result = CliRunner().invoke(build_app(), [command, "--help"], env={"COLUMNS": "250", "TERMINAL_WIDTH": "250"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("command", "flag", "values"),
    [
        ("rank", "--backend", "auto|native|torch|transformers|onnx"),
        ("rank", "--dtype", "auto|fp32|fp16|bf16|int16|int8"),
        ("evaluate", "--effort", "full|fast"),
        ("serve", "--auth", "auto|optional|off"),
        ("serve", "--pooling", "max|first|mean"),
        ("search", "--mode", "hybrid|vector|text"),
        ("ask", "--gate", "auto|rerank|blend|keep"),
        ("calibrate", "--method", "platt|isotonic"),
        ("export", "--precision", "fp32|int8"),
        ("mine", "--false-negatives", "drop|relabel"),
        ("mine", "--format", "auto|finerank|lists|flagembedding|triples|pairs|dataset|beir|trec"),
    ],
)
def test_help_shows_the_values_of_a_flag(command: str, flag: str, values: str) -> None:
    (line,) = [line for line in help_of(command).splitlines() if f"{flag} " in line]
    assert values in line


def test_the_formats_of_mine_are_those_that_are_read() -> None:
    assert set(FORMATS) == set(READERS)


def missing(options: type, command: str) -> list[str]:
    shown = help_of(command)
    return [option.name for option in fields(options) if f"--{option.name.replace('_', '-')} " not in shown]


@pytest.mark.parametrize("command", ["rank", "serve"])
def test_ranking_and_serving_take_every_option_of_the_engine(command: str) -> None:
    assert missing(Settings, command) == []


def test_serving_takes_every_option_of_the_server_but_the_keys_themselves() -> None:
    assert missing(ServeSettings, "serve") == ["api_keys", "admin_keys", "metrics_key"]
