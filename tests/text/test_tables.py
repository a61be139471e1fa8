"""Tables as people have them: no record and no filled cell is lost, whatever header, delimiter and line ends."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.errors import UnreadableFile
from finerank.text.document import LoadedDocument
from finerank.text.load import load_file
from finerank.text.tables import column_names, find_delimiter


def load(path: Path, content: str | bytes) -> tuple[list[LoadedDocument], list[str]]:
    problems: list[str] = []
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(load_file(path, problems.append)), problems


def texts(path: Path, content: str | bytes) -> list[str]:
    return [document.text for document in load(path, content)[0]]


def test_gbk_after_a_long_stretch_of_ascii_is_not_lost(tmp_path: Path):
    content = "id,text\n" + "".join(f"{n},plain ascii text\n" for n in range(6000)) + "6000,如何退货？请先联系客服。\n"
    documents, problems = load(tmp_path / "a.csv", content.encode("gbk"))
    assert documents[-1].text == "如何退货？请先联系客服。"
    assert len(documents) == 6001
    assert "gb18030" in problems[0]


def test_a_bad_byte_after_a_long_stretch_of_utf8_is_reported_and_the_rest_stays(tmp_path: Path):
    content = "id,text\n" + "如何退货\n".join(f"{n}," for n in range(9000)) + "最后\n"
    documents, problems = load(tmp_path / "a.csv", content.encode() + b"9000,half \xe9 of it\n")
    assert documents[5].text == "如何退货"
    assert documents[-1].text == "half \ufffd of it"
    [problem] = problems
    assert f"byte {len(content.encode()) + 10} (line 9002)" in problem


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ("q1,How to reset it?,Hold it.\nq2,How to return it?,Call us.\n", "q1\nHow to reset it?\nHold it."),
        ("1,成都\n2,北京\n", "1\n成都"),
        ("如何退货？,七天内可退\n运费谁付？,卖家\n", "如何退货？\n七天内可退"),
        ("2024-01-31;ok\n2024-02-01;bad\n", "2024-01-31\nok"),
        ("a@b.com\nc@d.com\n", "a@b.com"),
        (f"{'long words ' * 5}end,router\nCall,us\n", f"{'long words ' * 5}end\nrouter"),
        ("成都,300,300,80\n", "成都\n300\n300\n80"),
        ("one line of text\n", "one line of text"),
        ("yes,1\nyes,2\n", "yes\n1"),
    ],
)  # fmt: skip
def test_a_file_without_a_header_keeps_its_first_record(tmp_path: Path, content: str, first: str):
    found = texts(tmp_path / "a.csv", content)
    assert found[0] == first
    assert len(found) == content.count("\n")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("城市,一月,二月,三月\n成都,300,300,80\n", "城市: 成都\n一月: 300\n二月: 300\n三月: 80"),
        ("name,name,name\na,b,c\n", "name: a\nname (2): b\nname (3): c"),
        ("name,,  \na,b,c\n", "name: a\ncolumn 2: b\ncolumn 3: c"),
        (",,\na,b,c\n", "a\nb\nc"),
        (",,\nname,price\na,1\n", "name: a\nprice: 1"),
        ("name,price\na,b,c,d\n", "name: a\nprice: b\ncolumn 3: c\ncolumn 4: d"),
        ("name,price\na\n", "name: a"),
        ("name,column 3\na,b,c\n", "name: a\ncolumn 3: b\ncolumn 3 (2): c"),
        ('\ufeff"name","price"\n"a","b"\n', "name: a\nprice: b"),
        ("name\tprice\na,1\tb;2\n", "name: a,1\nprice: b;2"),
        ("name|price\na, b, c|d\n", "name: a, b, c\nprice: d"),
        ('"Name, of it; as, it, is";Price\n"A; B";1,5\n"C, D";2,3\n', "Name, of it; as, it, is: A; B\nPrice: 1,5"),
        ("sep=;\nname;price\na,b;c\n", "name: a,b\nprice: c"),
        ('"sep=|"\r\nname|price\r\na;b|c\r\n', "name: a;b\nprice: c"),
        ("name,price\ra,b\rc,d\r", "name: a\nprice: b"),
        ("name,price\r\na,b\r\n", "name: a\nprice: b"),
        ('name,note\na,"line one\nline, two"\n', "name: a\nnote: line one\nline, two"),
        ('name,note\r"a","line one\rline two"\r', "name: a\nnote: line one\rline two"),
        ("\n\nname,price\n\na,b\n", "name: a\nprice: b"),
    ],
)  # fmt: skip
def test_every_cell_of_a_row_is_in_its_text(tmp_path: Path, content: str, text: str):
    assert texts(tmp_path / "a.csv", content)[0] == text


def test_text_columns_that_differ_in_case_only_are_both_kept(tmp_path: Path):
    [document], _ = load(tmp_path / "a.csv", "text,Text,TEXT\na,b,c\n")
    assert (document.text, dict(document.metadata)) == ("a", {"Text": "b", "TEXT": "c"})
    [document], _ = load(tmp_path / "b.csv", "Text,content,metadata,ID\n,b,note,x\n")
    assert (document.text, document.key, dict(document.metadata)) == ("b", "x", {"metadata": "note"})


def test_a_row_that_has_no_text_is_reported_with_its_cells(tmp_path: Path):
    documents, problems = load(tmp_path / "a.csv", "id,text\nq1,\nq2,b\n,\n")
    assert [document.key for document in documents] == ["q2"]
    assert problems == [f"{tmp_path / 'a.csv'}, line 2: has nothing but id 'q1'"]


def test_a_file_with_a_header_only_says_so(tmp_path: Path):
    with pytest.raises(UnreadableFile, match="has the columns id, text, and no rows"):
        load(tmp_path / "a.csv", "id,text\n")


def test_the_line_of_a_row_is_that_of_the_file(tmp_path: Path):
    documents, _ = load(tmp_path / "a.csv", "\nsep=;\nname;price\n\na;b\nc;d\n")
    assert [document.line for document in documents] == [5, 6]


@pytest.mark.parametrize(
    "encoding", ["gb18030", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "big5", "cp932", "euc_kr"]
)
def test_tables_in_other_encodings(tmp_path: Path, encoding: str):
    rows = {
        "big5": "訂單編號,名稱\nA7,請按住按鈕十秒鐘\n",
        "cp932": "番号,名前\nA7,返品の送料は誰が負担しますか\n",
        "euc_kr": "번호,이름\nA7,반품 배송비는 누가 부담합니까\n",
    }.get(encoding, "订单编号,客户\nA7,张三要求退货\n")
    (first, second), (one, two) = (row.split(",") for row in rows.splitlines())
    assert texts(tmp_path / "a.csv", rows.encode(encoding)) == [f"{first}: {one}\n{second}: {two}"]


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cc", "Cs")), max_size=8)
WORD = st.text("abcdefgh甲乙丙", min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(WORD, min_size=2, max_size=4),
    st.lists(st.lists(CELL, max_size=6), min_size=1, max_size=5),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\r\n", "\n", "\r"]),
)
def test_no_cell_vanishes(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], rows: list[list[str]], delimiter: str, end: str
):
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    try:
        documents, problems = load(path, f"sep={delimiter}{end}{written.getvalue()}")
    except UnreadableFile:
        assert not any(cell.strip() for row in rows for cell in row)
        return
    everything = "\n".join([*problems, *(f"{d.text}\n{d.title}\n{d.key}\n{dict(d.metadata)}" for d in documents)])
    for cell in (cell for row in rows for cell in row if cell.strip()):
        assert cell in everything or repr(cell)[1:-1] in everything


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a,b", "c,d"], ","),
        (['"a;b;c",d', '"e;f;g",h'], ","),
        (["name;price", "A;1,5", "B;2,5"], ";"),
        (["text", "Hello, world", "Foo; bar"], "\x1f"),
    ],
)
def test_the_delimiter_is_what_cuts_all_rows_alike(lines: list[str], delimiter: str):
    assert find_delimiter(lines) == delimiter


def test_column_names_differ():
    assert column_names(["a", "a (2)", "a", "a"]) == ["a", "a (2)", "a (3)", "a (4)"]


def test_no_field_of_a_json_record_vanishes(tmp_path: Path):
    rows = [
        {"text": " ", "content": "real", "metadata": "note", "id": "", "_id": 7},
        {"text": "", "title": "t"},
    ]
    documents, problems = load(tmp_path / "a.jsonl", "\r".join(map(json.dumps, rows)))
    [document] = documents
    assert (document.text, document.key) == ("real", "7")
    assert document.metadata["metadata"] == "note"
    assert "line 2: has no filled string" in problems[0]


def test_a_first_row_that_may_be_a_record_is_reported(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("如何退货,七天内可退\n如何开票,登录后申请\n", encoding="utf-8")
    problems: list[str] = []
    (document,) = load_file(path, problems.append)
    assert "七天内可退" in document.text
    assert "如何退货, 七天内可退" in problems[0]
