"""Files of every kind that is read, and what is wrong with some."""

import csv
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from finerank.errors import UnreadableFile
from finerank.text.headings import heading_paths, markdown_headings
from finerank.text.load import LoadedDocument, decode, find_files, load_file
from finerank.text.passages import passages


def load(path: Path) -> tuple[list[LoadedDocument], list[str]]:
    problems: list[str] = []
    return list(load_file(path, problems.append)), problems


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_markdown_keeps_its_headings_and_front_matter(tmp_path: Path):
    text = "---\ntitle: Router\ndate: 2024-01-31\nlang: en\n---\n# Set up\nPlug it in.\n## Reset\nHold it.\n"
    [document], _ = load(write(tmp_path / "a.md", text))
    assert document.title == "Router"
    assert document.date == datetime(2024, 1, 31, tzinfo=UTC)
    assert document.metadata["lang"] == "en"
    first, _ = passages(document, 100, 0)
    assert first.text == "# Set up\nPlug it in."
    cut = list(passages(document, 8, 0))
    assert [(each.heading, each.text.splitlines()[-1]) for each in cut] == [
        ("Router > Set up", "Plug it in."),
        ("Router > Set up > Reset", "Hold it."),
    ]
    assert all(text[slice(*each.span)] == each.text for each in cut)


def test_headings_in_code_are_none():
    text = "# A\n```sh\n# no\n```\ntext\n~~~\n# no\n"
    assert [heading.title for heading in markdown_headings(text)] == ["A"]


def test_a_heading_ends_those_below_it():
    text = "# A\na\n## B #\nb\n### C\nc\n## D\nd\n# E\ne"
    places = [text.index(letter) for letter in "abcde"]
    assert list(heading_paths(markdown_headings(text), places)) == ["A", "A > B", "A > B > C", "A > D", "E"]


@pytest.mark.parametrize("part", ["# a\n\n", "```\n# b\n```\n", "# a" + " " * 20, "<h1>", "<title>", "第一章 a\n"])
@pytest.mark.parametrize("suffix", [".md", ".html", ".txt"])
def test_long_files_of_one_part_take_no_long_time(tmp_path: Path, part: str, suffix: str):
    path = write(tmp_path / f"a{suffix}", part * 20_000)
    [document], _ = load(path)
    assert sum(1 for _ in passages(document, 200, 32)) <= 20_000  # quadratic steps would take minutes


def test_html_is_cleaned_and_its_offsets_lie_in_the_source(tmp_path: Path):
    source = (
        "<html lang=zh><head><title>手册 &amp; 帮助</title><script>var x = '<h1>no</h1>'</script></head>"
        "<body><h1>安装</h1><p>连接<b>电源</b>。</p><h2>重置</h2><p>按住按钮&nbsp;十秒。</p></body></html>"
    )
    [document], _ = load(write(tmp_path / "a.html", source))
    assert document.title == "手册 & 帮助"
    assert document.metadata == {"lang": "zh"}
    assert "no" not in document.text
    cut = list(passages(document, 8, 0))
    assert [each.heading for each in cut] == ["手册 & 帮助 > 安装", "手册 & 帮助 > 安装 > 重置"]
    assert source[slice(*cut[1].span)] == "重置</h2><p>按住按钮&nbsp;十秒。"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("第一章 安装\n将路由器放在通风处。\n第二章 密码\n按住重置按钮十秒。", ["第一章 安装", "第二章 密码"]),
        ("第1節 設置\n風通しのよい場所に置きます。\n第2節 初期化\nボタンを押します。", ["第1節 設置", "第2節 初期化"]),
        ("บทที่ 1 การติดตั้ง\nวางเราเตอร์ในที่แห้ง\nบทที่ 2 รหัสผ่าน\nกดปุ่มค้างไว้สิบวินาที", ["บทที่ 1 การติดตั้ง", "บทที่ 2 รหัสผ่าน"]),
    ],
    ids=["zh", "ja", "th"],
)  # fmt: skip
def test_chapters_of_plain_text_part_its_passages(tmp_path: Path, text: str, parts: list[str]):
    [document], _ = load(write(tmp_path / "a.txt", text))
    assert list(dict.fromkeys(each.heading for each in passages(document, 30, 0))) == parts


