"""Passages on disk with their vectors and their terms: a folder that holds a LanceDB table. Embeds and ranks nothing.

A store is read by any number of processes while one writes; a reader sees the last complete write. Needs the extra
`rag`.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from finerank.errors import MissingExtra, StoreError, StoreNotFound
from finerank.ranking import Document, Span
from finerank.retrieval.embed import Vectors
from finerank.retrieval.facets import facets
from finerank.retrieval.where import Filter
from finerank.scoring.allocator import return_free_memory
from finerank.scoring.encode import encodable
from finerank.text.terms import terms

try:
    import lancedb
    import pyarrow as pa
    from lancedb.index import FTS, IvfRq, IvfSq
    from lancedb.query import MatchQuery
except ImportError as error:
    raise MissingExtra("the document store", "rag") from error

FORMAT = "3"
"""The version of a store's layout, of its terms, and of finerank-embed: vectors of two of its versions cannot be
compared."""

INDEXED_FROM = 5_000
"""Passages from which on vectors are searched by an index. Below, all are read and compared, in more memory."""

PLACE = ("source", "key", "heading", "page", "start", "end")
"""Metadata of a passage that the store itself gives."""

_TABLE = "passages"
_COLUMNS = ("id", "text", "source", "key", "heading", "start", "end", "page", "date", "metadata")
_ENGINE_PLACE = re.compile(r"^lance error: |,? *\S*\.rs:\d+:\d+")
_DELETED_AT_ONCE = 100
_STALE, _FILES = 0.01, 32  # passages that the indices may be wrong about, files that a search may have to open
_PROBES = 256  # partitions of the vectors' index that are searched: all of them below 2 million passages
_SAMPLED = 32  # vectors a partition that it is laid out from, in place of 256: as all are searched, it matters little
_INDEX_CACHE_MB, _METADATA_CACHE_MB = 256, 64  # LanceDB would take 6 GB and 1 GB
_WRITING_CACHE_MB = 16  # for either, as nothing is searched
_KEPT_VERSIONS = timedelta(minutes=1)
"""How long a reader may take for one search while another process writes."""

_TABLE_OPTIONS = {"new_table_enable_stable_row_ids": "true"}
"""Files are joined without rewriting the indices, for which these are wholly in memory."""

_WRITING_LIMITS = {
    "LANCE_DEFAULT_IO_BUFFER_SIZE": "4000000",  # bytes read ahead, in place of 2 GB
    "LANCE_DEFAULT_BATCH_SIZE": "512",  # rows, in place of 8,192
    "LANCE_SHUFFLE_BATCH_BYTES": "8000000",  # of the vectors' index sorted at once, in place of 128 MB
    "LANCE_SHUFFLE_MAX_PRELOADED_OFFSETS_BYTES": "1",
}


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as it is kept. `source` is a file's path, `key` the record in it, `digest` its content's."""

    id: str
    text: str
    source: str
    digest: str
    key: str = ""
    heading: str = ""
    span: Span = (0, 0)
    page: int | None = None
    date: datetime | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """How a store was made: what a search must know to ask it."""

    embedder: str
    embedder_model: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that a search found, with the search's own score."""

    document: Document
    score: float


