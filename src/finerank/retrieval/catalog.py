"""What is in a store: its documents, and one document's passages in order. Searches nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from finerank.errors import InvalidInput
from finerank.ranking import Document
from finerank.retrieval.store import Store
from finerank.retrieval.where import Filter

_NAMED = 5
_OVERLAP = 4096


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of a store: a file, or with a `key` a record in one."""

    source: str
    key: str
    passages: int
    title: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Passages of a document from the one with this number (from 0) on, and how many there are in all. `texts` leave
    out what a passage repeats of the one before."""

    source: str
    key: str
    first: int
    passages: list[Document]
    texts: list[str]
    total: int


def list_documents(
    store: Store, where: Filter | None = None, offset: int = 0, limit: int = 50
) -> tuple[list[StoredDocument], int]:
    """The documents from `offset` on, by their paths, and how many there are in all."""
    first: dict[tuple[str, str], tuple[int, str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for source, key, id_ in store.scan(("source", "key", "id"), where):
        counts[source, key] += 1
        place = (_number(id_), id_)
        first[source, key] = min(first.get((source, key), place), place)
    page = sorted(counts, key=lambda each: (each[0], first[each][0]))[offset : offset + limit]
    found = {document.id: document.metadata for document in store.get([first[each][1] for each in page])}
    documents = []
    for source, key in page:
        metadata = found.get(first[source, key][1], {})
        title, date = str(metadata.get("title") or ""), str(metadata.get("date") or "")
        documents.append(StoredDocument(source, key, counts[source, key], title, date))
    return documents, len(counts)


def read_document(
    store: Store, source: str, key: str = "", first: int = 0, *, limit: int = 20, characters: int = 20_000
) -> Excerpt:
    """The passages of a document from number `first` on: `limit` at most, and at least one but no more than hold so
    many characters. `source` is its path, or the end of it where that is only one document's.

    Raises `InvalidInput` if there is no such document.
    """
    source = _resolved(store, source)
    ids = [id_ for id_, each in store.scan(("id", "key"), source=source) if not key or each == key]
    if not ids:
        raise InvalidInput(f"source={source}: has no record with the key {key!r}")
    ids.sort(key=_number)
    passages, texts, held = list[Document](), list[str](), 0
    for passage in store.get(ids[first : first + limit]):
        text = passage.text[_shared(passages[-1], passage) :].lstrip() if passages else passage.text
        if passages and held + len(text) > characters:
            break
        passages.append(passage)
        texts.append(text)
        held += len(text)
    return Excerpt(source, key, first, passages, texts, len(ids))


def _resolved(store: Store, source: str) -> str:
    if next(store.scan(("id",), source=source), None) is not None:
        return source
    wanted = PurePath(source).parts
    known = sorted({str(each) for (each,) in store.scan(("source",))})
    found = [each for each in known if wanted and PurePath(each).parts[-len(wanted) :] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(f"source={source}: could be {_shown(found)}; give the whole path")
    raise InvalidInput(f"source={source}: is not in the store; it holds {_shown(known) or 'nothing'}")


def _shared(before: Document, after: Document) -> int:
    """How many characters the second passage begins with that the first ends with."""
    last, first = before.metadata, after.metadata
    if last.get("key") != first.get("key") or int(str(first["start"])) >= int(str(last["end"])):
        return 0
    end = before.text[-_OVERLAP:]
    return next((size for size in range(min(len(end), len(after.text)), 0, -1) if end.endswith(after.text[:size])), 0)


def _number(id_: str) -> int:
    return int(id_.rpartition("#")[2])


def _shown(sources: Sequence[str]) -> str:
    return ", ".join(sources[:_NAMED]) + (f" and {len(sources) - _NAMED} more" if len(sources) > _NAMED else "")
