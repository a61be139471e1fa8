"""`finerank evaluate` on the default model and small sets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from finerank.cli import build_app
from finerank.errors import FinerankError
from finerank.evaluation.results import read_evaluation


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(("evaluate", "demo")), ["evaluate", *map(str, arguments)])


def test_one_set_as_a_table(write_set) -> None:
    result = run(write_set(), "--measures", "RR@10,nDCG@10")
    assert result.exit_code == 0, result.output
    assert "0.667→1.000" in result.stdout
    for shown in ("manual", "mean of sets", "5 pairs", "pairs/s"):
        assert shown in result.stdout


def test_a_plain_beir_folder_gets_a_first_stage_by_bm25(write_set) -> None:
    result = run(write_set(candidates=None), "--measures", "RR@10", "--depth", 1)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "the first stage is BM25 over 4 documents" in shown
    assert "2 pairs" in shown


def test_a_folder_of_sets_as_json_and_as_a_file_that_is_read_back(write_set, tmp_path: Path) -> None:
    write_set("one"), write_set("two")
    result = run(tmp_path, "--json", "--out", tmp_path / "out")
    document = json.loads(result.stdout)
    assert [found["name"] for found in document["sets"]] == ["one", "two"]
    assert document["model"] == "finerank-mini"
    assert document["overall"][0]["reranked"]["RR@10"] == 1.0
    assert document["cost"]["pairs"] == 10
    saved = read_evaluation(tmp_path / "out/evaluation.json")
    assert [found.name for found in saved.sets] == ["one", "two"]
    assert "reset button" not in (tmp_path / "out/evaluation.json").read_text(encoding="utf-8")


def test_another_run_is_compared_with(write_set, tmp_path: Path) -> None:
    folder, out = write_set(), tmp_path / "out"
    run(folder, "--out", out, "--max-queries", 1)
    saved = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    saved["model"] = "old"
    saved["sets"][0]["queries"][0]["reranked"]["nDCG@10"] = 0.25
    (out / "evaluation.json").write_text(json.dumps(saved), encoding="utf-8")
    first_stage, old = json.loads(run(folder, "--against", out / "evaluation.json", "--json").stdout)["comparisons"]
    assert (first_stage["before"], first_stage["overall"]["queries"]) == ("first stage", 2)
    assert (old["before"], old["overall"]["queries"], old["overall"]["mean"]) == ("old", 1, 0.75)
    shown = " ".join(run(folder, "--against", out / "evaluation.json").stdout.split())
    assert "against old, nDCG@10 all: +0.7500" in shown
    assert "1 queries are in one of the evaluations only" in shown


def test_the_report_and_the_table_say_where_it_got_worse(write_set, tmp_path: Path) -> None:
    """The default model cannot fall behind a perfect first stage, but behind one judged the other way round."""
    qrels = "q1\tdry\t1\nq2\tdry\t1\n"
    result = run(write_set(qrels=qrels), "--out", tmp_path / "out", "--measures", "RR")
    assert "worse by set: manual" in result.stdout
    assert "worse by rank 1 before: right" in result.stdout
    report = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Where it is worse" in report
    assert "reset button" not in report
    run(tmp_path / "manual", "--out", tmp_path / "out", "--measures", "RR", "--with-text")
    assert "reset button" in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_a_comparison_that_is_refused_costs_no_results(write_set, tmp_path: Path) -> None:
    run(write_set("one"), "--out", tmp_path / "old")
    old = tmp_path / "old/evaluation.json"
    result = run(write_set("two"), "--against", old, "--out", tmp_path / "new")
    assert "no query in common" in str(result.exception)
    assert read_evaluation(tmp_path / "new/evaluation.json").sets[0].name == "two"
    result = run(tmp_path / "one", "--against", old, "--measures", "AP@5", "--model", "./no-such-model")
    assert "was not measured in AP@5" in str(result.exception)


def test_json_lines_are_queries(write_set) -> None:
    lines = [json.loads(line) for line in run(write_set(), "--jsonl", "--with-text").stdout.splitlines()]
    assert [(line["set"], line["id"], line["text"]) for line in lines] == [
        ("manual", "q1", "reset button"),
        ("manual", "q2", "green lamp"),
    ]


def test_limits_and_a_run_are_handed_on(write_set, tmp_path: Path) -> None:
    trec = tmp_path / "bm25.run"
    trec.write_text("q1 Q0 dry 1 2.5 t\nq1 Q0 reset 2 1.5 t\n")
    folder = write_set(candidates=None)
    document = json.loads(run(folder, "--run", trec, "--depth", 1, "--max-queries", 1, "--json").stdout)
    (query,) = document["sets"][0]["queries"]
    assert (query["id"], query["candidates"], document["depth"]) == ("q1", 1, 1)


def test_a_threshold_from_outside_drops_no_candidate(write_set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINERANK_THRESHOLD", "1")
    assert json.loads(run(write_set(), "--json").stdout)["overall"][0]["reranked"]["RR@10"] == 1.0


def test_less_effort_is_judged_by_its_first_n(write_set) -> None:
    folder = write_set()
    refused = run(folder, "--effort", "fast", "--model", "./no-such-model")
    assert refused.exit_code == 2
    assert "--top-n" in refused.output
    assert json.loads(run(folder, "--effort", "fast", "--top-n", "1", "--json").stdout)["overall"]


def test_traps_by_language_and_overall() -> None:
    found = json.loads(run("--traps", "--json").stdout)["traps"]
    assert len(found["languages"]) == 12
    assert found["overall"]["traps"] == sum(figure["traps"] for figure in found["languages"].values())
    assert found["overall"]["right"] == sum(figure["right"] for figure in found["languages"].values())
    assert found["overall"]["traps"] - found["overall"]["right"] == len(found["wrong"])
    assert found["languages"]["zh"]["accuracy"] >= 0.75
    assert found["overall"]["accuracy"] >= 0.5


def test_wrong_use_is_refused_before_a_model_is_loaded(write_set, tmp_path: Path) -> None:
    assert run().exit_code == run("--traps", "--against", "x").exit_code == 2
    for arguments, complaint in (
        ((tmp_path / "nowhere",), "is not a judged set"),
        ((write_set("a"), "--measures", "ndcg"), "'ndcg'"),
        ((tmp_path / "a", write_set("b"), "--run", "x"), "one by one"),
        ((tmp_path / "a", "--against", tmp_path / "a/meta.json"), "is not an evaluation"),
        ((tmp_path / "a", "--out", tmp_path / "a/meta.json"), "--out"),
    ):
        result = run(*arguments, "--model", "./no-such-model")
        assert isinstance(result.exception, FinerankError)
        assert complaint in str(result.exception)


def test_without_the_extra_the_message_names_it(write_set) -> None:
    code = (
        "import sys; sys.modules['ir_measures'] = None; "
        f"sys.argv = ['finerank', 'evaluate', {str(write_set())!r}]; from finerank.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'finerank[evaluate]'" in done.stderr


def test_other_commands_do_not_load_what_evaluating_needs() -> None:
    code = (
        "import sys; from finerank.cli import build_app; build_app(); "
        "print({'numpy', 'ir_measures', 'sklearn', 'matplotlib'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ir_measures" not in done.stdout
    assert "sklearn" not in done.stdout
    assert "matplotlib" not in done.stdout
