"""`finerank rank --batch`: one output line a request, whatever happens in between."""

import gzip
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from finerank import Reranker
from finerank.cli.batch import rank_batch, resume_point
from finerank.errors import InvalidInput, InvalidSetting
from finerank.scoring.batch import Batch
from finerank.testing import OverlapBackend, stub_reranker


def requests(path: Path, count: int) -> Path:
    lines = (
        json.dumps({"id": f"q{number}", "query": f"word{number}", "documents": ["other", f"word{number} here"]})
        for number in range(1, count + 1)
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def outputs(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_request_gives_one_line_in_order(tmp_path: Path):
    source, out = requests(tmp_path / "in", 700), tmp_path / "out"
    assert rank_batch(stub_reranker(), source, out, top_n=1) == 0
    answers = outputs(out)
    assert [answer["line"] for answer in answers] == list(range(1, 701))
    assert [answer["id"] for answer in answers] == [f"q{number}" for number in range(1, 701)]
    assert all(answer["results"][0]["text"] == f"word{answer['line']} here" for answer in answers)
    assert all(len(answer["results"]) == 1 for answer in answers)


def test_a_compressed_file_is_read_and_a_damaged_one_is_named(tmp_path: Path):
    plain, out = requests(tmp_path / "in", 1500), tmp_path / "out"
    packed = tmp_path / "in.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-20])
    with pytest.raises(InvalidInput, match=r"in\.gz: is damaged"):
        rank_batch(stub_reranker(), packed, out, None)
    written = len(outputs(out))
    assert 0 < written < 1500
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert rank_batch(stub_reranker(), packed, out, None) == 0
    assert [answer["line"] for answer in outputs(out)] == list(range(1, 1501))


def test_bad_lines_are_reported_by_number_and_do_not_stop_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, out = tmp_path / "in", tmp_path / "out"
    good = json.dumps({"query": "word", "documents": ["word"]})
    bad = ["{", "[]", '{"query": 3}', '{"query": " ", "documents": []}', '{"query": "q", "documents": "d"}',
           '{"query": "q", "documents": ["d", null]}', "[" * 100_000]  # fmt: skip
    source.write_text("\n".join([good, *bad, "", good]), encoding="utf-8")
    assert rank_batch(stub_reranker(), source, out, None) == 3
    answers = outputs(out)
    assert [answer["line"] for answer in answers] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert ["error" in answer for answer in answers] == [False, *[True] * 7, False]
    assert "documents[1]" in answers[6]["error"]
    assert "7 bad line" in capsys.readouterr().err


def test_a_request_that_fails_to_score_does_not_take_its_neighbours_along(tmp_path: Path):
    source, out = tmp_path / "in", tmp_path / "out"
    lines = [{"query": "q", "documents": [text]} for text in ("fine", "poison", "fine too")]
    source.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert rank_batch(stub_reranker(OverlapBackend(nan_word="poison")), source, out, None) == 3
    assert ["error" in answer for answer in outputs(out)] == [False, True, False]


def test_a_run_goes_on_after_the_last_whole_line(tmp_path: Path):
    source, out = requests(tmp_path / "in", 50), tmp_path / "out"
    rank_batch(stub_reranker(), source, out, None)
    whole = out.read_bytes()
    for cut in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)):
        out.write_bytes(whole[:cut])
        rank_batch(stub_reranker(), source, out, None)
        answers = outputs(out)
        assert [answer["line"] for answer in answers] == list(range(1, 51))
        assert [answer["results"] for answer in answers] == [
            answer["results"] for answer in map(json.loads, whole.decode().splitlines())
        ]


def begun(source: Path, out: Path, **options) -> None:
    """A run of which the last line is lost."""
    rank_batch(stub_reranker(**options), source, out, None)
    out.write_bytes(out.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("then", "top_n", "message"),
    [
        ({"max_length": 64}, None, "begun with max_length=512, not max_length=64; go on with the same"),
        ({"template": "q: {query}", "clean": True}, None, "template='{query}', clean=False, not template='q: {query}'"),
        ({}, 3, "begun with top_n=None, not top_n=3"),
    ],
)
def test_a_run_does_not_go_on_with_what_ranks_otherwise(tmp_path: Path, then: dict, top_n: int | None, message: str):
    source, out = requests(tmp_path / "in", 5), tmp_path / "out"
    begun(source, out)
    before = out.read_bytes()
    with pytest.raises(InvalidSetting, match=message):
        rank_batch(stub_reranker(**then), source, out, top_n)
    assert out.read_bytes() == before


