"""`finerank demo`, `doctor` and `export`, on the default model and tiny ones."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from finerank.cli import COMMANDS, build_app
from finerank.evaluation.keyword_traps import load_traps, trap_languages
from finerank.scoring.processor import check_native
from finerank.text.terms import bm25


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), list(arguments))


def test_help_names_every_command():
    assert all(command in run("--help").output for command in COMMANDS)


def test_the_demo_shows_the_model_a_ranking_and_traps():
    result = run("demo")
    assert result.exit_code == 0, result.output
    for shown in ("loaded in", "cpu", "█", "BM25", "decided by", "answer first"):
        assert shown in result.output


def test_the_demo_counts_as_its_json_does():
    outcome = json.loads(run("demo", "--json").output)
    assert outcome["lang"] == "en"
    assert len(outcome["traps"]) == len(load_traps("en"))
    assert [json.loads(line) for line in run("demo", "--jsonl").output.splitlines()] == outcome["traps"]
    chinese = json.loads(run("demo", "--json", "--lang", "zh").output)["traps"]
    right = sum(trap["model_right"] for trap in chinese)
    assert right >= 0.75 * len(chinese), "a real reranker reads past most traps"


def test_the_demo_refuses_a_language_it_has_not():
    assert run("demo", "--lang", "tlh").exception is not None


def test_bm25_is_as_by_hand():
    # two passages of two words; "a" stands in one: idf = ln(1 + 1.5/1.5) = ln 2, tf part = 2.5 / (1 + 1.5) = 1
    assert bm25("a", ["a b", "c d"]) == pytest.approx([0.6931, 0.0], abs=1e-4)
    assert bm25("首都", ["北京是首都", "上海"])[0] > 0


@pytest.mark.parametrize("language", ["ar", "de", "en", "es", "fr", "ja", "ko", "pt", "ru", "th", "vi", "zh"])
def test_word_overlap_mostly_fails_on_the_traps(language: str):
    traps = load_traps(language)
    assert len(traps) >= 6
    assert all(len(trap.traps) >= 3 and trap.passages.count(trap.answer) == 1 for trap in traps)
    right = 0
    for trap in traps:
        scores = bm25(trap.query, trap.passages)
        right += scores.index(max(scores)) == trap.passages.index(trap.answer)
    assert right <= len(traps) / 3


def test_the_chinese_classics_are_there():
    assert trap_languages() == ["ar", "de", "en", "es", "fr", "ja", "ko", "pt", "ru", "th", "vi", "zh"]
    queries = {trap.query for trap in load_traps("zh")}
    assert queries >= {
        "苹果公司最新发布的手机型号",
        "中国的首都是哪里",
        "苹果手机充电口坏了换一个要多少钱",
        "特斯拉Model Y冬季续航",
        "如何重置路由器管理员密码",
    }


def test_the_doctor_finds_the_default_model_well():
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["ok"]
    by_name = {check["name"]: check for title in ("versions", "machine", "model") for check in report[title]}
    assert "sha256" in by_name["model_int8.safetensors"]["found"]
    assert by_name["forward"]["found"].startswith("10 pairs")
    expected = (
        "finerank's own, native: safetensors of the type bert, in int16" if check_native().passed else "ONNX Runtime"
    )
    assert by_name["engine"]["found"].startswith(expected)
    assert [check["name"] for check in report["cpu"]] == ["native engine", "threads"]
    assert report["gpu"][0]["name"] == "GPU driver"
    assert "all is well" in run("doctor").output
    lines = [json.loads(line) for line in run("doctor", "--jsonl").output.splitlines()]
    assert {line["section"] for line in lines} == {"versions", "machine", "cpu", "gpu", "model"}


def test_the_doctor_says_what_is_wrong_and_the_remedy(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    result = run("doctor", "--model", str(tmp_path), "--json")
    assert result.exit_code == 1
    (failed,) = [check for check in json.loads(result.output)["model"] if not check["passed"]]
    assert failed["found"] == "BrokenModel"
    assert "download" in failed["remedy"]
    assert "1 problem" in run("doctor", "--model", str(tmp_path)).output


@pytest.mark.skipif(not check_native().passed, reason=check_native().found)
@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ([], "finerank's own, native: safetensors of the type bert, in int16 on "),
        (["--dtype", "bf16"], "finerank's own, on torch: dtype='bf16' is not for the native engine"),
    ],
)
def test_the_doctor_names_the_engine_and_why(make_model: Callable[..., Path], options: list[str], engine: str):
    result = run("doctor", "--json", "--device", "cpu", "--model", str(make_model("bert")), *options)
    (found,) = [check["found"] for check in json.loads(result.output)["model"] if check["name"] == "engine"]
    assert found.startswith(engine)


def test_export_prints_its_parity(make_model: Callable[..., Path], tmp_path: Path):
    result = run("export", str(make_model("bert")), str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    parity = json.loads(result.stdout)
    assert parity["kendall_tau"] > 0.999
    assert (tmp_path / "out/model.onnx").is_file()
