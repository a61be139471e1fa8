"""Which indexed files are gone, and which are only out of reach. Changes nothing.

Gone is what a folder that can be listed no longer holds. A root that is missing, empty or no folder any more says
nothing about what was in it: it may be on a drive that is not mounted.
"""

import os
import stat
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finerank.retrieval.ledger import Entry

Fault = Literal["", "missing", "empty", "file", "unreadable"]

FAULTS: Mapping[Fault, str] = {
    "missing": "is not there",
    "empty": "is empty",
    "file": "is no folder any more",
    "unreadable": "cannot be read",
}
"""Why a root does not tell which files in it are gone, in words."""


@dataclass(frozen=True, slots=True)
class Root:
    """A file or folder that was given to be indexed: its absolute path, and where links lead from there. Every file is
    "file" to what was indexed inside it."""

    given: Path
    path: str
    source: str
    fault: Fault = ""

    def covers(self, entry: Entry) -> bool:
        return _under(entry.path, self.path) or _under(entry.source, self.source)

    def fault_for(self, entry: Entry) -> Fault:
        itself = entry.path == self.path or entry.source == self.source
        return "" if self.fault == "file" and itself else self.fault

    def shows_gone(self, entry: Entry) -> bool:
        """Whether the file is not where it was below this root."""
        return (_under(entry.path, self.path) and is_absent(entry.path)) or (
            _under(entry.source, self.source) and is_absent(entry.source)
        )


def look_at(given: Path, store: Path) -> Root:
    """A root as it is now; the store itself does not count as something in it."""
    path, source = os.path.abspath(given), os.path.realpath(given)
    try:
        if not stat.S_ISDIR(given.stat().st_mode):
            return Root(given, path, source, "file")
        inside = {os.path.realpath(each) for each in given.iterdir() if not each.name.startswith(".")}
    except (FileNotFoundError, NotADirectoryError):
        return Root(given, path, source, "missing")
    except OSError:
        return Root(given, path, source, "unreadable")
    return Root(given, path, source, "" if inside - {os.path.realpath(store)} else "empty")


def find_missing(
    roots: Sequence[Root], unseen: Iterable[Entry], seen: Container[str]
) -> tuple[list[Entry], dict[Root, int]]:
    """Of the entries that a run did not see: those that are gone, and how many each faulty root keeps."""
    gone: list[Entry] = []
    kept: dict[Root, int] = {}
    for entry in unseen:
        covering = [root for root in roots if root.covers(entry)]
        faulty = next((root for root in covering if root.fault_for(entry)), None)
        if faulty is not None:
            kept[faulty] = kept.get(faulty, 0) + 1
        elif covering and (any(root.shows_gone(entry) for root in covering) or _replaced(entry, seen)):
            gone.append(entry)
    return gone, kept


def find_lost(roots: Sequence[Root], entries: Iterable[Entry]) -> list[Entry]:
    """The entries below roots that are missing, empty, or no folder any more."""
    return [
        entry
        for entry in entries
        if any(root.covers(entry) and root.fault_for(entry) in ("missing", "empty", "file") for root in roots)
    ]


def is_moved(entry: Entry) -> bool:
    """Whether a file whose content was found elsewhere is not there itself, and not merely out of reach."""
    return is_absent(entry.source) and _holds_something(_nearest_folder(entry.source))


def is_absent(path: str) -> bool:
    """Whether there is no such file. One that cannot be looked at, or whose folder cannot be listed, may be there."""
    try:
        Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _listable(_nearest_folder(path))
    except OSError:
        return False
    return False


def _replaced(entry: Entry, seen: Container[str]) -> bool:
    """Whether the path leads to another file that was read, or to what is no file."""
    real = os.path.realpath(entry.path)
    if real != entry.source:
        return real in seen
    try:
        return not stat.S_ISREG(Path(real).stat().st_mode)
    except OSError:
        return False


def _under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _nearest_folder(path: str) -> str:
    """The nearest folder above that exists."""
    folder = os.path.dirname(path)
    while folder != os.path.dirname(folder) and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def _listable(folder: str) -> bool:
    try:
        with closing(os.scandir(folder)):
            return True
    except NotADirectoryError:  # a file took the folder's place
        return True
    except OSError:
        return False


def _holds_something(folder: str) -> bool:
    try:
        return any(not name.startswith(".") for name in os.listdir(folder))
    except OSError:
        return False
