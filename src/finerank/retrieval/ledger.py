"""Which files a store holds, in which state of their content. Holds the lock of the one process that writes.

A SQLite file beside the table: it survives a kill at any moment, and its lock dies with its process.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from finerank.errors import StoreError, StoreLocked

FILE = "ledger.sqlite"

_VERSION = 2
_COLUMNS = "source, path, digest, edition, passages"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (
    source TEXT PRIMARY KEY, path TEXT NOT NULL, digest TEXT NOT NULL, edition TEXT NOT NULL,
    passages INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS digests ON sources (digest);
CREATE TABLE IF NOT EXISTS pending (source TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS written (stamp TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file whose passages are all in the table. `path` is where it was found, `source` where links lead from there,
    `digest` its content's, `edition` what the table calls this reading of it."""

    source: str
    path: str
    digest: str
    edition: str
    passages: int


class Ledger:
    """Open it with `open_ledger`. `pending` are the sources whose rows in the table may be half written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        found = connection.execute("SELECT max(seen) FROM sources").fetchone()[0]
        self._run = 1 + (found or 0)

    def get(self, source: str) -> Entry | None:
        """What is indexed of the source, None if nothing is."""
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM sources WHERE source = ?", (source,)).fetchone()
        return Entry(*row) if row else None

    def edition(self, source: str) -> str | None:
        """Which of the source's rows in the table count, None if none do."""
        entry = self.get(source)
        return entry.edition if entry else None

    def see(self, source: str, path: str) -> None:
        """Note that the source still exists, at this path; `unseen` are the others."""
        self._connection.execute("UPDATE sources SET seen = ?, path = ? WHERE source = ?", (self._run, path, source))

    def unseen(self) -> list[Entry]:
        """What was not seen since the ledger was opened."""
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM sources WHERE seen < ?", (self._run,))
        return [Entry(*row) for row in rows]

    def copied(self) -> list[Entry]:
        """What was not seen, but its content was, in another file."""
        query = (
            f"SELECT {_COLUMNS} FROM sources WHERE seen < :run AND digest != '' "
            "AND digest IN (SELECT digest FROM sources WHERE seen = :run)"
        )
        return [Entry(*row) for row in self._connection.execute(query, {"run": self._run})]

    def begin(self, sources: Iterable[str]) -> None:
        """Note, before the table is written, whose passages are about to change."""
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO pending VALUES (?)", ((each,) for each in sources))

    def record(self, entries: Iterable[Entry]) -> None:
        """Note that all passages of these are in the table; older ones may still be, too."""
        rows = [(*astuple(entry), self._run) for entry in entries]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget(self, sources: Iterable[str]) -> None:
        """Note that the sources are no more; their passages may still be in the table."""
        rows = [(source,) for source in sources]
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO pending VALUES (?)", rows)
            self._connection.executemany("DELETE FROM sources WHERE source = ?", rows)

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

    @property
    def stamp(self) -> str:
        """The state of the table that the ledger describes, empty if none is known."""
        row = self._connection.execute("SELECT stamp FROM written").fetchone()
        return str(row[0]) if row else ""

    @stamp.setter
    def stamp(self, stamp: str) -> None:
        with self._connection:
            self._connection.execute("DELETE FROM written")
            self._connection.execute("INSERT INTO written VALUES (?)", (stamp,))

    def clear(self) -> None:
        """Forget everything: the table is gone."""
        with self._connection:
            self._connection.executescript("DELETE FROM sources; DELETE FROM pending; DELETE FROM written;")

    def rebuild(self, editions: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Make the ledger say what the table holds (sources, editions, rows); returns whose rows are of two editions.

        For a ledger that was lost, or is not the table's. What it did not know is read again, as its digest is unknown.
        """
        known = {str(row[0]): Entry(*row) for row in self._connection.execute(f"SELECT {_COLUMNS} FROM sources")}
        rows: list[tuple[object, ...]] = []
        for source, counts in editions.items():
            entry = known.get(source)
            if entry is None or counts != {entry.edition: entry.passages}:
                edition = max(counts, key=lambda each: counts[each])
                rows.append((source, entry.path if entry else source, "", edition, counts[edition], 0))
        with self._connection:
            gone = [(source,) for source in known.keys() - editions.keys()]
            self._connection.executemany("DELETE FROM sources WHERE source = ?", gone)
            self._connection.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?)", rows)
        return [source for source, counts in editions.items() if len(counts) > 1]


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
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:  # another finerank's: it is built from the table again
            connection.executescript("DROP TABLE IF EXISTS sources; DROP TABLE IF EXISTS pending;")
        connection.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
        yield Ledger(connection)
        connection.commit()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StoreLocked(f"{folder}: another process is indexing into this store; wait until it ends") from error
        raise StoreError(f"{path}: cannot be written ({error}). What was indexed before is kept.") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path}: is damaged ({error}). Delete this file and index again: it is rebuilt from the store."
        ) from error
    finally:
        connection.close()
