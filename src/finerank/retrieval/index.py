"""Folders of documents into a store: only what changed, file by file, in batches. Ranks nothing.

A kill at any moment leaves a store that can be searched, and the next run goes on from there: a file's new passages are
added, then recorded as complete, then its old ones deleted; what a dead run left half written is deleted first.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from finerank.errors import InvalidSetting, StoreNotFound, UnreadableFile
from finerank.io.decode import current_encoding
from finerank.retrieval.embed import Embedder, absolute_name
from finerank.retrieval.ledger import Entry, Ledger, open_ledger
from finerank.retrieval.missing import FAULTS, find_lost, find_missing, is_moved, look_at
from finerank.retrieval.store import PLACE, Made, Store, StoredPassage, limit_writing
from finerank.scoring.allocator import return_large_blocks
from finerank.scoring.encode import encodable
from finerank.text.load import (
    LoadedDocument,
    ReadOptions,
    Report,
    find_files,
    load_file,
    parse_date,
    reading_version,
    unsupported,
)
from finerank.text.passages import passages

BATCH_PASSAGES = 1024
"""Passages embedded and written at once: what is held in memory, and what a kill costs at most."""

OPTIMISED_EACH = 100_000
"""Passages after which the indices are brought up to date within a run."""

KEPT_PROBLEMS = 100
"""Problems that the result keeps; all are reported as they come."""

Progress = Callable[[int, int, int], None]
"""Called with bytes read, bytes in all, and passages written."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """How documents are read, and how they are cut: terms of a passage, terms that neighbours share."""

    max_terms: int = 200
    overlap_terms: int = 32
    reading: ReadOptions = field(default=ReadOptions(), repr=False)  # not in the digest: limits change no text


@dataclass(frozen=True, slots=True)
class Indexed:
    """What a run did: files by what became of them, passages written, and the store's totals."""

    added: int
    changed: int
    unchanged: int
    removed: int
    skipped: int
    passages: int
    total_files: int
    total_passages: int
    problems: tuple[str, ...] = ()
    unread_pages: int = 0
    """Pages of PDFs that show something but hold no text, such as scans."""


@dataclass(slots=True)
class _Counts:
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    passages: int = 0
    bytes_read: int = 0
    unread_pages: int = 0
    problems: list[str] = field(default_factory=list)


def index(
    paths: Sequence[Path],
    folder: Path,
    embedder: Embedder,
    made: Made,
    *,
    metadata: Mapping[str, object] | None = None,
    cutting: Cutting | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
) -> Indexed:
    """Index the files at `paths` into the store at `folder`, which is made if there is none.

    Files that are gone from the folders in `paths`, or moved into them, are taken out. What cannot be read is reported
    and skipped, and keeps its old passages: a file, or all that was indexed from a path that is missing or empty now
    (`prune` takes that out). `metadata` is added to every passage. Raises `StoreLocked` while another process writes,
    `StoreError` if the store cannot be written.
    """
    given = _checked(metadata or {})
    return_large_blocks()
    limit_writing()
    run = _Run(folder, embedder, made, given, cutting or Cutting(), progress, report)
    return run(paths)


def prune(paths: Sequence[Path], folder: Path) -> int:
    """Take out of the store at `folder` all that was indexed from those of the `paths` that are missing or empty now.

    Returns of how many files: of none if there is no store. Raises `StoreLocked`, `StoreError`.
    """
    limit_writing()
    try:
        store = Store.open(folder, writing=True)
    except StoreNotFound:
        return 0
    with open_ledger(folder) as ledger:
        _match(ledger, store)
        roots = [look_at(path, folder) for path in paths]
        gone = [entry.source for entry in find_lost(roots, ledger.unseen())]
        ledger.forget(gone)
        _settle(ledger, store, ledger.pending())
        ledger.stamp = store.stamp
    return len(gone)


def _match(ledger: Ledger, store: Store) -> None:
    """Delete what a run that died left behind, and make a ledger that is not this table's say what the table holds."""
    _settle(ledger, store, ledger.pending())
    if ledger.stamp != store.stamp:
        _settle(ledger, store, ledger.rebuild(store.editions()))


