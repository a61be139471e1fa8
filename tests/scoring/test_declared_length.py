import json
import logging
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from finerank import Reranker
from finerank.scoring.declared_length import declared_length
from finerank.scoring.model_files import TRAINED_LENGTH, find_model


@pytest.fixture
def folder(make_model, tmp_path: Path) -> Path:
    """A model for 128 tokens whose files say nothing of a length."""
    path = Path(shutil.copytree(make_model("bert", type_vocab_size=2), tmp_path / "model"))
    (path / "tokenizer_config.json").unlink()
    return path


def write(folder: Path, name: str, **values: object) -> None:
    (folder / name).write_text(json.dumps(values), encoding="utf-8")


def truncate(folder: Path, length: int) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tokenizer_config.json", {"model_max_length": 64}),
        ("tokenizer_config.json", {"model_max_length": 64.0}),
        ("tokenizer_config.json", {"max_len": 64}),
        ("sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False}),
    ],
)
@pytest.mark.parametrize("backend", ["native", "torch", "transformers"])
def test_the_length_that_other_libraries_saved_is_the_default(folder, name, values, backend):
    write(folder, name, **values)
    with Reranker.from_pretrained(folder, backend=backend) as reranker:
        assert reranker.max_length == 64
        assert reranker.rank("reset", ["reset " * 200])[0].truncated


def test_what_tokenizer_json_cuts_at_is_the_default_where_no_file_says_more(folder):
    truncate(folder, 48)
    assert find_model(folder).tuned_length == 48
    write(folder, "tokenizer_config.json", model_max_length=int(1e30))
    assert find_model(folder).tuned_length == 48
    write(folder, "tokenizer_config.json", model_max_length=64)
    assert find_model(folder).tuned_length == 64
    write(folder, "sentence_bert_config.json", max_seq_length=32)
    assert find_model(folder).tuned_length == 32


@pytest.mark.parametrize(
    "length", [1e30, int(1e30), float("inf"), float("nan"), 0, -1, 7, 64.5, "64", None, True, [64]]
)
def test_a_length_that_makes_no_sense_is_ignored(folder, length):
    write(folder, "tokenizer_config.json", model_max_length=length)
    write(folder, "sentence_bert_config.json", max_seq_length=length)
    assert find_model(folder).tuned_length == 128


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '"text"'])
def test_a_file_that_cannot_be_read_says_nothing(folder, content):
    for name in ("tokenizer_config.json", "sentence_bert_config.json"):
        (folder / name).write_text(content, encoding="utf-8")
    assert declared_length(folder, None) is None
    assert find_model(folder).tuned_length == 128


def test_the_shortest_of_training_files_and_positions_is_taken(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write(folder, "tokenizer_config.json", model_max_length=512)
    assert find_model(folder).tuned_length == 128
    write(folder, "config.json", **{**config, TRAINED_LENGTH: 40})
    assert find_model(folder).tuned_length == 40
    write(folder, "tokenizer_config.json", model_max_length=24)
    assert find_model(folder).tuned_length == 24


def test_a_longer_max_length_may_be_asked_for_and_is_told(folder, caplog):
    write(folder, "tokenizer_config.json", model_max_length=64)
    with (
        caplog.at_level(logging.WARNING, logger="finerank"),
        Reranker.from_pretrained(folder, max_length=100) as ranker,
    ):
        assert ranker.max_length == 100
    assert "max_length=100" in caplog.text
    assert "64 tokens" in caplog.text
