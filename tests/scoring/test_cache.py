import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from finerank import CacheError
from finerank.scoring.batch import EncodedPair
from finerank.scoring.cache import DiskCache, MemoryCache, open_cache, pair_key
from finerank.scoring.encode import PairEncoder
from finerank.testing import word_tokenizer

OPENER = """
import sys, time
from pathlib import Path
from finerank.scoring.cache import DiskCache
for number in range(100):
    time.sleep(max(0, float(sys.argv[2]) + number / 50 - time.time()))
    DiskCache(Path(sys.argv[1]) / f"{number}.db", 10).close()
"""

WRITER = """
import sys
from pathlib import Path
from finerank.scoring.cache import DiskCache
path, name, size, batches = sys.argv[1:]
cache = DiskCache(Path(path), 10**9)
for batch in range(int(batches)):
    cache.put_many((f"{name} {batch} {row}".encode(), float(row)) for row in range(int(size)))
    print(batch, flush=True)
"""


def start_writer(path: Path, name: str, *, size: int, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(size), str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def key(query: str, passage: str, namespace: str = "model") -> bytes:
    encoder = PairEncoder(word_tokenizer(), max_length=32)
    return pair_key(namespace.encode(), encoder.encode(encoder.encode_query(query), [passage])[0])


def test_a_key_sets_query_and_passage_apart() -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("a b", "c"), ("a", "b c"), ("b c", "a")]
    assert len({key(*pair) for pair in pairs}) == len(pairs)


def test_a_key_sets_models_apart() -> None:
    assert key("a", "b", "model") == key("a", "b", "model") != key("a", "b", "model 2")


def test_a_key_sets_token_types_apart() -> None:
    ids, zeros = np.array([2, 7, 3], np.int32), np.zeros(3, np.int32)
    assert pair_key(b"", EncodedPair(ids, zeros)) != pair_key(b"", EncodedPair(ids, zeros + 1))


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_cache_answers_what_was_put(where: str, tmp_path: Path) -> None:
    cache = open_cache("memory" if where == "memory" else str(tmp_path / "new" / "scores.db"), 10_000)
    keys = [str(number).encode() for number in range(1200)]
    cache.put_many((name, -float(name)) for name in keys[::2])
    cache.put_many([])
    assert cache.get_many([*keys, keys[2]]) == [*(-float(k) if int(k) % 2 == 0 else None for k in keys), -2.0]
    cache.close()


def test_no_cache() -> None:
    assert open_cache("off", 10) is None


def test_memory_keeps_what_was_used_last() -> None:
    cache = MemoryCache(3)
    cache.put_many([(b"a", 1.0), (b"b", 2.0), (b"c", 3.0)])
    cache.get_many([b"a"])
    cache.put_many([(b"b", 2.0), (b"d", 4.0)])
    assert len(cache) == 3
    assert cache.get_many([b"a", b"b", b"c", b"d"]) == [1.0, 2.0, None, 4.0]


def test_a_file_keeps_the_newest(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "scores.db", 3)
    for number in [*range(10), 9, 9, 8]:
        cache.put_many([(str(number).encode(), float(number))])
    assert cache.get_many([b"6", b"7", b"8", b"9"]) == [None, 7.0, 8.0, 9.0]
    cache.close()


def test_a_file_serves_threads(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "scores.db", 10_000)
    threads = [
        threading.Thread(target=lambda n=n: [cache.put_many([(f"{n} {i}".encode(), float(n))]) for i in range(30)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get_many([f"{n} {i}".encode() for n in range(4) for i in range(30)]) == [
        float(n) for n in range(4) for _ in range(30)
    ]
    cache.close()


def test_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    start = time.time() + 1.0
    command = [sys.executable, "-c", OPENER, str(tmp_path), str(start)]
    openers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [opener.communicate(timeout=60)[1] for opener in openers]
    assert errors == [""] * 4


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    writers = [start_writer(path, name, size=20, batches=20) for name in ("one", "two")]
    outputs = [writer.communicate(timeout=60)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert all(output.endswith("19\n") for output in outputs)
    cache = DiskCache(path, 10_000)
    keys = [f"{name} {batch} 19".encode() for name in ("one", "two") for batch in range(20)]
    assert cache.get_many(keys) == [19.0] * 40
    cache.close()


def test_a_killed_writer_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    with start_writer(path, "writer", size=50_000, batches=1000) as writer:
        done = writer.stdout.readline()
        time.sleep(0.1)  # into the next batch
        writer.kill()
    assert done == "0\n"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (rows,) = connection.execute("SELECT count(*) FROM scores").fetchone()
    connection.close()
    assert rows >= 50_000
    assert rows % 50_000 == 0
    cache = DiskCache(path, 10**9)
    cache.put_many([(b"after", 1.0)])
    assert cache.get_many([b"writer 0 49999", b"after"]) == [49_999.0, 1.0]
    cache.close()


def test_a_file_that_is_no_cache_is_an_error_naming_it(tmp_path: Path) -> None:
    garbage, folder, below = (
        tmp_path / "garbage.db",
        tmp_path / "folder",
        tmp_path / "garbage.db" / "scores.db",
    )
    garbage.write_bytes(b"not a database, and long enough to be read as one" * 100)
    folder.mkdir()
    for path in (garbage, folder, below):
        with pytest.raises(CacheError, match=f"{path}: cannot be opened as a score cache"):
            DiskCache(path, 10)


def test_a_file_damaged_later_is_an_error_naming_it(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "scores.db", 10)
    with sqlite3.connect(tmp_path / "scores.db") as connection:
        connection.execute("DROP TABLE scores")
    connection.close()
    for use in (lambda: cache.get_many([b"a"]), lambda: cache.put_many([(b"a", 1.0)])):
        with pytest.raises(CacheError, match=r"scores\.db: the score cache fails: no such table"):
            use()
    cache.close()
