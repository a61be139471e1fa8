"""What a store finds, in which languages, and under which conditions."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from lancedb.index import IvfSq

from finerank.errors import EndpointError, InvalidInput, InvalidSetting, StoreError, StoreNotFound
from finerank.ranking import Document
from finerank.retrieval.index import index
from finerank.retrieval.retriever import StoreRetriever, fuse
from finerank.retrieval.store import Found, Made, Store, StoredPassage, limit_writing
from finerank.retrieval.where import Filter
from finerank.testing import TermsEmbedder

QUESTIONS = {
    "zh.txt": "管理员密码怎么重置？",
    "ja.txt": "パスワードの初期化",
    "th.txt": "รีเซ็ตรหัสผ่าน",
    "ko.txt": "비밀번호 재설정",
    "router.md": "RESET button",
    "en.txt": "warranty, two years",
}


def names(retriever: StoreRetriever, question: str, k: int = 10, where: list[str] | None = None) -> list[str]:
    ranking = retriever.retrieve(question, k, Filter.parse(where or []))
    return [Path(str(result.document.metadata["source"])).name for result in ranking]


@pytest.fixture
def store(index_docs, tmp_path: Path) -> Store:
    index_docs()
    return Store.open(tmp_path / "store")


@pytest.mark.parametrize("mode", ["text", "vector", "hybrid"])
@pytest.mark.parametrize("wanted", QUESTIONS)
def test_questions_in_every_script_find_their_passage(store: Store, mode: str, wanted: str):
    assert names(StoreRetriever(store, TermsEmbedder(), mode), QUESTIONS[wanted])[0] == wanted


@pytest.mark.parametrize("wanted", QUESTIONS)
def test_words_find_only_what_holds_them(store: Store, wanted: str):
    found = names(StoreRetriever(store, TermsEmbedder(), "text"), QUESTIONS[wanted])
    assert found == [wanted]


def test_passages_carry_their_place(store: Store, docs: Path):
    [found] = store.matching("reset button", 5)
    source = Path(str(found.document.metadata["source"]))
    assert source == (docs / "router.md").resolve()
    start, end = found.document.metadata["start"], found.document.metadata["end"]
    assert source.read_text(encoding="utf-8")[start:end] == found.document.text
    assert found.document.metadata["heading"] == "Router > Reset"
    assert str(found.document.metadata["date"]).startswith("20")


def test_a_question_of_no_words_finds_nothing_by_words(store: Store):
    assert store.matching("?!", 5) == []
    with pytest.raises(InvalidInput, match="empty"):
        StoreRetriever(store, TermsEmbedder()).retrieve("  ", 5)


def test_conditions_on_metadata_hold_in_both_searches(index_docs, tmp_path: Path):
    rows = [
        {"id": "a", "text": "reset the router", "lang": "en", "year": 2019, "date": "2019-02-03", "size": 12345678},
        {"id": "b", "text": "reset the router now", "lang": "de", "year": 2022, "date": "2022-02-03", "o'k": 1},
        {"id": "c", "text": "reset the router again", "year": "2024", "note": "it's"},
        {"id": "d", "text": "reset all", "lang": "en", "year": "n/a", "date": "2022-02-04T15:00:00"},
    ]
    records = tmp_path / "rows.jsonl"
    records.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    index_docs([records])
    store = Store.open(tmp_path / "store")

    def keys(*conditions: str) -> list[list[str]]:
        where = Filter.parse(conditions)
        by_words = store.matching("reset", 9, where)
        by_vector = store.nearest(TermsEmbedder().embed_queries(["reset"])[0], 9, where)
        return [sorted(str(found.document.metadata["key"]) for found in list_) for list_ in (by_words, by_vector)]

    assert keys("lang=en") == [["a", "d"]] * 2
    assert keys("year>=2020") == [["b", "c"]] * 2
    assert keys("year<2024", "lang!=en") == [["b"]] * 2
    assert keys("lang!=en") == keys("page!=3", "lang!=en") == [["b", "c"]] * 2
    assert keys("size>12345677") == [["a"]] * 2
    assert keys("date>=2020-01-01", "date<2022-02-04") == [["b"]] * 2
    assert keys("date=2022-02-04") == keys("date>2022-02-03", "date<=2022-02-04") == [["d"]] * 2
    assert keys("date>2022-02-04", "date<2023-01-01") == [[], []]
    assert keys("date=2022-02-04T15:00:00") == keys("lang=en", "date!=2019-02-03") == [["d"]] * 2
    assert keys("note=\ud800") == [[], []]
    assert keys("note=it's") == [["c"]] * 2
    assert keys("source~ROWS", "key=a") == [["a"]] * 2
    assert keys("nothing=1") == [[], []]


@pytest.mark.parametrize(
    "text", ["lang", "year>=new", "date>yesterday", "a>nan", "lang in ()", "lang in (a", "page~3", "source>a", "=x"]
)
def test_what_is_no_condition_is_refused(text: str):
    with pytest.raises(InvalidSetting, match="where"):
        Filter.parse([text])


ROWS = [
    {"id": "a", "lang": "zh-CN", "tags": ["law", "tax"], "sizes": [5, 30, "n/a"], "active": True,
     "author": {"name": "Lee"}},
    {"id": "b", "lang": ["en", "zh_Hant"], "tags": [], "year": "2020", "active": "False",
     "author": None, "rate": 2020.0},
    {"id": "c", "部门": "法务", "a.b": 1, 'it\'s "odd"': "x=y",
     "note": "50% (net) [a|b]\\d", "published": "2024-01-31T23:00"},
    {"id": "d", "lang": "zhuang", "tags": "law", "year": "nan", "a": {"b": [{"c": 2}, {"c": 3}]}, "source": "wiki"},
    {"id": "e", "big": 12345678901234567890, "page": 7, "lang": None, "Größe": "groß", "published": ["2023-05-01"]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["tags=law"], "ad"), (["tags!=law"], "bce"), (["tags~TA"], "a"), (["tags=la"], ""),
        (["lang=zh"], "ab"), (["lang=ZH-cn"], "a"), (["lang!=zh"], "cde"), (["lang=en"], "b"), (["lang=zh-Hant"], "b"),
        (["lang in (en, zhuang)"], "bd"), (["tags in (tax,law)", "lang=zh"], "a"), (['note in ("a, b", x)'], ""),
        (["sizes>20"], "a"), (["sizes<6"], "a"), (["sizes>30"], ""), (["sizes=5"], "a"), (["sizes=n/a"], "a"),
        (["active=true"], "a"), (["active=True"], "a"), (["active=false"], "b"), (["active!=true"], "bcde"),
        (["author.name=Lee"], "a"), (["author~e"], ""), (["author!=x"], "abcde"),
        (["year=2020"], "b"), (["year>=2019"], "b"), (["rate=2020"], "b"), (["rate=2.02e3"], "b"),
        (["rate!=2020"], "acde"),
        (["部门=法务"], "c"), (["部门!=法务"], "abde"), (["部门 ~ 法"], "c"),
        (["a.b=1"], "c"), (["a.b.c=3"], "d"), (["a.b.c>2"], "d"),
        (["it's \"odd\"=x=y"], "c"), (['"it\'s ""odd"""=x=y'], "c"),
        (["note~(NET) ["], "c"), (["note~|b]\\D"], "c"), (["note~.*"], ""), (["note=50% (net) [a|b]\\d"], "c"),
        (['note="50% (net) [a|b]\\d"'], "c"), (['tags!="law"'], "bce"), (['tags ~ "TA"'], "a"),
        (["published=2024-01-31"], "c"), (["published=2024-02-01T07:00+08:00"], "c"),
        (["published<=2024-01-31"], "ce"), (["published>2024-01-31"], ""),
        (["published<2024-01-31"], "e"), (["published!=2024-01-31"], "abde"),
        (["source=wiki"], "d"), (["source~rows.jsonl"], "abcde"),
        (["page=7"], "e"), (["page>=7"], "e"), (["page!=7"], "abcd"),
        (["big=12345678901234567890"], "e"), (["Gro\u0308ße=groß"], "e"), (["lang=null"], ""),
    ],
)  # fmt: skip
def test_conditions_on_fields_of_every_kind(rows_store: Store, conditions: list[str], expected: str):
    found = rows_store.matching("reset", 9, Filter.parse(conditions))
    assert "".join(sorted(str(each.document.metadata["key"]) for each in found)) == expected


