"""Training data of every format comes in as examples; what is broken names its file, line and fix."""

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank import FinerankError, InvalidInput, MissingExtra
from finerank.ranking import is_blank
from finerank.training.examples import READERS, Example, read_examples, with_teacher_scores, write_examples

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def any_examples(draw: st.DrawFn) -> Example:
    passages = draw(st.lists(st.text(), min_size=1, max_size=4))
    numbers = st.lists(NUMBERS, min_size=len(passages), max_size=len(passages)).map(tuple)
    return Example(
        query=draw(st.text(min_size=1).filter(lambda text: not is_blank(text))),
        passages=tuple(passages),
        labels=draw(numbers),
        teacher=draw(st.none() | numbers),
        language=draw(st.sampled_from(["", "zh", "en"])),
    )


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@settings(deadline=None)
@given(st.lists(any_examples(), min_size=1, max_size=4), st.sampled_from(["", ".gz", ".zst"]))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, examples: list[Example], ending: str):
    path = tmp_path_factory.mktemp("examples") / f"train.jsonl{ending}"
    assert write_examples(path, examples) == len(examples)
    assert list(read_examples(path)) == examples
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_compressed_files_are_compressed(tmp_path: Path):
    for ending, magic in ((".gz", b"\x1f\x8b"), (".zst", b"\x28\xb5\x2f\xfd")):
        write_examples(tmp_path / f"x{ending}", [Example("q", ("p",), (1.0,))])
        assert (tmp_path / f"x{ending}").read_bytes().startswith(magic)