def test_a_run_goes_on_with_what_changes_no_score(tmp_path: Path):
    source, out = requests(tmp_path / "in", 5), tmp_path / "out"
    begun(source, out)
    rank_batch(stub_reranker(cache="memory", batch_tokens=32), source, out, None)
    assert [answer["line"] for answer in outputs(out)] == [1, 2, 3, 4, 5]
    assert ["run" in answer for answer in outputs(out)] == [True, *[False] * 4]


def test_a_run_does_not_go_on_with_another_model_under_the_same_name(
    tmp_path: Path, make_model, monkeypatch: pytest.MonkeyPatch
):
    source, out = requests(tmp_path / "in", 2), tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(make_model("bert"), tmp_path / "m")
    with Reranker.from_pretrained("m", backend="torch", device="cpu") as reranker:
        rank_batch(reranker, source, out, None)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with (
        Reranker.from_pretrained("m", backend="torch", device="cpu") as reranker,
        pytest.raises(InvalidSetting, match="begun with content="),
    ):
        rank_batch(reranker, source, out, None)


@pytest.mark.parametrize(
    "change", ["edit", "reorder", "shorten", "replace", "blank line", "drop the first", "edit the last"]
)
@pytest.mark.parametrize("complete", [True, False])
def test_a_run_does_not_go_on_with_other_requests(tmp_path: Path, change: str, complete: bool):
    source, out = requests(tmp_path / "in", 20), tmp_path / "out"
    rank_batch(stub_reranker(), source, out, None)
    if not complete:
        out.write_bytes(out.read_bytes()[:-9])
    before = out.read_bytes().rpartition(b"\n")[0]
    lines = source.read_text(encoding="utf-8").splitlines()
    changed = {
        "edit": [lines[0].replace("other", "different"), *lines[1:]],
        "edit the last": [*lines[:17], *(line.replace("other", "different") for line in lines[17:])],
        "reorder": [lines[1], lines[0], *lines[2:]],
        "shorten": lines[:10],
        "replace": [line.replace("word", "term") for line in lines],
        "blank line": ["", *lines],
        "drop the first": lines[1:],
    }[change]
    source.write_text("\n".join(changed) + "\n", encoding="utf-8")
    with pytest.raises(InvalidSetting, match=r"answers other requests than the first .* lines of .*delete the output"):
        rank_batch(stub_reranker(), source, out, None)
    assert out.read_bytes().startswith(before)


def test_a_run_goes_on_with_requests_that_were_added_or_encoded_otherwise(tmp_path: Path):
    source, out = requests(tmp_path / "in", 3), tmp_path / "out"
    rank_batch(stub_reranker(), source, out, None)
    line = json.dumps({"query": "重置", "documents": ["重置 按钮", "其他"]}, ensure_ascii=False)
    source.write_bytes((source.read_text(encoding="utf-8") + line).replace("\n", "\r\n").encode("utf-16"))
    assert rank_batch(stub_reranker(), source, out, None) == 0
    assert [answer["line"] for answer in outputs(out)] == [1, 2, 3, 4]
    assert outputs(out)[3]["results"][0]["text"] == "重置 按钮"


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le"])
def test_requests_in_other_encodings_are_read_and_reported(
    tmp_path: Path, encoding: str, caplog: pytest.LogCaptureFixture
):
    source, out = tmp_path / "in", tmp_path / "out"
    ascii_lines = '{"query": "word", "documents": ["word"]}\n' * 3
    line = json.dumps({"query": "如何重置路由器", "documents": ["请按住重置按钮十秒钟。"]}, ensure_ascii=False)
    source.write_bytes(f"{ascii_lines}{line}\n".encode(encoding))
    assert rank_batch(stub_reranker(), source, out, None) == 0
    assert outputs(out)[3]["results"][0]["text"] == "请按住重置按钮十秒钟。"
    assert bool(caplog.records) == (encoding != "utf-16")