@pytest.fixture(scope="module")
def rows_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("rows")
    records = folder / "rows.jsonl"
    records.write_text("\n".join(json.dumps({"text": "reset", **row}) for row in ROWS), encoding="utf-8")
    index([records], folder / "store", TermsEmbedder(), Made("terms", "", 64))
    return Store.open(folder / "store")


def test_what_is_given_for_all_passages_can_be_asked_for(index_docs, docs: Path, tmp_path: Path):
    index_docs([docs / "router.md"], metadata={"部门": "法务", "a b": "1,2", "date": "2020-02-03"})
    store = Store.open(tmp_path / "store")
    for condition in ("部门=法务", "a b=1,2", "date=2020-02-03", "date<2021-01-01"):
        assert store.matching("reset", 9, Filter.parse([condition])), condition


@pytest.mark.parametrize("name", ["source", "start", "page", "heading", "key", "end"])
def test_fields_that_say_where_a_passage_stands_cannot_be_given(index_docs, name: str):
    with pytest.raises(InvalidSetting, match=f"metadata {name}"):
        index_docs(metadata={name: "x"})


def test_a_date_that_is_none_cannot_be_given(index_docs):
    with pytest.raises(InvalidSetting, match="soon"):
        index_docs(metadata={"date": "soon"})


def test_metadata_comes_back_as_it_was(rows_store: Store):
    found = {str(each.document.metadata["key"]): each.document.metadata for each in rows_store.matching("reset", 9)}
    for row in ROWS:
        kept = {name: value for name, value in row.items() if name not in ("id", "source")}
        assert kept.items() <= found[row["id"]].items()


