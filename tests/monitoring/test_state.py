import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finerank.monitoring.monitor import Monitor
from finerank.monitoring.state import load_state, save_state

SAVER = """
import sys
from pathlib import Path
from finerank.monitoring.state import save_state
number = int(sys.argv[2])
while True:
    number += 1
    save_state(Path(sys.argv[1]), {"number": number, "copy": [number] * 20_000})
    print(number, flush=True)
"""


def loaded(path: Path) -> dict:
    found: dict = {}
    load_state(path, found.update)
    return found


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    old, new = tmp_path / "state.json.7.tmp", tmp_path / "state.json.8.tmp"
    for left in (old, new):
        left.write_text("{")
    os.utime(old, (0, 0))
    assert loaded(path) == {}
    assert os.listdir(tmp_path) == [new.name]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    save_state(path, {"a": [1, "二", None]})
    save_state(path, {"a": [2, "二", None]})
    assert loaded(path)["a"] == [2, "二", None]
    assert os.listdir(path.parent) == ["state.json"]


def test_no_file_is_no_fault(tmp_path: Path, caplog) -> None:
    assert loaded(tmp_path / "state.json") == {}
    assert caplog.text == ""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    last = 0
    for turn in range(8):
        command = [sys.executable, "-c", SAVER, str(path), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert int(process.stdout.readline()) == last + 1
            time.sleep(0.003 + 0.0021 * turn)
            process.send_signal(signal.SIGKILL)
            told = [int(line) for line in process.stdout.read().split("\n")[:-1]]
        state = loaded(path)
        assert state["copy"] == [state["number"]] * 20_000
        assert state["number"] >= max([last + 1, *told])
        last = state["number"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b'"text"',
        b'{"format": "another", "version": 1}',
        b'{"format": "finerank-monitoring", "version": 2, "health": {}, "alerts": {}}',
        b'{"format": "finerank-monitoring", "version": 1}',
        b'{"format": "finerank-monitoring", "version": 1, "health": 3, "alerts": null}',
        b"[" * 100_000,
    ],
)
def test_a_foreign_file_is_set_aside_and_stops_nothing(tmp_path: Path, text: bytes, caplog) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text)
    with Monitor(state=path) as monitor:
        assert monitor.report()["requests"] == 0
    assert "renamed to state.json.bad" in caplog.text
    assert (tmp_path / "state.json.bad").read_bytes() == text


def test_alerts_that_are_spoilt_take_nothing_of_the_window_with_them(tmp_path: Path, ranked) -> None:
    path = tmp_path / "state.json"
    with Monitor(state=path) as monitor:
        monitor.ranked(ranked([1.0, 2.0]), 2)
    state = json.loads(path.read_text())
    state["alerts"]["history"] = [7]
    path.write_text(json.dumps(state))
    with Monitor(state=path) as monitor:
        monitor.ranked(ranked([1.0, 2.0]), 2)
    with Monitor(state=path) as monitor:
        assert monitor.report()["requests"] == 2


def test_a_file_that_cannot_be_read_stays(tmp_path: Path, ranked, caplog) -> None:
    path = tmp_path / "state.json"
    path.mkdir()
    with Monitor(state=path) as monitor:
        monitor.ranked(ranked([1.0, 2.0]), 2)
    assert "cannot be read" in caplog.text
    assert "cannot be saved" in caplog.text
    assert path.is_dir()


def test_a_state_that_cannot_be_saved_is_logged(tmp_path: Path, ranked, caplog) -> None:
    (tmp_path / "file").write_text("")
    with Monitor(state=tmp_path / "file" / "state.json") as monitor:
        monitor.ranked(ranked([1.0, 2.0]), 2)
    assert "cannot be saved" in caplog.text
