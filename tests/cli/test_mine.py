"""`finerank mine`, with BM25, a tiny embedder's double and tiny rerankers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from finerank import FinerankError
from finerank.cli import build_app
from finerank.cli.mine import parse_ranks
from finerank.training.examples import read_examples

ROWS = [
    {"query": "how to reset the router", "pos": ["Hold the reset button."]},
    {"query": "重置路由器", "pos": ["按住按钮十秒。"]},
]
CORPUS = ["The router is black.", "Reset your password here.", "路由器有黑白两色。", "重置密码", "Unrelated words."]


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lines(tmp_path / "data.jsonl", ROWS)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return lines(tmp_path / "corpus.jsonl", [{"text": text} for text in CORPUS])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(("mine", "rank")), ["mine", *map(str, arguments)])


def test_negatives_by_shared_terms(tmp_path: Path, data: Path, corpus: Path):
    out = tmp_path / "mined.jsonl.gz"
    result = run(data, "--corpus", corpus, "--out", out, "--negatives", "2", "--json")
    assert result.exit_code == 0, result.output
    english, chinese = read_examples(out)
    assert english.passages[0] == "Hold the reset button."
    assert set(english.passages[1:]) == set(CORPUS[:2])
    assert set(chinese.passages[1:]) == set(CORPUS[2:4])
    report = json.loads(result.output)
    assert report == {"out": str(out), "queries": 2, "mined": 4, "short": 0, "relabelled": 0, "dropped": {}}


def test_the_corpus_is_the_data_itself_unless_given(tmp_path: Path):
    rows = [{"query": "reset", "pos": ["reset a"]}, {"query": "reset it", "pos": ["reset b"]}]
    out = tmp_path / "mined.jsonl"
    result = run(lines(tmp_path / "d.jsonl", rows), "--out", out)
    assert [example.passages for example in read_examples(out)] == [("reset a", "reset b"), ("reset b", "reset a")]
    assert "2 candidates dropped: own passage" in result.output
    assert "2 queries got fewer" in result.output


def test_a_teacher_scores_all_and_a_reranker_orders(
    tmp_path: Path, data: Path, corpus: Path, make_model: Callable[..., Path]
):
    out, model = tmp_path / "mined.jsonl", make_model("bert")
    result = run(
        data, "--corpus", corpus, "--out", out, "--teacher", model, "--reranker", model, "--negatives", 2, "--top",
        "--margin", "-100", "--max-score", "1", "--device", "cpu", "--max-length", 64,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for example in read_examples(out):
        assert example.teacher is not None
        assert len(example.teacher) == len(example.passages) == 3
        assert example.teacher[1] >= example.teacher[2], "the reranker put them in this order"


def test_the_embedder_is_used(tmp_path: Path, data: Path, corpus: Path):
    result = run(data, "--corpus", corpus, "--out", tmp_path / "x", "--embedder", tmp_path / "none")
    assert isinstance(result.exception, FinerankError)
    assert "embedder" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranks", "5"], "first-last"),
        (["--ranks", "5-1"], "ranks"),
        (["--false-negatives", "keep"], "drop or relabel"),
        (["--format", "parquet"], "parquet"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, data: Path, options: list[str], message: str):
    result = run(data, "--out", tmp_path / "x", *options)
    assert isinstance(result.exception, FinerankError)
    assert message in str(result.exception)
    assert not (tmp_path / "x").exists()


def test_the_output_is_checked_before_the_work(tmp_path: Path, data: Path):
    before = data.read_bytes()
    for out, message in ((data, "is the input"), (tmp_path, "folder that exists"), (tmp_path / "none/x", "exists")):
        result = run(data, "--out", out)
        assert message in str(result.exception)
    assert data.read_bytes() == before


def test_ranks_are_first_and_last():
    assert parse_ranks("5-100") == (5, 100)