def test_a_long_condition_takes_no_long_time():
    start = time.perf_counter()
    for text in ("a" + " " * 100_000, " in " * 50_000, '"' * 100_001, "a in (" * 20_000):
        with pytest.raises(InvalidSetting):
            Filter.parse([text])
    assert time.perf_counter() - start < 1


def test_a_value_cannot_leave_its_quotes(store: Store):
    assert store.matching("reset", 9, Filter.parse(["source=' OR '1'='1"])) == []


def test_another_embedder_is_refused(store: Store):
    with pytest.raises(StoreError, match="indexed with"):
        StoreRetriever(store, TermsEmbedder(32)).retrieve("reset", 5)
    with pytest.raises(InvalidSetting, match="hybrid, vector, text"):
        StoreRetriever(store, TermsEmbedder(), "both")  # type: ignore[arg-type]


def test_an_open_store_sees_what_is_indexed_later(store: Store, index_docs, docs: Path):
    before = store.version
    (docs / "lamp.txt").write_text("The green lamp blinks.", encoding="utf-8")
    index_docs()
    assert store.version > before
    assert [found.document.text for found in store.matching("lamp", 5)] == ["The green lamp blinks."]


def test_an_embedding_endpoint_that_fails_leaves_the_words(store: Store):
    class Down:
        def embed_queries(self, texts):
            raise EndpointError("is down")

    ranking = StoreRetriever(store, Down()).retrieve("reset button", 5)
    assert len(ranking) == 1
    assert ranking.degraded == "searched by words alone: is down"
    with pytest.raises(EndpointError):
        StoreRetriever(store, Down(), "vector").retrieve("reset button", 5)


