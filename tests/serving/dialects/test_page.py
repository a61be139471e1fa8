"""docs/api.md says what is so."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from finerank.serving.dialects import DIALECTS, ROUTES
from finerank.serving.dialects.models import GET_ROUTES
from finerank.serving.request import Problem
from finerank.settings import ServeSettings

PAGE = (Path(__file__).parents[3] / "docs/api.md").read_text(encoding="utf-8")
NAMES = {
    "finerank": "native",
    "all at once": "superset",
    "Cohere": "cohere",
    "Jina": "jina",
    "Voyage": "voyage",
    "TEI": "tei",
    "infinity": "infinity",
    "vLLM": "vllm",
    "llama.cpp": "llamacpp",
    "Xinference": "xinference",
    "NVIDIA": "nvidia",
    "Mixedbread": "mixedbread",
    "Ollama": "ollama",
}
KINDS = ("invalid", "unauthorized", "too_large", "overloaded", "failed", "unavailable", "timeout")


def rows(section: str) -> list[list[str]]:
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_path_is_on_the_page():
    missing = [path for path in ROUTES if f"`{path}`" not in PAGE]
    assert missing == []
    unprefixed = [path for path in GET_ROUTES if path in ("/info", "/models", "/v1/models")]
    assert all(f"`{path}`" in PAGE or f"`GET {path}`" in PAGE for path in unprefixed)


def test_every_dialect_that_can_be_forced_is_on_the_page():
    forced = set(DIALECTS) - {"llamacpp_texts"}  # llamacpp chooses it by the body
    assert {name for name in forced if f"`{name}`" not in PAGE.partition("## finerank's own API")[0]} == set()


def test_the_limits_are_the_settings_defaults():
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows("Limits") if row[0].startswith("`")}
    defaults = {option.name: str(option.default) for option in fields(ServeSettings)}
    assert len(shown) > 5
    assert shown == {name: defaults[name] for name in shown}


@pytest.mark.parametrize(("shown", "name"), NAMES.items())
def test_the_statuses_are_those_of_the_dialect(shown, name):
    (row,) = [row for row in rows("Errors") if row[0] == shown]
    statuses = [DIALECTS[name].render_error(Problem(kind, "what went wrong"))[0] for kind in KINDS]
    assert [int(re.match(r"\d+", cell)[0]) for cell in row[-len(KINDS) :]] == statuses