class Store:
    """The passages in a folder. Open it with `Store.open`, or make it with `Store.create`."""

    def __init__(self, folder: Path, table: Any, made: Made) -> None:  # noqa: ANN401 - lancedb's table
        self.folder = folder
        self.made = made
        self._table = table

    @classmethod
    def open(cls, folder: Path, *, writing: bool = False) -> Self:
        """The store in `folder`; `writing` spares the memory that makes searches quick. Raises `StoreNotFound`, or
        `StoreError` if it is damaged."""
        if not (folder / f"{_TABLE}.lance").is_dir():
            raise StoreNotFound(f"{folder}: holds no store; make one with `finerank index DOCS --store {folder}`")
        with _faults_named(folder):
            table = _connect(folder, writing=writing).open_table(_TABLE)
            made = _made(folder, table.schema.metadata or {})
        return cls(folder, table, made)

    @classmethod
    def create(cls, folder: Path, made: Made) -> Self:
        """An empty store in `folder`, which is made if need be, opened for writing. Raises `StoreError`."""
        with _faults_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Made aside and moved: a table without its index would be a store that a search fails on.
            with TemporaryDirectory(prefix=".new-", dir=folder) as aside:
                connection = _connect(Path(aside), writing=True)
                table = connection.create_table(_TABLE, schema=_schema(made), storage_options=_TABLE_OPTIONS)
                table.create_index("terms", config=_full_text(), name="terms_idx")
                del table
                (Path(aside) / f"{_TABLE}.lance").rename(folder / f"{_TABLE}.lance")
        return cls.open(folder, writing=True)

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        with _faults_named(self.folder):
            return int(self._table.version)

    @property
    def stamp(self) -> str:
        """The version and when it was written: another table has another."""
        with _faults_named(self.folder):
            last = max(self._table.list_versions(), key=lambda each: int(each["version"]))
            return f"{last['version']} {last['timestamp'].isoformat()}"

    @property
    def optimised(self) -> bool:
        """Whether few passages are unknown to the indices, or deleted and still in them, and few files hold them all.
        Searches find what the indices do not know too, by reading it."""
        with _faults_named(self.folder):
            unknown = self._table.index_stats("terms_idx").num_unindexed_rows
            stats = self._table.stats()
        rows, files = stats["num_rows"], stats["fragment_stats"]["num_fragments"]
        deleted = stats["fragment_stats"]["lengths"]["mean"] * files - rows
        return bool(unknown + deleted <= _STALE * rows and files <= _FILES)

    def __len__(self) -> int:
        with _faults_named(self.folder):
            return int(self._table.count_rows())

    def nearest(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Found]:
        """The k passages of the highest cosine with `vector`, best first."""
        with _faults_named(self.folder):
            query = self._table.search(vector, vector_column_name="vector").distance_type("cosine")
            query = query.refine_factor(10)  # what the index holds best, ten times k, is compared exactly
            query = query.maximum_nprobes(0).minimum_nprobes(_PROBES)  # a narrow filter goes on until it has k
            rows = _filtered(query, where).select([*_COLUMNS, "_distance"]).limit(k).to_list()
        return [Found(_document(row), 1.0 - float(row["_distance"])) for row in rows]

    def matching(self, text: str, k: int, where: Filter | None = None) -> list[Found]:
        """The k passages that share terms with `text`, by BM25, best first. Words in any script match: see `terms`."""
        words = terms(text)
        if not words:
            return []
        with _faults_named(self.folder):
            query = self._table.search(MatchQuery(" ".join(words), "terms"), query_type="fts")
            rows = _filtered(query, where).select([*_COLUMNS, "_score"]).limit(k).to_list()
        return [Found(_document(row), float(row["_score"])) for row in rows]

    def add(self, passages: Sequence[StoredPassage], vectors: Vectors) -> None:
        """Add passages in one step that happens wholly or not at all. Raises `StoreError`, as on a full disk."""
        with _faults_named(self.folder):
            self._table.add(_arrow(passages, vectors, self._table.schema))

    def delete(self, kept: Mapping[str, str | None]) -> None:
        """Delete the passages of the sources that are keys, but for those of the digest that is the value, if any."""
        with _faults_named(self.folder):
            conditions = [_outdated(source, digest) for source, digest in kept.items()]
            for start in range(0, len(conditions), _DELETED_AT_ONCE):
                self._table.delete(" OR ".join(conditions[start : start + _DELETED_AT_ONCE]))

    def optimise(self) -> None:
        """Bring the indices up to date, join small files, and forget versions no reader has any more."""
        with _faults_named(self.folder):
            # Built anew in bounded memory and found as built by `optimize`, which would read and merge all of it.
            steps = [self._index_vectors] if len(self) >= INDEXED_FROM else []
            for step in [*steps, self._index_words, self._join_files]:
                return_free_memory()  # each takes much: it begins with as little as can be
                step()
            return_free_memory()

    def _index_words(self) -> None:
        self._table.create_index("terms", config=_full_text(), name="terms_idx", replace=True)

    def _join_files(self) -> None:
        self._table.optimize(cleanup_older_than=_KEPT_VERSIONS)

    def _index_vectors(self) -> None:
        """An index in two bits a dimension, or in eight where the engine cannot do with two."""
        two = self.made.dimensions % 8 == 0
        kind = partial(IvfRq, num_bits=2) if two else IvfSq
        config = kind(distance_type="cosine", sample_rate=_SAMPLED)
        try:
            self._table.create_index("vector", config=config, name="vector_idx", replace=True)
        except (OSError, RuntimeError, ValueError) as error:
            if "KMeans cannot train" not in str(error):
                raise
            # All vectors are zeros, of texts without a word that the embedder knows: a scan finds as much.

    def sources(self) -> dict[str, int]:
        """How many passages each source has."""
        return {source: sum(counts.values()) for source, counts in self.editions().items()}

    def editions(self) -> dict[str, dict[str, int]]:
        """How many passages each source has, by their digest."""
        found: dict[str, dict[str, int]] = {}
        for source, digest in self.scan(("source", "digest")):
            counts = found.setdefault(source, {})
            counts[digest] = counts.get(digest, 0) + 1
        return found

    def scan(
        self, columns: Sequence[str], where: Filter | None = None, source: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """These columns of all passages, or of those of one source, in no order."""
        conditions = [where.sql()] if where and where.conditions else []
        conditions += [_outdated(source, None)] if source is not None else []
        with _faults_named(self.folder):
            query = self._table.search()
            query = query.where(" AND ".join(conditions)) if conditions else query
            for batch in query.select(list(columns)).to_batches():
                yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)

    def get(self, ids: Sequence[str]) -> list[Document]:
        """The passages of these ids, in their order; those that are not there are left out."""
        if not ids:
            return []
        with _faults_named(self.folder):
            condition = f"id IN ({', '.join(map(_quoted, ids))})"
            rows = self._table.search().where(condition).select(list(_COLUMNS)).limit(2 * len(ids)).to_list()
        found = {row["id"]: _document(row) for row in rows}
        return [found[id_] for id_ in ids if id_ in found]