def test_no_store_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(StoreNotFound, match="finerank index"):
        Store.open(tmp_path)


@pytest.mark.parametrize("part", ["_versions/*.manifest", "data/*.lance"])
def test_a_damaged_store_says_so(store: Store, part: str):
    for path in (store.folder / "passages.lance").glob(part):
        path.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="index again"):
        Store.open(store.folder).matching("reset", 5)


@pytest.mark.parametrize("dimensions", [64, 20])
def test_the_index_of_a_large_store_finds_what_a_scan_finds(
    dimensions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1200, dimensions), dtype=np.float32)
    vectors[7] = 0  # no direction: nearest to nothing
    store = Store.create(tmp_path / "store", Made("test", "test", dimensions))
    texts = [f"part {number}" for number in range(len(vectors))]
    store.add([StoredPassage(text, text, f"{number % 2}.txt", "d") for number, text in enumerate(texts)], vectors)

    def found(k: int = 20, where: Filter | None = None) -> list[list[str]]:
        return [[each.document.id for each in store.nearest(query, k, where)] for query in queries]

    queries = rng.standard_normal((10, dimensions), dtype=np.float32)
    scanned = found()
    monkeypatch.setattr("finerank.retrieval.store.INDEXED_FROM", 1000)
    store.optimise()
    assert {index.name for index in store._table.list_indices()} == {"terms_idx", "vector_idx"}
    shared = [len({*one} & {*other}) for one, other in zip(scanned, found(), strict=True)]
    assert sum(shared) >= 0.97 * 20 * len(queries)

    parts = IvfSq(distance_type="cosine", num_partitions=40)
    store._table.create_index("vector", config=parts, name="vector_idx", replace=True)
    monkeypatch.setattr("finerank.retrieval.store._PROBES", 1)
    half = found(600, Filter.parse(["source=1.txt"]))
    assert {len(each) for each in half} == {599}


def test_vectors_of_zeros_need_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("finerank.retrieval.store.INDEXED_FROM", 300)
    store = Store.create(tmp_path / "store", Made("test", "test", 64))
    passages = [StoredPassage(str(number), f"part {number}", "a.txt", "d") for number in range(400)]
    store.add(passages, np.zeros((400, 64), np.float32))
    store.optimise()
    assert store.nearest(np.ones(64, np.float32), 5) == []
    assert [found.document.id for found in store.matching("part 7", 1)] == ["7"]


def test_joining_files_leaves_what_the_indices_point_to(store: Store, index_docs, docs: Path):
    def row_ids() -> dict[str, int]:
        rows = store._table.search().with_row_id(True).select(["id"]).to_list()
        return {row["id"]: row["_rowid"] for row in rows}

    before = row_ids()
    (docs / "lamp.txt").write_text("The green lamp blinks.", encoding="utf-8")
    (docs / "router.md").unlink()
    index_docs()
    after = row_ids()
    assert store._table.stats()["fragment_stats"]["num_fragments"] == 1
    assert before.items() - after.items() == {(id_, row) for id_, row in before.items() if "router.md" in id_}
    assert store.matching("RESET button", 5) == []


def test_limits_on_what_lancedb_holds_leave_those_that_are_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LANCE_DEFAULT_IO_BUFFER_SIZE", "8000000")
    monkeypatch.delenv("LANCE_DEFAULT_BATCH_SIZE", raising=False)
    limit_writing()
    assert os.environ["LANCE_DEFAULT_IO_BUFFER_SIZE"] == "8000000"
    assert os.environ["LANCE_DEFAULT_BATCH_SIZE"] == "512"


def test_a_passage_that_is_there_twice_counts_once():
    document = Document("text", "a")
    words, vectors = [Found(document, 8.0), Found(document, 7.0)], [Found(Document("other", "b"), 0.5)]
    assert {each.document.id: each.score for each in fuse(words, vectors, 5)} == pytest.approx({"a": 0.7, "b": 0.3})
