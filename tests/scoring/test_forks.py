"""A forked child ranks, whatever other threads were doing when it was made."""

import gc
import os
import sqlite3
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from finerank.errors import LostThreads
from finerank.scoring import forks as locks
from finerank.scoring.cache import DiskCache
from finerank.testing import stub_reranker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

PROGRAM = """
import os, signal, sys, threading, time
from finerank.testing import OverlapBackend, stub_reranker

class Slow(OverlapBackend):
    def forward(self, batch):
        begun.set()
        time.sleep(float(sys.argv[2]))
        return super().forward(batch)

def rank(word):
    return reranker.rank("reset button", [f"reset {word}", "button", "no"])[0].logit

def keep_ranking(name):
    for number in range(10_000):
        if stop.is_set():
            return
        rank(f"{name} {number}")

def fork(number):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(rank(f"child {number}") != expected)
    return child

begun, stop = threading.Event(), threading.Event()
reranker = stub_reranker(Slow(), cache=sys.argv[1])
expected = rank("child 1")
begun.clear()
threads = [threading.Thread(target=keep_ranking, args=(name,)) for name in ("one", "two")]
for thread in threads:
    thread.start()
begun.wait()
children = [fork(number) for number in range(int(sys.argv[3]))]
wrong = [status for status in (os.waitpid(child, 0)[1] for child in children) if status]
stop.set()
for thread in threads:
    thread.join()
reranker.close()
sys.exit(f"children ended with {wrong}" if wrong else 0)
"""


def run(cache: object, forward_s: float, children: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(cache), str(forward_s), str(children)]
    ended = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_child_made_while_another_thread_scores_can_score():
    run("off", 0.5, 1)


@pytest.mark.parametrize("where", ["memory", "file"])
def test_children_made_while_others_use_the_cache_can_use_it(where, tmp_path):
    path = tmp_path / "scores.db"
    run("memory" if where == "memory" else path, 0.0005, 20)
    if where == "file":
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("SELECT count(*) FROM scores").fetchone()[0] > 20
        connection.close()


def test_a_cache_is_not_open_over_a_fork_and_goes_on_after_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = DiskCache(Path("scores.db"), 10)
    cache.put_many([(b"a", 1.0)])
    locks._hold()
    assert not (tmp_path / "scores.db-wal").exists()  # which the last connection to be closed removes
    locks._let_go()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    cache.put_many([(b"b", 2.0)])
    assert cache.get_many([b"a", b"b"]) == [1.0, 2.0]
    cache.close()


def test_a_scorer_that_is_no_longer_used_is_forgotten():
    reranker = stub_reranker(cache="memory")
    scorer, lock = weakref.ref(reranker.scorer), weakref.ref(reranker.scorer.forward_lock)
    assert lock() in locks._known
    del reranker
    gc.collect()
    assert (scorer(), lock()) == (None, None)


BACKENDS = """
import gc, os, signal, sys
from finerank import LostThreads, Reranker

path, backend, threads = sys.argv[1:]
documents = [f"reset button {number} " * 30 for number in range(8)]
options = {"backend": backend, "device": "cpu", "threads": int(threads)}

def rank():
    return [result.logit for result in reranker.rank("reset", documents)]

def outcome(act):
    try:
        return 0 if act() == expected else 1
    except LostThreads as error:
        return 2 if "spawn" in str(error) and "native" in str(error) else 3

def load_and_rank():
    global reranker
    reranker = Reranker.from_pretrained(path, **options)
    gc.collect()
    return rank()

reranker = Reranker.from_pretrained(path, **options)
expected = rank()
child = os.fork()
if child == 0:
    signal.alarm(60)
    outcomes = outcome(rank), outcome(load_and_rank)
    reranker.close()
    os._exit(10 * outcomes[0] + outcomes[1])
status = os.waitpid(child, 0)[1]
assert rank() == expected
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(
    ("model_type", "backend", "threads", "outcomes"),
    [
        ("bert", "native", 2, 0),
        ("bert", "torch", 2, 22),
        ("bert", "torch", 1, 0),
        ("modernbert", "transformers", 2, 22),
        ("minilm", "onnx", 2, 0),
    ],
)
def test_a_forked_child_ranks_or_says_why_not(make_model, minilm, model_type, backend, threads, outcomes):
    """With the model of its parent, and with one that it loads."""
    if backend == "native":
        pytest.importorskip("finerank.scoring._native")
    path = minilm if model_type == "minilm" else make_model(model_type)
    command = [sys.executable, "-W", "ignore", "-c", BACKENDS, str(path), backend, str(threads)]
    ended = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"{outcomes}\n"), ended.stderr


def test_a_library_whose_threads_stayed_behind_is_not_used():
    check = locks.ForkCheck("a library")
    check.use(threaded=False)
    check.use(threaded=True)
    check._lose()
    check.use(threaded=False)
    with pytest.raises(LostThreads, match=r"its parent had used a library.*get_context\('spawn'\)"):
        check.use(threaded=True)