def limit_writing() -> None:
    """Keep what LanceDB holds in this process while it writes from growing with the store. It reads its limits once,
    so before the first store is opened; those that the environment already has stay."""
    for name, value in _WRITING_LIMITS.items():
        os.environ.setdefault(name, value)


def _connect(folder: Path, *, writing: bool) -> Any:  # noqa: ANN401 - lancedb's connection
    index_mb, metadata_mb = [_WRITING_CACHE_MB] * 2 if writing else (_INDEX_CACHE_MB, _METADATA_CACHE_MB)
    session = lancedb.Session(index_cache_size_bytes=index_mb << 20, metadata_cache_size_bytes=metadata_mb << 20)
    return lancedb.connect(str(folder), read_consistency_interval=timedelta(0), session=session)


def _schema(made: Made) -> Any:  # noqa: ANN401 - pyarrow's schema
    metadata = {
        "format": FORMAT,
        "embedder": made.embedder,
        "embedder_model": made.embedder_model,
        "dimensions": str(made.dimensions),
    }
    return pa.schema(
        [
            ("id", pa.string()),
            ("text", pa.string()),
            ("terms", pa.string()),
            ("vector", pa.list_(pa.float32(), made.dimensions)),
            ("source", pa.string()),
            ("digest", pa.string()),
            ("key", pa.string()),
            ("heading", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("page", pa.int32()),
            ("date", pa.timestamp("us", "UTC")),
            ("metadata", pa.string()),
            ("facets", pa.string()),
        ],
        metadata=metadata,
    )


def _full_text() -> FTS:
    """An index over words that `terms` has already told apart: no tokeniser of LanceDB's cuts Chinese, kana and Thai
    into pairs as BM25 needs them."""
    return FTS(
        base_tokenizer="whitespace",
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        max_token_length=None,
        with_position=False,
        memory_limit=16,  # MB, while it is built, shared by the workers: one a core unless said
        num_workers=2,
    )


def _made(folder: Path, metadata: Mapping[bytes, bytes]) -> Made:
    fields = {name.decode(): value.decode() for name, value in metadata.items()}
    if fields.get("format") != FORMAT:
        raise StoreError(
            f"{folder}: was made in format {fields.get('format')}, and this finerank reads {FORMAT}; index anew into "
            "another folder"
        )
    return Made(fields["embedder"], fields["embedder_model"], int(fields["dimensions"]))


def _arrow(passages: Sequence[StoredPassage], vectors: Vectors, schema: Any) -> Any:  # noqa: ANN401 - pyarrow's
    columns = [
        [each.id for each in passages],
        [encodable(each.text) for each in passages],
        [encodable(" ".join(terms(f"{each.heading}\n{each.text}"))) for each in passages],
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]),
        [encodable(each.source) for each in passages],
        [each.digest for each in passages],
        [encodable(each.key) for each in passages],
        [encodable(each.heading) for each in passages],
        [each.span[0] for each in passages],
        [each.span[1] for each in passages],
        [each.page for each in passages],
        [each.date for each in passages],
        [encodable(json.dumps(dict(each.metadata), ensure_ascii=False, default=str)) for each in passages],
        [encodable(facets(each.metadata, _place(each.source, each.key, each.heading, each.page))) for each in passages],
    ]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _place(source: str, key: str, heading: str, page: int | None) -> dict[str, object]:
    optional = {"key": key, "heading": heading, "page": page}
    return {"source": source} | {name: value for name, value in optional.items() if value}


