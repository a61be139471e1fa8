"""Which files a store holds, in which state of their content. Holds the lock of the one process that writes.

A SQLite file beside the table: it survives a kill at any moment, and its lock dies with its process.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from finerank.errors import StoreError, StoreLocked

FILE = "ledger.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (
    source TEXT PRIMARY KEY, digest TEXT NOT NULL, passages INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS pending (source TEXT PRIMARY KEY);
"""


class Ledger:
    """Open it with `open_ledger`. `pending` are the sources whose rows in the table may be half written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        found = connection.execute("SELECT max(seen) FROM sources").fetchone()[0]
        self._run = 1 + (found or 0)

    def digest(self, source: str) -> str | None:
        """The digest of the content that is indexed, None if the source is not."""
        row = self._connection.execute("SELECT digest FROM sources WHERE source = ?", (source,)).fetchone()
        return str(row[0]) if row else None

    def see(self, source: str) -> None:
        """Note that the source still exists; `unseen` are the others."""
        self._connection.execute("UPDATE sources SET seen = ? WHERE source = ?", (self._run, source))

    def unseen(self) -> Iterator[str]:
        """The sources that were not seen since the ledger was opened."""
        rows = self._connection.execute("SELECT source FROM sources WHERE seen < ?", (self._run,)).fetchall()
        yield from (str(source) for (source,) in rows)

    def begin(self, sources: Iterable[str]) -> None:
        """Note, before the table is written, whose passages are about to change."""
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO pending VALUES (?)", ((each,) for each in sources))

    def record(self, sources: Iterable[tuple[str, str, int]]) -> None:
        """Note that all passages of (source, digest, passages) are in the table; older ones may still be, too."""
        rows = [(source, digest, count, self._run) for source, digest, count in sources]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?)", rows)

    def forget(self, source: str) -> None:
        """Note that the source is no more; its passages may still be in the table."""
        with self._connection:
            self._connection.execute("INSERT OR IGNORE INTO pending VALUES (?)", (source,))
            self._connection.execute("DELETE FROM sources WHERE source = ?", (source,))

    def finish(self, sources: Iterable[str]) -> None:
        """Note that the table holds of these sources what the ledger says, and nothing else."""
        with self._connection:
            self._connection.executemany("DELETE FROM pending WHERE source = ?", ((each,) for each in sources))

    def pending(self) -> list[str]:
        """The sources that a run that died left half written."""
        return [str(source) for (source,) in self._connection.execute("SELECT source FROM pending")]

    def totals(self) -> tuple[int, int]:
        """Files and passages in the store."""
        files, passages = self._connection.execute("SELECT count(*), sum(passages) FROM sources").fetchone()
        return files, passages or 0


@contextmanager
def open_ledger(folder: Path) -> Iterator[Ledger]:
    """The ledger of the store in `folder`, locked for this process. Raises `StoreLocked` if another has it."""
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=0)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{folder}: cannot be made or written ({error})") from error
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")  # taken here, and kept until the connection closes
        connection.commit()
        connection.executescript(_SCHEMA)
        yield Ledger(connection)
        connection.commit()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StoreLocked(f"{folder}: another process is indexing into this store; wait until it ends") from error
        raise StoreError(f"{path}: cannot be written ({error}). What was indexed before is kept.") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: is damaged ({error}). Delete the folder {folder} and index again.") from error
    finally:
        connection.close()
