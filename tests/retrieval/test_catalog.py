"""What is in a store, document by document."""

import json
from pathlib import Path

import pytest

from finerank.errors import InvalidInput
from finerank.retrieval.catalog import list_documents, read_document
from finerank.retrieval.index import Cutting
from finerank.retrieval.store import Store
from finerank.retrieval.where import Filter


def names(documents) -> list[str]:
    return [f"{Path(each.source).name} {each.key}".strip() for each in documents]


def test_documents_come_in_pages_with_their_titles(index_docs, docs: Path, tmp_path: Path):
    rows = [{"id": f"r{number}", "title": f"Row {number}", "text": "one two"} for number in range(12)]
    (docs / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    index_docs()
    store = Store.open(tmp_path / "store")
    found, total = list_documents(store, limit=100)
    assert (len(found), total) == (18, 18)
    records = [each for each in found if each.key]
    assert [(each.key, each.title, each.passages) for each in records] == [(f"r{n}", f"Row {n}", 1) for n in range(12)]
    assert all(each.date.startswith("20") for each in found)
    pages = [list_documents(store, offset=offset, limit=5)[0] for offset in range(0, 20, 5)]
    assert [each for page in pages for each in page] == found
    assert names(list_documents(store, Filter.parse(["key in (r1, r3)"]))[0]) == ["rows.jsonl r1", "rows.jsonl r3"]
    assert list_documents(store, offset=18) == ([], 18)


def test_a_document_is_read_in_order_without_what_its_passages_share(index_docs, docs: Path, tmp_path: Path):
    sentences = [f"Sentence {number} says abab." for number in range(40)]
    (docs / "long.txt").write_text(" ".join(sentences), encoding="utf-8")
    index_docs(cutting=Cutting(20, 8))
    store = Store.open(tmp_path / "store")
    texts, first = [], 0
    while first is not None:
        excerpt = read_document(store, "long.txt", first=first, limit=4)
        texts += excerpt.texts
        first = first + len(excerpt.texts) if first + len(excerpt.texts) < excerpt.total else None
    assert len(texts) == excerpt.total > 8
    whole = read_document(store, str(docs / "long.txt"), limit=100)
    assert " ".join(whole.texts) == " ".join(sentences)
    assert len(read_document(store, "long.txt", limit=100, characters=100).texts) == 1
    assert read_document(store, "long.txt", first=1000).texts == []


def test_what_is_not_there_is_named(index_docs, docs: Path, tmp_path: Path):
    (docs / "warranty/zh.txt").write_text("保修", encoding="utf-8")
    index_docs()
    store = Store.open(tmp_path / "store")
    with pytest.raises(InvalidInput, match=r"could be .*docs/warranty/zh.txt, .*docs/zh.txt"):
        read_document(store, "zh.txt")
    assert read_document(store, "warranty/zh.txt").texts == ["保修"]
    with pytest.raises(InvalidInput, match=r"is not in the store; it holds .*router.md.* and 2 more"):
        read_document(store, "a' OR '1'='1")
    with pytest.raises(InvalidInput, match="no record with the key 'x'"):
        read_document(store, "router.md", "x")