def _document(row: Mapping[str, Any]) -> Document:
    """A row as a document: where it comes from goes under its metadata, beside what was given."""
    place = {**_place(row["source"], row["key"], row["heading"], row["page"]), "start": row["start"], "end": row["end"]}
    if row["date"] is not None:
        place["date"] = row["date"].astimezone(UTC).isoformat()
    return Document(row["text"], row["id"], {**json.loads(row["metadata"] or "{}"), **place})


def _outdated(source: str, digest: str | None) -> str:
    condition = f"source = {_quoted(source)}"
    return f"({condition} AND digest != {_quoted(digest)})" if digest is not None else condition


def _filtered(query: Any, where: Filter | None) -> Any:  # noqa: ANN401 - lancedb's query
    return query.where(where.sql()) if where and where.conditions else query


def _quoted(text: str) -> str:
    return "'" + encodable(text).replace("'", "''") + "'"


@contextmanager
def _faults_named(folder: Path) -> Iterator[None]:
    """LanceDB raises OSError, RuntimeError or ValueError with the engine's words, whatever the cause."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        raise _store_error(folder, error) from error


def _store_error(folder: Path, error: Exception) -> StoreError:
    said = _ENGINE_PLACE.sub("", " ".join(str(error).split()))[:300]
    lower = said.lower()
    if "no space left" in lower or "os error 28" in lower or "file too large" in lower or "quota" in lower:
        return StoreError(
            f"{folder}: the disk is full ({said}). What was indexed before is kept; make room, index again."
        )
    if "permission denied" in lower or "read-only" in lower:
        return StoreError(f"{folder}: may not be written ({said})")
    return StoreError(
        f"{folder}: the store cannot be read or written; it may be damaged ({said}). Delete the folder and index again."
    )