def test_every_frame_of_a_zstandard_file_is_read(tmp_path: Path):
    lines = [json.dumps({"query": query, "pos": ["p"]}).encode() + b"\n" for query in "ab"]
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(b"".join(map(zstandard.ZstdCompressor().compress, lines)))
    assert [example.query for example in read_examples(path)] == ["a", "b"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path):
    path = write_lines(tmp_path / "x.jsonl", [{"query": "old", "pos": ["p"]}])

    def broken():
        yield Example("new", ("p",), (1.0,))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_examples(path, broken())
    assert [example.query for example in read_examples(path)] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_lone_surrogate_can_be_written(tmp_path: Path):
    examples = [Example("q \ud83d", ("p",), (1.0,))]
    write_examples(tmp_path / "x.jsonl", examples)
    assert list(read_examples(tmp_path / "x.jsonl")) == examples


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": "q", "passages": ["a", "b"], "labels": [2, 0]}, Example("q", ("a", "b"), (2.0, 0.0))),
        (
            {"query": "q", "passages": ["a"], "labels": [1], "teacher": [3.5], "language": "zh"},
            Example("q", ("a",), (1.0,), (3.5,), "zh"),
        ),
        ({"query": "q", "docs": ["a", "b"], "labels": [1, 0]}, Example("q", ("a", "b"), (1.0, 0.0))),
        ({"query": "q", "pos": ["a"], "neg": ["b", "c"]}, Example("q", ("a", "b", "c"), (1.0, 0.0, 0.0))),
        (
            {"query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [4], "neg_scores": [-1.5]},
            Example("q", ("a", "b"), (1.0, 0.0), (4.0, -1.5)),
        ),
        ({"query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [4]}, Example("q", ("a", "b"), (1.0, 0.0))),
        ({"query": "q", "pos": ["a"]}, Example("q", ("a",), (1.0,))),
        ({"anchor": "q", "positive": "a", "negative": "b"}, Example("q", ("a", "b"), (1.0, 0.0))),
        (
            {"anchor": "q", "positive": "a", "negative_1": "b", "negative_2": "c"},
            Example("q", ("a", "b", "c"), (1.0, 0.0, 0.0)),
        ),
        ({"question": "q", "answer": "a"}, Example("q", ("a",), (1.0,))),
        ({"sentence1": "q", "sentence2": "a", "score": 0.25}, Example("q", ("a",), (0.25,))),
        ({"query": "q", "passage": "a", "label": True}, Example("q", ("a",), (1.0,))),
    ],
)
def test_a_row_of_each_format(tmp_path: Path, row: object, expected: Example):
    assert list(read_examples(write_lines(tmp_path / "x.jsonl", [row]))) == [expected]


def test_neighbouring_pairs_of_a_query_are_one_example(tmp_path: Path):
    rows = [{"query": query, "passage": text, "label": label} for query, text, label in
            [("q", "a", 1), ("q", "b", 0), ("r", "c", 1), ("q", "d", 0)]]  # fmt: skip
    assert list(read_examples(write_lines(tmp_path / "x.jsonl", rows))) == [
        Example("q", ("a", "b"), (1.0, 0.0)),
        Example("r", ("c",), (1.0,)),
        Example("q", ("d",), (0.0,)),
    ]


def test_a_format_can_be_named(tmp_path: Path):
    path = write_lines(tmp_path / "x.jsonl", [{"query": "q", "passage": "a", "score": 0.5}])
    assert list(read_examples(path, "triples")) == [Example("q", ("a",), (1.0,))]
    with pytest.raises(InvalidInput, match="flagembedding"):
        read_examples(path, "parquet")


def test_lines_are_read_as_they_are_needed(tmp_path: Path):
    path = write_lines(tmp_path / "x.jsonl", [{"query": "q", "pos": ["a"]}, "broken"])
    assert next(read_examples(path)).query == "q"


def beir(folder: Path, qrels: str = "qrels/train.tsv") -> Path:
    write_lines(folder / "corpus.jsonl", [{"_id": "p1", "title": "T", "text": "one"}, {"_id": "p2", "text": "two"}])
    write_lines(folder / "queries.jsonl", [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "unjudged"}])
    (folder / qrels).parent.mkdir(exist_ok=True)
    (folder / qrels).write_text("query-id\tcorpus-id\tscore\nq1\tp1\t2\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("qrels", ["qrels/train.tsv", "qrels.tsv"])
def test_a_beir_folder(tmp_path: Path, qrels: str):
    assert list(read_examples(beir(tmp_path, qrels))) == [Example("first", ("T one",), (2.0,))]


def test_candidates_of_a_beir_folder_are_negatives_unless_judged(tmp_path: Path):
    write_lines(beir(tmp_path) / "candidates.jsonl", [{"qid": "q1", "candidates": ["p2", "p1"]}])
    assert list(read_examples(tmp_path)) == [Example("first", ("T one", "two"), (2.0, 0.0))]


def test_a_trec_folder(tmp_path: Path):
    (tmp_path / "qrels.train.tsv").write_text("1 0 11 1\n1 0 12 0\n", encoding="utf-8")
    (tmp_path / "queries.train.tsv").write_text("1\tfirst query\n", encoding="utf-8")
    (tmp_path / "queries.dev.tsv").write_text("1\tanother\n", encoding="utf-8")
    (tmp_path / "collection.tsv").write_text("11\tone\ttab\n12\ttwo\n", encoding="utf-8")
    assert list(read_examples(tmp_path)) == [Example("first query", ("one\ttab", "two"), (1.0, 0.0))]


@pytest.mark.filterwarnings("ignore")  # datasets imports what is being deprecated
@pytest.mark.parametrize("splits", [False, True])
def test_a_folder_saved_by_datasets(tmp_path: Path, splits: bool):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"query": ["q", "q"], "passage": ["a", "b"], "label": [1, 0]})
    (datasets.DatasetDict({"train": data}) if splits else data).save_to_disk(str(tmp_path / "saved"))
    assert list(read_examples(tmp_path / "saved")) == [Example("q", ("a", "b"), (1.0, 0.0))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "not readable as JSON"),
        ("[1]", "not a JSON object"),
        ('{"query": "q", "pos": "a"}', "'pos' must be a list of texts"),
        ('{"query": 3, "pos": ["a"]}', "'query' must be a text"),
        ('{"pos": ["a"]}', "has none of query"),
        ('{"query": " ", "pos": ["a"]}', "query is empty"),
        ('{"query": "q", "pos": []}', "no passages"),
        ('{"query": "q", "pos": ["a"], "pos_scores": [1, 2]}', "1 passages and 2 teacher"),
        ('{"query": "q", "pos": ["a"], "pos_scores": [NaN]}', "NaN"),
        ('{"query": "q", "pos": ["a"], "pos_scores": ["high"]}', "list of numbers"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str):
    path = tmp_path / "x.jsonl"
    path.write_text('{"query": "q", "pos": ["a"]}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=message) as caught:
        list(read_examples(path))
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_bytes_that_are_no_text_are_named(tmp_path: Path):
    damaged = (gzip.compress(b"{}" * 99)[:-9], zstandard.compress(b"{}" * 99)[:-3])
    for name, content in (("x.gz", damaged[0]), ("x.zst", damaged[1]), ("x.jsonl", b"{}\0\1\2")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FinerankError, match=f"{name}: is (damaged|binary)"):
            list(read_examples(tmp_path / name))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le"])
def test_examples_in_other_encodings_are_read(tmp_path: Path, encoding: str, caplog: pytest.LogCaptureFixture):
    row = {"query": "如何重置路由器", "pos": ["请按住机身背面的重置按钮十秒钟。"]}
    (tmp_path / "x.jsonl").write_bytes((json.dumps(row, ensure_ascii=False) + "\n").encode(encoding))
    assert list(read_examples(tmp_path / "x.jsonl")) == [Example(row["query"], tuple(row["pos"]), (1.0,))]
    assert [encoding in record.message for record in caplog.records] == [True] * (encoding != "utf-16")


def test_a_bad_byte_in_examples_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    lines = '{"query": "如何重置路由器", "pos": ["按住按钮"]}\n'.encode() * 3
    (tmp_path / "x.jsonl").write_bytes(lines + lines.replace("如".encode(), b"\xff", 1))
    assert next(iter(list(read_examples(tmp_path / "x.jsonl"))[3:])).query == "\ufffd何重置路由器"
    assert "line 4" in caplog.text


def test_what_is_no_data_is_refused(tmp_path: Path):
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    write_lines(tmp_path / "strange.jsonl", [{"prompt": "x"}])
    (tmp_path / "folder").mkdir()
    for name, message in (("none", "no such"), ("empty.jsonl", "is empty"), ("strange.jsonl", "its fields are prompt"),
                          ("folder", "is no folder of examples")):  # fmt: skip
        with pytest.raises(InvalidInput, match=message) as caught:
            list(read_examples(tmp_path / name))
        assert str(tmp_path / name) in str(caught.value)


def test_folders_with_holes_are_refused(tmp_path: Path):
    (beir(tmp_path) / "qrels/train.tsv").write_text("q1\tp9\t1\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"train.tsv, line 1: there is no text for q1 or p9"):
        list(read_examples(tmp_path))
    (tmp_path / "qrels/train.tsv").write_text("q1\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"train.tsv, line 1: must hold"):
        list(read_examples(tmp_path))
    (tmp_path / "qrels/train.tsv").unlink()
    with pytest.raises(InvalidInput, match="holds none"):
        list(read_examples(tmp_path))


def test_zstandard_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.zst"
    write_examples(path, [Example("q", ("p",), (1.0,))])
    before = path.read_bytes()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtra, match=r"finerank\[train\]"):
        list(read_examples(path))
    with pytest.raises(MissingExtra, match=r"finerank\[train\]"):
        write_examples(path, [])
    assert path.read_bytes() == before


EXAMPLES = [Example("q", ("a", "b"), (1.0, 0.0)), Example("r", ("a",), (1.0,))]


@pytest.mark.parametrize(
    "rows",
    [
        [{"query": "r", "passage": "a", "score": 3}, {"query": "q", "passage": "b", "score": 2},
         {"query": "q", "passage": "a", "score": 1}],
        [[1, 2], [3]],
        [{"scores": [1, 2]}, {"scores": [3]}],
    ],
)  # fmt: skip
def test_a_teachers_scores_are_merged(tmp_path: Path, rows: list[object]):
    scored = list(with_teacher_scores(EXAMPLES, write_lines(tmp_path / "s.jsonl", rows)))
    assert [example.teacher for example in scored] == [(1.0, 2.0), (3.0,)]
    assert [example.labels for example in scored] == [example.labels for example in EXAMPLES]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty"),
        ([{"query": "q", "passage": "a", "score": 1}], "no score for the query 'q' and 'b'"),
        ([[1, 2]], "no scores for example 2"),
        ([[1, 2], [3], [4]], "more lines"),
        ([[1], [3]], "line 1: 2 passages and 1 teacher"),
        ([[1, 2], "high"], "line 2: 'scores' must be"),
    ],
)
def test_scores_that_do_not_fit_are_named(tmp_path: Path, rows: list[object], message: str):
    with pytest.raises(InvalidInput, match=message):
        list(with_teacher_scores(EXAMPLES, write_lines(tmp_path / "s.jsonl", rows)))


def test_the_table_names_every_reader():
    assert set(READERS) == {"finerank", "lists", "flagembedding", "triples", "pairs", "dataset", "beir", "trec"}