def test_a_bad_line_keeps_its_id(tmp_path: Path):
    source, out = tmp_path / "in", tmp_path / "out"
    good = {"query": "q", "documents": ["d"]}
    bad = [{"id": "a", "query": 3}, {**good, "id": 7, "documents": "d"}, {**good, "id": "c", "query": " "},
           {**good, "id": "d", "documents": [None]}, {**good, "id": "e", "top_n": -1},
           {**good, "id": "f", "top_n": "2"}, {**good, "id": "g", "threshold": 2},
           {**good, "id": ["h"], "threshold": "high"}]  # fmt: skip
    source.write_text("\n".join(map(json.dumps, bad)), encoding="utf-8")
    assert rank_batch(stub_reranker(), source, out, None) == 3
    assert [answer["id"] for answer in outputs(out)] == ["a", 7, "c", "d", "e", "f", "g", ["h"]]
    assert all("error" in answer for answer in outputs(out))


def test_a_line_has_its_own_top_n_and_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, out = tmp_path / "in", tmp_path / "out"
    documents = ["word", "word other", "other"]
    limits = [{}, {"top_n": 1}, {"threshold": 0.0}, {"threshold": 0.6}, {"top_n": 0},
              {"top_n": None, "threshold": None}, {"top_n": 3, "threshold": 0}]  # fmt: skip
    lines = [{"query": "word", "documents": documents, **each} for each in limits]
    source.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert rank_batch(stub_reranker(threshold=0.4), source, out, 2) == 0
    scores = [[result["score"] for result in answer["results"]] for answer in outputs(out)]
    everything = scores[6]
    assert len(everything) == 3
    assert scores == [
        [score for score in everything if score >= 0.4][:2], everything[:1], everything[:2],
        [score for score in everything if score >= 0.6][:2], [], [score for score in everything if score >= 0.4][:2],
        everything,
    ]  # fmt: skip
    assert "not used" not in capsys.readouterr().err


def test_fields_that_mean_nothing_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = tmp_path / "in"
    line = {"query": "word", "documents": ["word"], "top_k": 1, "max_length": 9}
    source.write_text("\n".join([json.dumps(line)] * 3), encoding="utf-8")
    assert rank_batch(stub_reranker(), source, tmp_path / "out", None) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("top_k, max_length: not used; a request has query, documents, id, top_n, threshold") == 1


def test_ctrl_c_says_what_is_done_and_the_same_command_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, out = requests(tmp_path / "in", 600), tmp_path / "out"

    class Stopped(OverlapBackend):
        stops = True

        def forward(self, batch: Batch) -> NDArray[np.float32]:
            if self.stops and out.stat().st_size:
                raise KeyboardInterrupt
            return super().forward(batch)

    assert rank_batch(stub_reranker(Stopped()), source, out, None) == 130
    told = capsys.readouterr().err
    assert "this run answered 256 request(s), the last on line 256" in told
    assert f"They are in {out}; give the same command to go on" in told
    Stopped.stops = False
    assert rank_batch(stub_reranker(Stopped()), source, out, None) == 0
    assert [answer["line"] for answer in outputs(out)] == list(range(1, 601))


def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path: Path):
    source, fifo = requests(tmp_path / "in", 3), tmp_path / "fifo"
    os.mkfifo(fifo)
    for _ in range(2):
        with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE, text=True) as reader:
            assert rank_batch(stub_reranker(), source, fifo, None) == 0
            answers = reader.communicate()[0].splitlines()
        assert [json.loads(answer)["line"] for answer in answers] == [1, 2, 3]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    for count in (2, 3):
        assert rank_batch(stub_reranker(), requests(tmp_path / "in", count), tmp_path / "link", None) == 0
        assert [answer["line"] for answer in outputs(tmp_path / "real")] == list(range(1, count + 1))
    assert (tmp_path / "link").is_symlink()


def test_rankings_are_valid_json_whatever_the_locale(tmp_path: Path):
    source = tmp_path / "in"
    line = {"id": "é😀", "query": "重置", "documents": [{"text": "重置 😀", "note": float("nan")}]}
    source.write_text(json.dumps(line, ensure_ascii=False) + "\n{\n", encoding="utf-8")
    command = [sys.executable, "-m", "finerank", "rank", "--batch", str(source)]
    for encoding in ("ascii", "latin-1", "gbk", "utf-8"):
        completed = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
        assert completed.returncode == 3, completed.stderr
        answer, bad = (
            json.loads(each, parse_constant=pytest.fail) for each in completed.stdout.decode(encoding).splitlines()
        )
        assert (answer["id"], answer["results"][0]["text"]) == ("é😀", "重置 😀")
        assert answer["results"][0]["metadata"] == {"note": None}
        assert "error" in bad


