"""What every command reads and writes: text in any encoding, and output that may be more than a file."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from finerank.cli import build_app
from finerank.errors import InvalidSetting

CHINESE = "要重置路由器的管理员密码，请按住机身背面的重置按钮十秒钟。"
QUERY = "如何重置路由器"


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(build_app((words[0], "config")), words, input=stdin)


def rank(*arguments: object, stdin: bytes | None = None) -> tuple[list[str], str]:
    result = run("rank", QUERY, *arguments, "--jsonl", stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return [json.loads(line)["text"] for line in result.stdout.splitlines()], result.stderr


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        (QUERY, CHINESE, 1),
        (QUERY, "香蕉是黄色的。", 0),
        ("香蕉是什么颜色", "香蕉是黄色的。", 1),
        ("香蕉是什么颜色", CHINESE, 0),
    ]
    lines = [json.dumps(dict(zip(("query", "passage", "label"), row, strict=True)), ensure_ascii=False) for row in rows]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(("\n".join(lines) + "\n").encode("gb18030"))
    return path


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-be", "utf-8-sig"])
def test_candidates_from_everywhere_are_read_alike(tmp_path: Path, encoding: str):
    (tmp_path / "a.txt").write_bytes(CHINESE.encode(encoding))
    (tmp_path / "a.jsonl").write_bytes(f'"plain"\n"{CHINESE}"\n'.encode(encoding))
    for found, told in (
        rank(tmp_path / "a.txt"),
        rank("--docs", tmp_path / "a.jsonl"),
        rank("--docs", "-", stdin=(tmp_path / "a.jsonl").read_bytes()),
        rank(stdin=f"plain\n{CHINESE}\n".encode(encoding)),
    ):
        assert CHINESE in found
        assert ("better convert it" in told) == (encoding in ("gb18030", "utf-16-be"))


def test_an_encoding_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.txt"
    path.write_bytes("支払期限".encode("euc_jp"))  # which is as good Chinese
    assert rank(path, "--encoding", "euc_jp") == (["支払期限"], "")
    monkeypatch.setenv("FINERANK_ENCODING", "euc_jp")
    assert rank(path) == (["支払期限"], "")
    refused = run("rank", QUERY, path, "--encoding", "utf-9")
    assert refused.exit_code == 2
    assert "no such encoding" in refused.output


def test_a_bad_byte_among_utf8_is_told_by_its_place(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes((f"{CHINESE}\n" * 50).encode() + b"\xff\n")
    [text], told = rank(path)
    assert text.startswith(f"{CHINESE}\n" * 50)
    assert "line 51" in " ".join(told.split())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-16", "utf-8"])
@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_json_is_valid_whatever_the_locale(tmp_path: Path, encoding: str, form: str):
    document = {"text": "café 😀 重置", "id": "é", "metadata": {"note": float("inf")}}
    (tmp_path / "docs.jsonl").write_text(json.dumps(document) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "finerank", "rank", QUERY, "--docs", str(tmp_path / "docs.jsonl"), form]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    completed = subprocess.run(command, capture_output=True, env=environment, check=True)
    found = json.loads(completed.stdout.decode(encoding), parse_constant=pytest.fail)
    best = found["results"][0] if form == "--json" else found
    assert (best["text"], best["id"], best["metadata"]) == ("café 😀 重置", "é", {"note": None})


def read_fifo(path: Path, write: Callable[[], Result]) -> tuple[str, Result]:
    os.mkfifo(path)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(path.read_text(encoding="utf-8")))
    reader.start()
    result = write()
    reader.join(timeout=20)
    assert stat.S_ISFIFO(path.stat().st_mode)
    return found[0], result


def test_mine_reads_any_encoding_and_writes_to_what_is_there(tmp_path: Path, pairs: Path):
    written, result = read_fifo(tmp_path / "fifo", lambda: run("mine", pairs, "--out", tmp_path / "fifo"))
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["query"] for line in written.splitlines()] == [QUERY, "香蕉是什么颜色"]
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/mined.jsonl")
    assert run("mine", pairs, "--out", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/mined.jsonl").read_text(encoding="utf-8") == written
    locked = tmp_path / "locked"
    locked.write_text("old", encoding="utf-8")
    locked.chmod(0o444)
    assert "may not be written to" in str(run("mine", pairs, "--out", locked).exception)
    assert locked.read_text(encoding="utf-8") == "old"


def test_mine_to_standard_output_prints_nothing_else_there(pairs: Path):
    command = [sys.executable, "-W", "ignore", "-m", "finerank", "mine", str(pairs), "--out", "/dev/stdout"]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [json.loads(line)["labels"][0] for line in completed.stdout.splitlines()] == [1.0, 1.0]
    assert "negatives for 2 queries" in completed.stderr


def test_calibrate_reads_any_encoding_and_writes_to_what_is_there(tmp_path: Path, pairs: Path):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "real.json").write_text("old", encoding="utf-8")
    (tmp_path / "real.json").chmod(0o600)
    (out / "calibration.json").symlink_to(tmp_path / "real.json")
    report = tmp_path / "fifo"
    written, result = read_fifo(report, lambda: run("calibrate", pairs, "--out", out, "--report", report))
    assert result.exit_code == 0, result.output
    assert written.lstrip().lower().startswith("<!doctype html>")
    assert (out / "calibration.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text(encoding="utf-8"))["method"] == "platt"
    assert stat.S_IMODE((tmp_path / "real.json").stat().st_mode) == 0o600
    (tmp_path / "real.json").chmod(0o444)
    assert "may not be written to" in str(run("calibrate", pairs, "--out", out).exception)


def test_evaluate_reads_any_encoding_and_follows_links(write_set, tmp_path: Path):
    folder = write_set()
    for path in folder.rglob("*.jsonl"):
        path.write_bytes(path.read_text(encoding="utf-8").replace("reset", "重置按钮").encode("gb18030"))
    for path in folder.rglob("*.tsv"):
        path.write_text(path.read_text(encoding="utf-8").replace("reset", "重置按钮"), encoding="utf-16")
    out = tmp_path / "out"
    out.mkdir()
    (out / "evaluation.json").symlink_to(tmp_path / "real.json")
    result = run("evaluate", folder, "--out", out, "--with-text", "--encoding", "gb18030")
    assert result.exit_code == 0, (result.output, result.exception)
    assert (out / "evaluation.json").is_symlink()
    assert "重置按钮" in (tmp_path / "real.json").read_text(encoding="utf-8")


def test_index_reads_files_again_in_another_encoding(tmp_path: Path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_bytes("支払期限は三十日です".encode("euc_jp"))
    for encoding, kept in (("gb18030", (1, 0, 0)), ("euc_jp", (0, 1, 0)), ("euc_jp", (0, 0, 1))):
        result = run("index", docs, "--store", tmp_path / "kb", "--encoding", encoding, "--json")
        found = json.loads(result.stdout)
        assert (found["added"], found["changed"], found["unchanged"]) == kept


def test_train_goes_on_with_the_same_data_only(tmp_path: Path, tiny_model: Path, make_lists):
    from finerank.training.options import TrainSettings
    from finerank.training.run import Plan, Start, _open_run
    from finerank.training.train import fingerprint

    lists = make_lists(4)

    def record(**changes: str) -> dict[str, object]:
        start = Start.find(str(tiny_model), 64)
        plan = Plan(start, lists, 4, fingerprint(lists), (), TrainSettings(), {"export": ""}, lambda model: model,
                    refresh_from=changes.get("refresh", "corpus"))  # fmt: skip
        return {**plan.record(), **changes}

    assert _open_run(tmp_path / "out", record()) is None
    assert _open_run(tmp_path / "out", record()) is None
    for change in ({"content": "other weights"}, {"refresh": "another corpus"}):
        with pytest.raises(InvalidSetting, match=f"begun with another {next(iter(change))}"):
            _open_run(tmp_path / "out", record(**change))


def test_ctrl_c_in_training_says_how_to_go_on(
    tmp_path: Path, tiny_model: Path, make_lists, monkeypatch: pytest.MonkeyPatch
):
    from finerank.training import train as module
    from finerank.training.examples import write_examples

    write_examples(tmp_path / "lists.jsonl", make_lists(4))
    checkpoint = tmp_path / "out/checkpoints/checkpoint-2"

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stopped)
    command = ("train", tiny_model, tmp_path / "lists.jsonl", "--out", tmp_path / "out", "--dev-share", 0)
    result = run(*command)
    assert result.exit_code == 130
    assert "no checkpoint yet: the same command begins again" in result.stderr
    checkpoint.mkdir(parents=True)
    (tmp_path / "out/run.json").write_text("{}", encoding="utf-8")  # as the run itself wrote it
    (checkpoint / "trainer_state.json").write_text('{"step": 2}', encoding="utf-8")
    assert f"The same command goes on from {checkpoint}" in run(*command).stderr


@pytest.mark.parametrize("command", ["mine", "index", "evaluate", "calibrate"])
def test_ctrl_c_says_what_is_done(
    tmp_path: Path, pairs: Path, write_set, monkeypatch: pytest.MonkeyPatch, command: str
):
    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    place, arguments = {
        "mine": ("finerank.training.negatives.mine_negatives", [pairs, "--out", tmp_path / "out"]),
        "index": ("finerank.retrieval.index.index", [pairs, "--store", tmp_path / "kb"]),
        "evaluate": ("finerank.cli.options.load_reranker", [write_set()]),
        "calibrate": ("finerank.cli.options.load_reranker", [pairs, "--out", tmp_path / "out"]),
    }[command]
    monkeypatch.setattr(place, stopped)
    result = run(command, *arguments)
    assert result.exit_code == 130
    assert ("the same command goes on" if command == "index" else "Nothing was written") in result.stderr
    assert not (tmp_path / "out").exists()
