import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finerank.errors import InvalidInput, InvalidSetting
from finerank.evaluation.datasets import JudgedQuery, JudgedSet, find_sets, read_qrels, read_run, read_set
from finerank.ranking import Document


def ids(query: JudgedQuery) -> list[object]:
    return [document.id for document in query.candidates]


def test_a_set_has_its_queries_candidates_and_judgements(write_set) -> None:
    judged = read_set(write_set())
    assert (judged.name, judged.language, judged.notes) == ("manual", "en", ())
    first, second = judged.queries
    assert (first.id, first.text, ids(first)) == ("q1", "reset button", ["dry", "lamp", "reset"])
    assert first.grades == {"reset": 1, "dry": 0}
    assert first.relevant == {"reset"}
    assert ids(second) == ["lamp", "dry"], "a relevant document that was not found is not put in"
    assert second.relevant == {"lamp", "unread"}


def test_a_title_stands_on_its_own_line_before_the_text(write_set) -> None:
    dry, lamp, reset = read_set(write_set()).queries[0].candidates
    assert (reset.text, dry.text) == ("Router\nHold the reset button.", "Keep the router dry.")
    assert lamp.text == "The lamp is green."


@pytest.mark.parametrize(
    ("meta", "language"),
    [
        ('{"query_lang": "de", "doc_lang": "de"}', "de"),
        ('{"query_lang": "en", "doc_lang": "zh"}', "cross-lingual"),
        ('{"lang": "ja"}', "ja"),
        ("{}", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_language_is_that_of_meta_json(write_set, meta: str | None, language: str) -> None:
    assert read_set(write_set(meta=meta)).language == language


def test_candidates_from_a_run_replace_those_of_the_folder(write_set, tmp_path: Path) -> None:
    run = tmp_path / "bm25.run"
    run.write_text("q1 Q0 dry 2 1.5 bm25\nq1 Q0 reset 1 2.5 bm25\nq9 Q0 dry 1 1 bm25\n")
    first, second = read_set(write_set(candidates=None), run=run).queries
    assert ids(first) == ["reset", "dry"]
    assert ids(second) == []


def test_candidates_are_searched_for_where_there_are_none(write_set, tmp_path: Path) -> None:
    asked = []

    def search(corpus: list[str], queries: list[str]) -> list[list[int]]:
        asked.append((corpus, queries))
        return [[3, 0], []]

    folder = write_set(candidates=None)
    first, second = (judged := read_set(folder, bm25=search)).queries
    (corpus, queries), *again = asked
    assert (corpus[0], len(corpus), queries) == ("Router\nHold the reset button.", 4, ["reset button", "green lamp"])
    assert (ids(first), ids(second)) == (["unread", "reset"], [])
    assert "the first stage is BM25 over 4 documents" in judged.notes[0]
    (tmp_path / "a.run").write_text("q1 Q0 dry 1 1 a\n")
    assert ids(read_set(folder, run=tmp_path / "a.run", bm25=search).queries[0]) == ["dry"]
    assert ids(read_set(write_set("with"), bm25=search).queries[0]) == ["dry", "lamp", "reset"]
    assert not again


def test_qrels_of_a_split_and_of_a_named_file(write_set, tmp_path: Path) -> None:
    folder = write_set(qrels=None)
    with pytest.raises(InvalidInput, match=r"no qrels.tsv and no qrels/test.tsv"):
        read_set(folder)
    (folder / "qrels").mkdir()
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq2\tlamp\t1\n")
    assert [query.id for query in read_set(folder, split="dev").queries] == ["q2"]
    trec = tmp_path / "qrels.txt"
    trec.write_text("q1 0 reset 3\n")
    assert read_set(folder, qrels=trec).queries[0].grades == {"reset": 3}


def test_what_is_odd_is_noted(write_set) -> None:
    qrels = "query-id\tcorpus-id\tscore\nq1\treset\t0\nq2\tlamp\t1\nq9\tlamp\t1\n"
    candidates = '{"qid": "q1", "candidates": ["dry"]}\n{"qid": "q8", "candidates": ["gone"]}\n'
    judged = read_set(write_set(qrels=qrels, candidates=candidates))
    assert [query.id for query in judged.queries] == ["q1", "q2"]
    unknown, empty, hopeless = judged.notes
    assert "1 judged queries are not in queries.jsonl ('q9'" in unknown
    assert "no candidates ('q2'" in empty
    assert "no relevant document ('q1'" in hopeless


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"corpus": '{"_id": "dry", "text": "a"}\n{"_id": "lamp"\n'}, r"corpus.jsonl, line 2: not readable as JSON"),
        ({"corpus": "[]\n"}, r"corpus.jsonl, line 1: is not a JSON object"),
        ({"corpus": '{"text": "a"}\n'}, r'corpus.jsonl, line 1: has no string "_id"'),
        ({"corpus": '{"_id": "dry", "text": null}\n'}, r'corpus.jsonl, line 1: has no string "text"'),
        ({"corpus": '{"_id": "dry", "text": "a"}\n\n{"_id": "dry", "text": "b"}\n'}, r"line 3: has the _id 'dry'"),
        ({"corpus": '{"_id": "dry", "text": "a"}\n'}, r"candidates.jsonl: the candidate 'lamp' of query 'q1' is not"),
        ({"queries": '{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n'}, r"queries.jsonl, line 2: .*'q1'"),
        ({"queries": '{"_id": "q1", "text": " "}\n'}, r"line 1: query 'q1' is empty"),
        ({"queries": '{"_id": "other", "text": "a"}\n'}, r"no query of queries.jsonl is judged"),
        ({"candidates": '{"qid": "q1", "candidates": "dry"}\n'}, r"line 1: has no list of document ids"),
        ({"candidates": '{"qid": "q1", "candidates": ["dry", "dry"]}\n'}, r"line 1: lists 'dry' twice for query 'q1'"),
        ({"candidates": '{"qid": "q1", "candidates": []}\n' * 2}, r"line 2: lists candidates of query 'q1' again"),
        ({"candidates": None}, r"has no candidates.jsonl; name the first stage's TREC run with --run"),
        ({"qrels": "query-id\tcorpus-id\tscore\nq1\treset\n"}, r"qrels.tsv, line 2: is not `query-id"),
        ({"qrels": "q1\treset\t1\nq1\treset\thigh\n"}, r"qrels.tsv, line 2: is not `query-id"),
        ({"qrels": "q1\treset\t1\nq1\treset\t2\n"}, r"line 2: judges 'reset' for query 'q1' again"),
        ({"meta": "[]"}, r"meta.json: holds no JSON object"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_line(write_set, changed: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        read_set(write_set(**changed))


def test_a_file_that_is_not_utf8_is_read_and_reported(write_set, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_set()
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "caf\xe9"}\n')
    assert read_set(folder).queries[0].text == "café"
    assert "queries.jsonl: not UTF-8 (byte 26, line 1); read as windows-1252" in caplog.text


def test_a_set_that_gzip_compressed_is_the_same(write_set) -> None:
    folder = write_set()
    plain = read_set(folder)
    for path in [path for path in folder.rglob("*") if path.suffix in (".jsonl", ".tsv")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert find_sets([folder]) == [folder]
    assert read_set(folder) == plain
    corpus = folder / "corpus.jsonl.gz"
    corpus.write_bytes(corpus.read_bytes()[:-9])
    with pytest.raises(InvalidInput, match=r"corpus\.jsonl\.gz: is damaged .*; compress it again"):
        read_set(folder)


def test_qrels_without_a_header_and_with_negative_grades(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("\ufeffq 1\td 1\t-1\nq 1\td 2\t3\n", encoding="utf-8")
    assert read_qrels(path) == {"q 1": {"d 1": -1, "d 2": 3}}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("q Q0 d 1 0.5", "is not TREC's"),
        ("q Q0 d first 0.5 tag", "is not TREC's"),
        ("q Q0 d 1 nan tag", "has the score NaN"),
        ("q Q0 a 2 0.5 tag", "lists 'a' again"),
    ],
)
def test_a_bad_line_of_a_run_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "run"
    path.write_text(f"q Q0 a 1 1 tag\n{line}\n")
    with pytest.raises(InvalidInput, match=f"line 2: {complaint}"):
        read_run(path)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.randoms())
def test_a_run_is_read_by_score_then_rank_whatever_its_lines_order(scores: list[int], random) -> None:
    lines = [f"q Q0 d{rank} {rank} {score} t\n" for rank, score in enumerate(scores)]
    random.shuffle(lines)
    with tempfile.NamedTemporaryFile("w", suffix=".run") as file:
        file.writelines(lines)
        file.flush()
        found = read_run(Path(file.name))["q"]
    assert found == [f"d{rank}" for rank, _ in sorted(enumerate(scores), key=lambda pair: -pair[1])]


def test_sets_are_found_alone_and_in_a_folder(write_set, tmp_path: Path) -> None:
    first, second = write_set("b"), write_set("a")
    assert find_sets([first]) == [first]
    assert find_sets([tmp_path]) == [second, first]
    with pytest.raises(InvalidInput, match=r"b: two sets have this name"):
        find_sets([tmp_path, first])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"empty: is not a judged set and holds none"):
        find_sets([tmp_path / "empty"])


def many(count: int) -> JudgedSet:
    candidates = tuple(Document(text) for text in "abc")
    return JudgedSet("many", tuple(JudgedQuery(str(number), "q", candidates, {}) for number in range(count)))


def test_a_set_is_limited_in_queries_and_depth() -> None:
    limited = many(20).limited(5, 2)
    assert [query.id for query in limited.queries] == ["0", "1", "2", "3", "4"]
    assert all(len(query.candidates) == 2 for query in limited.queries)
    assert many(3).limited(None, None) == many(3)
    drawn = [query.id for query in many(20).limited(5, None, seed=1).queries]
    assert drawn == [query.id for query in many(20).limited(5, None, seed=1).queries]
    assert drawn != ["0", "1", "2", "3", "4"]
    assert drawn == sorted(drawn, key=int)
    assert len(many(3).limited(5, None, seed=1).queries) == 3
    for wrong in ((0, None), (None, 0)):
        with pytest.raises(InvalidSetting, match="must be at least 1"):
            many(3).limited(*wrong)