def test_an_output_of_before_the_first_line_told_the_run_is_gone_on_with(tmp_path: Path):
    source, out = requests(tmp_path / "in", 3), tmp_path / "out"
    out.write_text('{"line": 1, "model": "OverlapBackend"}\n', encoding="utf-8")
    assert rank_batch(stub_reranker(max_length=64), source, out, None) == 0
    assert [answer["line"] for answer in outputs(out)] == [1, 2, 3]


def test_a_second_run_does_not_write_to_the_same_file(tmp_path: Path):
    source, out = requests(tmp_path / "in", 3), tmp_path / "out"
    seen = []

    class Nosy(OverlapBackend):
        def forward(self, batch: Batch) -> NDArray[np.float32]:
            with pytest.raises(InvalidSetting, match="another run writes to it; wait until it ends, or name another"):
                rank_batch(stub_reranker(), source, out, None)
            seen.append(out.read_bytes())
            return super().forward(batch)

    assert rank_batch(stub_reranker(Nosy()), source, out, None) == 0
    assert seen == [b""]
    assert [answer["line"] for answer in outputs(out)] == [1, 2, 3]
    assert rank_batch(stub_reranker(), source, Path(os.devnull), None) == 0


def test_a_last_line_longer_than_a_block_is_found(tmp_path: Path):
    out = tmp_path / "out"
    out.write_text(
        json.dumps({"line": 7, "text": "x" * 300_000}) + "\n" + '{"line": ' + "8" * 200_000, encoding="utf-8"
    )
    assert resume_point(out, {"model": "m"}) == 7
    assert out.read_text(encoding="utf-8").endswith("}\n")


def test_the_input_is_not_taken_for_the_output(tmp_path: Path):
    source = requests(tmp_path / "in", 2)
    before = source.read_bytes()
    with pytest.raises(InvalidSetting, match="is the input"):
        rank_batch(stub_reranker(), source, source, None)
    assert source.read_bytes() == before
    with pytest.raises(InvalidSetting, match="No such file"):
        rank_batch(stub_reranker(), source, tmp_path / "missing/out", None)


def test_a_lone_surrogate_and_a_byte_order_mark_are_no_bad_lines(tmp_path: Path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_text('\ufeff{"query": "b", "documents": ["b \\ud83d c"]}\n', encoding="utf-8")
    assert rank_batch(stub_reranker(), source, out, None) == 0
    assert outputs(out)[0]["results"][0]["text"] == "b \ud83d c"


def test_a_failure_that_is_no_lines_fault_ends_the_run(tmp_path: Path):
    source, out = requests(tmp_path / "in", 3), tmp_path / "out"
    with pytest.raises(RuntimeError, match="driver"):
        rank_batch(stub_reranker(OverlapBackend(error=RuntimeError("driver is gone"))), source, out, None)
    assert out.read_text(encoding="utf-8") == ""


@pytest.mark.parametrize("content", ["hello", "hello\n", '{"rank": 1}\n', "[]\n", '{"line": 3, "model": "another"}\n'])
def test_a_foreign_file_is_not_overwritten(tmp_path: Path, content: str):
    out = tmp_path / "out"
    out.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidSetting, match="name another"):
        resume_point(out, {"model": "m"})
    assert out.read_text(encoding="utf-8") == content


def test_kill_9_and_again_loses_and_repeats_nothing(tmp_path: Path):
    source, out = requests(tmp_path / "in", 3000), tmp_path / "out"
    command = [sys.executable, "-m", "finerank", "rank", "--batch", str(source), "--out", str(out)]
    kills = 0
    while kills < 3:
        before = out.stat().st_size if out.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (out.exists() and out.stat().st_size > before):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert 0 < len(outputs_so_far(out)) < 3000
    short = tmp_path / "short"
    done = len(outputs_so_far(out))
    short.write_text("".join(source.read_text().splitlines(keepends=True)[: done + 40]), encoding="utf-8")
    subprocess.run([*command[:5], str(short), "--out", str(out)], check=True, capture_output=True)
    assert [answer["line"] for answer in outputs(out)] == list(range(1, done + 41))


def outputs_so_far(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    """The input is read as it is needed: a run on an endless pipe answers its first lines."""
    command = [sys.executable, "-m", "finerank", "rank", "--batch", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    line = json.dumps({"query": "word", "documents": ["word"] * 20}) + "\n"
    for _ in range(26):  # a group is 512 documents
        process.stdin.write(line)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["line"] == 1
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