def _settle(ledger: Ledger, store: Store, sources: Sequence[str]) -> None:
    """Delete what the table holds of these sources beside what the ledger says."""
    store.delete({source: ledger.edition(source) for source in sources})
    ledger.finish(sources)


class _Run:
    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        made: Made,
        metadata: dict[str, object],
        cutting: Cutting,
        progress: Progress | None,
        report: Report | None,
    ) -> None:
        self._folder = folder
        self._embedder = embedder
        self._made = made
        self._metadata = metadata
        self._cutting = cutting
        self._progress = progress
        self._report = report
        self._counts = _Counts()
        self._total_bytes = 0
        self._waiting: list[StoredPassage] = []
        self._complete: list[Entry] = []  # files whose last passage is waiting
        self._seen: set[str] = set()
        self._unread: set[Path] = set()  # files of kinds that are not read, and what cannot be followed

    def __call__(self, paths: Sequence[Path]) -> Indexed:
        counts = self._counts
        self._total_bytes = sum(_size(path) for path in find_files(paths, lambda _: None, self._folder))
        with open_ledger(self._folder) as self._ledger:
            self._store = self._open()
            _match(self._ledger, self._store)
            for path in find_files(paths, self._problem, self._folder, self._skip, self._unreadable):
                self._file(path)
            self._flush()
            self._remove_missing(paths)
            if not self._store.optimised:
                self._store.optimise()
            self._ledger.stamp = self._store.stamp
            files, total = self._ledger.totals()
        return Indexed(
            counts.added, counts.changed, counts.unchanged, counts.removed, counts.skipped, counts.passages,
            files, total, tuple(counts.problems), counts.unread_pages,
        )  # fmt: skip

    def _open(self) -> Store:
        try:
            store = Store.open(self._folder, writing=True)
        except StoreNotFound:
            self._ledger.clear()
            return Store.create(self._folder, self._made)
        if replace(store.made, embedder=absolute_name(store.made.embedder)) != self._made:
            raise InvalidSetting(
                f"embedder={self._made.embedder}: {self._folder} was made with {store.made.embedder}, and vectors of "
                "two embedders cannot be compared; index into another folder"
            )
        return store

    def _file(self, path: Path) -> None:
        source = os.path.realpath(path)
        if source in self._seen:
            return  # by another path
        self._seen.add(source)
        read_before = self._counts.bytes_read
        try:
            if source != encodable(source):
                raise UnreadableFile(f"{encodable(source)}: a name that is not UTF-8 cannot be kept; rename the file")
            digest = self._digest(path)
            known = self._ledger.get(source)
            if known is not None and known.digest == digest:
                self._counts.unchanged += 1
            else:
                self._read(path, source, digest, read_before)
                self._counts.changed += known is not None
                self._counts.added += known is None
        except UnreadableFile as error:
            self._abandon(source)
            self._problem(str(error))
            self._counts.skipped += 1
        self._ledger.see(encodable(source), encodable(os.path.abspath(path)))
        self._counts.bytes_read = read_before + _size(path)
        self._show()

    def _read(self, path: Path, source: str, digest: str, read_before: int) -> None:
        number = 0
        edition = f"{digest}.{token_hex(4)}"  # tells these rows from older ones, of the same content too
        for document in load_file(path, self._problem, self._cutting.reading):
            self._counts.unread_pages += len(document.unread_pages)
            for passage in passages(document, self._cutting.max_terms, self._cutting.overlap_terms):
                self._waiting.append(
                    StoredPassage(
                        id=f"{source}#{number}",
                        text=passage.text,
                        source=source,
                        digest=edition,
                        key=document.key,
                        heading=passage.heading,
                        span=passage.span,
                        page=passage.page,
                        date=parse_date(self._metadata.get("date")) or document.date or _modified(path),
                        metadata=self._described(document),
                    )
                )
                number += 1
                if len(self._waiting) >= BATCH_PASSAGES:
                    self._counts.bytes_read = read_before + document.done
                    self._flush()
        if not number:
            raise UnreadableFile(f"{path}: holds no text")
        self._complete.append(Entry(source, encodable(os.path.abspath(path)), digest, edition, number))

    def _described(self, document: LoadedDocument) -> dict[str, object]:
        title = {"title": document.title} if document.title else {}
        line = {"line": document.line} if document.line is not None else {}
        return {**title, **line, **document.metadata, **self._metadata}

    def _flush(self) -> None:
        """Write what waits: note whose it is, add, record what is complete, delete what that replaces."""
        if self._waiting:
            self._ledger.begin({passage.source for passage in self._waiting})
            texts = [f"{passage.heading}\n{passage.text}".lstrip() for passage in self._waiting]
            self._store.add(self._waiting, self._embedder.embed_passages(texts))
            before = self._counts.passages
            self._counts.passages += len(self._waiting)
            due = self._counts.passages // OPTIMISED_EACH > before // OPTIMISED_EACH
            self._waiting = []
            if due:
                self._store.optimise()
        replaced = [entry.source for entry in self._complete if self._ledger.get(entry.source) is not None]
        self._ledger.record(self._complete)
        _settle(self._ledger, self._store, replaced)
        self._ledger.finish(entry.source for entry in self._complete)
        self._complete = []
        self._show()

    def _abandon(self, source: str) -> None:
        """Take back what was read of a file that turned out unreadable."""
        self._waiting = [passage for passage in self._waiting if passage.source != source]
        if source in self._ledger.pending():
            _settle(self._ledger, self._store, [source])

    def _remove_missing(self, paths: Sequence[Path]) -> None:
        """Take out what is gone or moved, and say what is out of reach."""
        moved = {entry.source for entry in self._ledger.copied() if is_moved(entry)}
        unseen = [entry for entry in self._ledger.unseen() if entry.source not in moved]
        roots = [look_at(path, self._folder) for path in paths]
        gone, kept = find_missing(roots, unseen, self._seen)
        removed = [*moved, *(entry.source for entry in gone)]
        self._ledger.forget(removed)
        self._counts.removed = len(removed)
        _settle(self._ledger, self._store, self._ledger.pending())
        for root, count in kept.items():
            remedy = "" if root.fault == "unreadable" else ". If they are gone for good, index it again with --prune"
            self._problem(f"{root.given}: {FAULTS[root.fault]}; the {count} files indexed from it stay{remedy}")
        lost = {root.given for root in roots if root in kept or root.fault in ("missing", "unreadable")}
        self._counts.skipped += len(lost | self._unread)

    def _digest(self, path: Path) -> str:
        """The hash of the content, and of all else that its passages are made from."""
        state = hashlib.blake2b(repr((self._cutting, sorted(self._metadata.items()))).encode(), digest_size=16)
        state.update(reading_version(path, self._cutting.reading).encode())
        state.update((current_encoding() or "").encode())
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    state.update(block)
        except OSError as error:
            raise UnreadableFile(f"{path}: {error.strerror}") from error
        return state.hexdigest()

    def _skip(self, path: Path) -> None:
        self._problem(unsupported(path))
        self._unread.add(path)

    def _problem(self, what: str) -> None:
        if len(self._counts.problems) < KEPT_PROBLEMS:
            self._counts.problems.append(what)
        if self._report is not None:
            self._report(what)

    def _unreadable(self, path: Path, why: str) -> None:
        self._problem(f"{path}: {why}")
        self._unread.add(path)

    def _show(self) -> None:
        if self._progress is not None:
            self._progress(self._counts.bytes_read, self._total_bytes, self._counts.passages)


def _checked(metadata: Mapping[str, object]) -> dict[str, object]:
    """Metadata for all passages; what the store itself says of a passage would hide it."""
    for name in metadata:
        if name in PLACE:
            raise InvalidSetting(
                f"metadata {name}: says where a passage stands, and cannot be given; take another name"
            )
    if "date" in metadata and parse_date(metadata["date"]) is None:
        raise InvalidSetting(f"metadata date={metadata['date']}: is no date; write 2024-01-31")
    return dict(metadata)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _modified(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, OverflowError, ValueError):
        return None
