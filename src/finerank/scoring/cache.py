"""Scores of pairs already seen, in memory or in a file that processes share."""

import hashlib
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from finerank.errors import CacheError
from finerank.paths import expand, is_writable
from finerank.scoring.batch import EncodedPair
from finerank.scoring.forks import forkable_lock, hold_at_fork

logger = logging.getLogger("finerank")


def pair_key(namespace: bytes, pair: EncodedPair) -> bytes:
    """A 16-byte key for what the model reads: `namespace` (a hash of model and precision) and the pair's tokens.

    Query, template and passage are inside the token sequence, set apart by its separators: two pairs with one key are
    the same model input.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"finerank-score-1")
    digest.update(namespace)
    digest.update(pair.token_ids.tobytes())
    digest.update(pair.type_ids.tobytes())
    return digest.digest()


class ScoreCache(Protocol):
    """Keys to logits; a miss is None."""

    def get_many(self, keys: Sequence[bytes]) -> list[float | None]: ...
    def put_many(self, logits: Iterable[tuple[bytes, float]]) -> None: ...
    def close(self) -> None: ...


class MemoryCache:
    """Keeps the `max_entries` scores used last. Safe between threads."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._logits: OrderedDict[bytes, float] = OrderedDict()
        self._lock = forkable_lock()

    def __len__(self) -> int:
        return len(self._logits)

    def get_many(self, keys: Sequence[bytes]) -> list[float | None]:
        with self._lock:
            found = [self._logits.get(key) for key in keys]
            for key, logit in zip(keys, found, strict=True):
                if logit is not None:
                    self._logits.move_to_end(key)
            return found

    def put_many(self, logits: Iterable[tuple[bytes, float]]) -> None:
        with self._lock:
            for key, logit in logits:
                self._logits[key] = logit
                self._logits.move_to_end(key)
            while len(self._logits) > self._max_entries:
                self._logits.popitem(last=False)

    def close(self) -> None:
        self._logits.clear()


_BUSY_S = 30.0


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS scores (id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, logit REAL NOT NULL)"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead mode; where two connections switch a file at once SQLite refuses one without waiting."""
    give_up = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


class DiskCache:
    """An SQLite file in write-ahead mode: processes share it, and a kill at any moment leaves it whole.

    Beyond `max_entries` the oldest entries go. Safe between threads, and over a fork: SQLite's connections are not, so
    that it is closed before one, and opened again by the first who needs it.
    """

    _QUERY_KEYS = 500  # under SQLite's limit of variables in every build

    def __init__(self, path: Path, max_entries: int) -> None:
        self._path = path.absolute()  # opened again after a fork, when the working directory may be another
        self._max_entries = max_entries
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection: sqlite3.Connection | None = _connect(path)
        except (sqlite3.Error, OSError) as error:
            raise CacheError(
                f"{path}: cannot be opened as a score cache: {error}. Delete it or name another."
            ) from error
        hold_at_fork(self)

    def get_many(self, keys: Sequence[bytes]) -> list[float | None]:
        found: dict[bytes, float] = {}
        for start in range(0, len(keys), self._QUERY_KEYS):
            some = keys[start : start + self._QUERY_KEYS]
            marks = ",".join("?" * len(some))
            found.update(self._run(f"SELECT key, logit FROM scores WHERE key IN ({marks})", some))
        return [found.get(key) for key in keys]

    def put_many(self, logits: Iterable[tuple[bytes, float]]) -> None:
        rows = list(logits)
        if not rows:
            return
        with self._connected() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO scores (key, logit) VALUES (?, ?)", rows)
            connection.execute("DELETE FROM scores WHERE id <= (SELECT max(id) FROM scores) - ?", (self._max_entries,))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def acquire(self) -> None:
        """Before a fork."""
        self._lock.acquire()
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def release(self) -> None:
        """After a fork, in the parent and in the child."""
        self._lock.release()

    def _run(self, statement: str, values: Sequence[bytes]) -> list[tuple[bytes, float]]:
        with self._connected() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time."""
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = _connect(self._path)
                yield self._connection
        except sqlite3.Error as error:
            raise CacheError(f"{self._path}: the score cache fails: {error}. Delete it or name another.") from error


def open_cache(where: str, max_entries: int) -> ScoreCache | None:
    """The cache a setting names: off, memory, or a file's path. A file that cannot be written to is logged, and left
    out.
    """
    if where == "off":
        return None
    if where == "memory":
        return MemoryCache(max_entries)
    path = expand(where)
    try:
        return DiskCache(path, max_entries)
    except CacheError as error:
        if is_writable(path):
            raise
        logger.warning("scores are not cached: %s", error)
        return None