def test_a_docx_has_headings_and_tables(tmp_path: Path):
    import docx

    document = docx.Document()
    document.add_heading("Travel", 1)
    document.add_paragraph("File the costs of travel within thirty days of it.")
    document.add_heading("Hotels", 2)
    row = document.add_table(1, 2).rows[0]
    row.cells[0].text, row.cells[1].text = "Up to", "120 euros a night"
    document.save(str(tmp_path / "a.docx"))
    [loaded], _ = load(tmp_path / "a.docx")
    found = [(each.heading, each.text.splitlines()[-1]) for each in passages(loaded, 12, 0)]
    assert found == [
        ("Travel", "File the costs of travel within thirty days of it."),
        ("Travel > Hotels", "Up to | 120 euros a night"),
    ]


def test_records_have_ids_titles_and_metadata(tmp_path: Path):
    rows = [
        {"_id": "d1", "title": "Reset", "text": "Hold it.", "lang": "en", "metadata": {"year": 2020}},
        "just a string",
        {"id": 7, "contents": "Keep it dry.", "date": "2023-05-06"},
    ]
    lines = [json.dumps(row) for row in rows] + ["{broken", '{"title": "no text"}', "[1]"]
    documents, problems = load(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert [document.key for document in documents] == ["d1", "line 2", "7"]
    assert documents[0].metadata == {"lang": "en", "year": 2020}
    assert documents[0].title == "Reset"
    assert documents[2].date == datetime(2023, 5, 6, tzinfo=UTC)
    assert [problem.split(":")[0].rpartition(", ")[2] for problem in problems] == ["line 4", "line 5", "line 6"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_are_read_row_by_row(tmp_path: Path, delimiter: str):
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["Question", "ID", "Answer"], ['A "how"\nwith a break?', "q1", "So."], ["", "", ""]])
    [document], _ = load(path)
    assert document.key == "q1"
    assert document.text == 'Question: A "how"\nwith a break?\nAnswer: So.'
    assert document.metadata["Answer"] == "So."


def test_a_text_column_is_the_text(tmp_path: Path):
    [document], _ = load(write(tmp_path / "a.csv", "lang,Text\nen,Hold it."))
    assert (document.text, document.metadata) == ("Hold it.", {"lang": "en"})


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig"])
def test_other_encodings_are_told(encoding: str):
    text = "要重置路由器的管理员密码，请按住机身背面的重置按钮十秒钟，直到指示灯闪烁。\r\n第二行"
    problems: list[str] = []
    assert decode(text.encode(encoding), "a.txt", problems.append) == text.replace("\r\n", "\n")
    assert len(problems) == (encoding == "gb18030")
    assert all("may be wrong" in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"abc\0\0\1\2", "binary"),
        ("a.pdf", b"%PDF-1.4 nothing more", "not readable as PDF"),
        ("a.docx", b"PK\3\4 nothing", "not readable as DOCX"),
        ("a.csv", b"\n\n", "columns' names"),
        ("a.xyz", b"abc", "of a kind"),
    ],
)
def test_a_bad_file_says_so(tmp_path: Path, name: str, content: bytes, complaint: str):
    with pytest.raises(UnreadableFile, match=complaint):
        load(write(tmp_path / name, content))


def test_links_to_folders_elsewhere_and_pipes_are_named(tmp_path: Path):
    docs, shared = tmp_path / "docs", tmp_path / "shared"
    (docs / "old").mkdir(parents=True)
    shared.mkdir()
    (docs / "old/a.txt").write_text("a", encoding="utf-8")
    (shared / "b.txt").write_text("b", encoding="utf-8")
    (docs / "current").symlink_to("old")
    (docs / "shared").symlink_to(shared)
    (docs / "top").symlink_to(tmp_path)
    os.mkfifo(docs / "pipe.txt")
    unreadable: dict[str, str] = {}
    note = lambda path, why: unreadable.update({path.name: why})  # noqa: E731
    assert [path.name for path in find_files([docs], pytest.fail, unreadable=note)] == ["a.txt"]
    assert set(unreadable) == {"pipe.txt", "shared", "top"}
    assert str(shared) in unreadable["shared"]
    unreadable.clear()
    assert [path.name for path in find_files([docs, shared], pytest.fail, unreadable=note)] == ["a.txt", "b.txt"]
    assert set(unreadable) == {"pipe.txt", "top"}


def test_folders_are_walked_in_order_and_hidden_files_passed_over(tmp_path: Path):
    for name in ("b/2.md", "b/1.txt", "a.csv", ".git/x.md", "b/.y.md", "store/z.md", "c.bin"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x", encoding="utf-8")
    problems: list[str] = []
    found = find_files([tmp_path, tmp_path / "c.bin", tmp_path / "none"], problems.append, tmp_path / "store")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.csv", "b/1.txt", "b/2.md"]
    assert [problem.rpartition(": ")[2][:9] for problem in problems] == ["of a kind", "no such f"]
