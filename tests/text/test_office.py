# ruff: noqa: E501 - a case reads better on one line
"""Office files of the other kinds, mail, notebooks and JSON; and files made to do harm."""

import json
import sys
import zipfile
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from finerank.errors import MissingExtra, UnreadableFile
from finerank.text.load import READERS, LoadedDocument, find_files, load_file


def load(path: Path) -> LoadedDocument:
    [document] = load_file(path, pytest.fail)
    return document


def headings(document: LoadedDocument) -> list[tuple[int, str]]:
    assert all(document.text[each.start :].startswith(each.title) for each in document.headings)
    return [(each.level, each.title) for each in document.headings]


def write_zip(path: Path, parts: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def test_a_workbook_has_a_section_for_each_sheet_and_a_line_for_each_row(tmp_path: Path):
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Rates"
    sheet.append(["City", "Rate", "From", "Share"])
    sheet.append(["成都", 300, datetime(2024, 1, 2), 0.15])
    sheet["D2"].number_format = "0%"
    sheet.append(["x", None, None, True])
    sheet.append(["sum", "=B2*2"])
    sheet["XFD6"] = "far"
    book.create_sheet("Empty")
    book.create_sheet("Two")["A1"] = 1.5
    book.save(tmp_path / "a.xlsx")
    document = load(tmp_path / "a.xlsx")
    lines = document.text.split("\n")
    assert lines[:5] == [
        "Rates",
        "City | Rate | From | Share",
        "成都 | 300 | 2024-01-02 | 15%",
        "x |  |  | TRUE",
        "sum | =B2*2 |  | ",
    ]
    assert lines[5].endswith("far")
    assert len(lines[5]) < 100
    assert headings(document) == [(1, "Rates"), (1, "Two")]


def test_a_presentation_has_a_page_for_each_slide(tmp_path: Path):
    import pptx
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    slides = pptx.Presentation()
    first = slides.slides.add_slide(slides.slide_layouts[1])
    first.shapes.title.text, first.placeholders[1].text = "Intro", "Point one\nPoint two"
    first.notes_slide.notes_text_frame.text = "Speak up"
    second = slides.slides.add_slide(slides.slide_layouts[5])
    second.shapes.title.text = "Rates"
    table = second.shapes.add_table(2, 4, 0, 0, 9, 9).table
    for place, text in enumerate(["成都", "300", "300", "", "all", "", "b", "b"]):
        table.cell(place // 4, place % 4).text = text
    table.cell(1, 0).merge(table.cell(1, 1))
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "grouped"
    figures = CategoryChartData()
    figures.categories = ["East", "West"]
    figures.add_series("Q1", (19, 21))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 9, 9, figures)
    slides.core_properties.title = "Talk"
    slides.save(str(tmp_path / "a.pptx"))
    document = load(tmp_path / "a.pptx")
    assert document.text == (
        "Intro\nPoint one\nPoint two\nSpeak up\n\nRates\n成都 | 300 | 300 | \nall | b | b\ngrouped\n | East | West\nQ1 | 19 | 21"
    )
    assert document.pages == (0, document.text.index("Rates"))
    assert (document.title, headings(document)) == ("Talk", [(1, "Intro"), (1, "Rates")])


OPEN = (
    '<office:document-content xmlns:office="urn:office" xmlns:text="urn:text" xmlns:table="urn:table" xmlns:draw="urn:draw">'
    "<office:body>{}</office:body></office:document-content>"
)


def test_an_odt_has_headings_tables_notes_and_no_deleted_text(tmp_path: Path):
    body = (
        "<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        "<text:table-of-content><text:p>Guide 1</text:p></text:table-of-content>"
        '<text:h text:outline-level="2">Guide</text:h><text:p>Some<text:s text:c="2"/><text:span>text</text:span>'
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>the note</text:p></text:note-body>"
        "</text:note><office:annotation><text:p>comment</text:p></office:annotation> ends<text:line-break/>here.</text:p>"
        "<text:p><draw:frame><draw:text-box><text:p>boxed</text:p></draw:text-box></draw:frame></text:p>"
        "<text:list><text:list-item><text:p>item</text:p></text:list-item></text:list>"
        "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>h</text:p></table:table-cell>"
        '<table:table-cell table:number-columns-repeated="2"><text:p>k</text:p></table:table-cell></table:table-row>'
        "</table:table-header-rows><table:table-row><table:table-cell table:number-columns-spanned='2'><text:p>wide</text:p>"
        "</table:table-cell><table:covered-table-cell/><table:table-cell/></table:table-row></table:table></office:text>"
    )
    meta = (
        '<office:document-meta xmlns:office="urn:office" xmlns:dc="urn:dc"><office:meta><dc:title>Book</dc:title>'
        "<dc:date>2024-01-02T00:00:00</dc:date></office:meta></office:document-meta>"
    )
    document = load(write_zip(tmp_path / "a.odt", {"content.xml": OPEN.format(body), "meta.xml": meta}))
    assert document.text == "Guide\nSome  text ends\nhere.\nthe note\nboxed\nitem\nh | k | k\nwide |"[:-1] + "| "
    assert (document.title, document.date) == ("Book", datetime(2024, 1, 2, tzinfo=UTC))
    assert headings(document) == [(2, "Guide")]


def test_a_spreadsheet_of_repeated_cells_is_not_written_out(tmp_path: Path):
    cells = '<table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell table:number-columns-repeated="16383"/>'
    rows = f'<table:table-row>{cells}</table:table-row><table:table-row table:number-rows-repeated="1048575"><table:table-cell/></table:table-row>'
    body = f'<office:spreadsheet><table:table table:name="Sheet">{rows}</table:table></office:spreadsheet>'
    document = load(write_zip(tmp_path / "a.ods", {"content.xml": OPEN.format(body)}))
    assert document.text == "Sheet\na"
    assert headings(document) == [(1, "Sheet")]


CONTAINER = "<container><rootfiles><rootfile full-path='b/c.opf'/></rootfiles></container>"
BOOK = (
    "<package xmlns:dc='urn:dc'><metadata><dc:title>Book</dc:title><dc:language>en</dc:language><dc:date>2020-01-02</dc:date>"
    "</metadata><manifest><item id='2' href='two.xhtml'/><item id='1' href='one%20a.xhtml'/><item id='n' href='n.xhtml' "
    "properties='nav'/></manifest><spine><itemref idref='n'/><itemref idref='1'/><itemref idref='2'/></spine></package>"
)
CHAPTER = '<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "x.dtd"><html><body>{}</body></html>'


def test_a_book_has_its_chapters_in_reading_order(tmp_path: Path):
    parts: dict[str, str | bytes] = {
        "META-INF/container.xml": CONTAINER,
        "b/c.opf": BOOK,
        "b/one a.xhtml": CHAPTER.format("<h1>One</h1><p>First &amp; foremost.</p>"),
        "b/two.xhtml": CHAPTER.format("<h1>Two</h1><table><tr><td>a<td>b</table>"),
        "b/n.xhtml": CHAPTER.format("<nav>One Two</nav>"),
    }
    document = load(write_zip(tmp_path / "a.epub", parts))
    assert document.text == "One\nFirst & foremost.\n\nTwo\na | b"
    assert headings(document) == [(1, "One"), (1, "Two")]
    assert (document.title, document.metadata) == ("Book", {"lang": "en"})
    encrypted = write_zip(tmp_path / "b.epub", {**parts, "b/two.xhtml": b"\0\1\2"})
    with pytest.raises(UnreadableFile, match="protected"):
        load(encrypted)


def test_mail_has_its_text_once_and_its_attachments(tmp_path: Path):
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["Date"] = "报销 reminder", "ann@x.org", "Mon, 01 Jan 2024 10:00:00 +0000"
    mail.set_content("Hand it in by\nFriday.")
    mail.add_alternative("<p>Hand it in by Friday.</p>", subtype="html")
    mail.add_attachment(b"# Rates\n300\n", maintype="text", subtype="markdown", filename="费用.md")
    mail.add_attachment(b"PK", maintype="application", subtype="zip", filename="x.zip")
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="scan.png")
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    problems: list[str] = []
    message, attached = load_file(tmp_path / "a.eml", problems.append)
    assert message.text == "报销 reminder\n\nHand it in by\nFriday."
    assert (message.title, message.key, message.metadata["from"]) == ("报销 reminder", "", "ann@x.org")
    assert message.date == datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert (attached.key, attached.text) == ("费用.md", "# Rates\n300\n")
    assert len(problems) == 2
    assert "x.zip" in problems[0]
    assert "scan.png" in problems[1]


def test_mail_in_html_and_forwarded_mail(tmp_path: Path):
    inner = EmailMessage()
    inner["Subject"] = "Old"
    inner.set_content("Old text")
    mail = EmailMessage()
    mail["Subject"] = "New"
    mail.set_content("<table><tr><td>a<td>b</table>", subtype="html")
    mail.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    assert load(tmp_path / "a.eml").text == "New\n\na | b\n\nOld\n\nOld text"


def test_a_notebook_has_its_text_code_and_results(tmp_path: Path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "source": "x = 1\n# no heading",
            "outputs": [{"output_type": "stream", "text": ["out\n"]}, {"data": {"text/plain": "7", "image/png": "="}}],
        },
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "metadata": {"kernelspec": {"language": "python"}}}))
    document = load(tmp_path / "a.ipynb")
    assert document.text == "# Title\ntext\n\n```python\nx = 1\n# no heading\n```\n\n```\nout\n```\n\n```\n7\n```"
    assert [each.title for each in document.headings] == ["Title"]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ([{"text": "a"}, {"content": "b"}], ["a", "b"]),
        (["a", "b"], ["a", "b"]),
        ({"total": 2, "items": [{"text": "a"}, {"text": "b"}]}, ["a", "b"]),
        ({"text": "a", "lang": "en"}, ["a"]),
        (
            {"name": "X", "ports": [80, 443], "tls": {"on": True, "key": None}},
            ["name: X\nports: 80\nports: 443\ntls.on: True"],
        ),
        ([1, [2, "b"]], ["1\n2\nb"]),
    ],
)
def test_json_is_read_as_records_or_as_paths_and_values(tmp_path: Path, value: object, texts: list[str]):
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
    assert [document.text for document in load_file(tmp_path / "a.json", pytest.fail)] == texts


def test_a_record_without_text_is_reported(tmp_path: Path):
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"x": 1}]')
    problems: list[str] = []
    assert len(list(load_file(tmp_path / "a.json", problems.append))) == 1
    assert "record 2" in problems[0]


@pytest.mark.parametrize(
    ("name", "text", "title", "found"),
    [
        ("a.rst", "=====\nGuide\n=====\n\nSet up\n------\n\ntext\n\n设置密码\n--------\n\n- no\n", "Guide", [(1, "Guide"), (2, "Set up"), (2, "设置密码")]),
        ("a.org", "#+TITLE: Guide\n* TODO [#A] Set up :home:\ntext\n** Reset\n", "Guide", [(1, "Set up"), (2, "Reset")]),
    ],
)  # fmt: skip
def test_headings_of_other_markup(tmp_path: Path, name: str, text: str, title: str, found: list[tuple[int, str]]):
    (tmp_path / name).write_text(text, encoding="utf-8")
    document = load(tmp_path / name)
    assert (document.text, document.title) == (text, title)
    assert [(each.level, each.title) for each in document.headings] == found


RELATIONSHIP = "<Relationships><Relationship Id='r' Type='x/officeDocument' Target='{}'/></Relationships>"
PARTS = {
    "a.docx": ("_rels/.rels", RELATIONSHIP.format("d.xml"), "d.xml", "<d><body><p><r><t>{}</t></r></p></body></d>"),
    "a.pptx": ("_rels/.rels", RELATIONSHIP.format("d.xml"), "d.xml", "<d><sldIdLst>{}</sldIdLst></d>"),
    "a.xlsx": ("_rels/.rels", RELATIONSHIP.format("d.xml"), "d.xml", "<d>{}</d>"),
    "a.odt": ("mimetype", "odt", "content.xml", "<d><body><text><p>{}</p></text></body></d>"),
    "a.epub": ("mimetype", "epub", "META-INF/container.xml", "<d>{}</d>"),
}
ENTITIES = '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE d [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("declared", [ENTITIES, EXTERNAL], ids=["internal", "external"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_entities_are_refused(tmp_path: Path, name: str, declared: str, encoding: str):
    other, content, main, xml = PARTS[name]
    source = f'<?xml version="1.0" encoding="{encoding}"?>{declared}{xml.format("&b;")}'
    with pytest.raises(UnreadableFile, match=rf"{name}.*entities"):
        load(write_zip(tmp_path / name, {other: content, main: source.encode(encoding)}))


@pytest.mark.parametrize("name", PARTS)
def test_zip_bombs_are_refused_unread(tmp_path: Path, name: str):
    other, content, main, xml = PARTS[name]
    bomb = xml.format(" " * (17 << 20))
    with pytest.raises(UnreadableFile, match="zip bomb"):
        load(write_zip(tmp_path / name, {other: content, main: bomb}))


def read_here(path: Path) -> None:
    """Read a file in this process, where it can be patched."""
    list(READERS[path.suffix](path, pytest.fail))


def test_many_large_parts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("finerank.text.office.MAX_BYTES", 1 << 20)
    parts: dict[str, str | bytes] = {f"{number}.xml": " " * (1 << 18) for number in range(5)}
    with pytest.raises(UnreadableFile, match=r"unpacks to 1 MiB in 5 parts.*split"):
        read_here(write_zip(tmp_path / "a.docx", parts))


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.odt", "a.epub"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"PK\3\4 nothing", "not readable as"), (b"\xd0\xcf\x11\xe0 old", "encrypted, or in the binary format"), (b"", "not readable")],
)  # fmt: skip
def test_damaged_and_encrypted_office_files_say_so(tmp_path: Path, name: str, content: bytes, complaint: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFile, match=complaint):
        load(tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("a.json", "{"), ("a.ipynb", "[]"), ("a.eml", "no header")])
def test_other_damaged_files_say_so(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(UnreadableFile, match=name):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "module"), [("a.docx", "lxml.etree"), ("a.odt", "lxml.etree"), ("a.xlsx", "openpyxl")]
)
def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(MissingExtra, match=r"finerank\[rag\]"):
        read_here(tmp_path / name)


def test_files_that_are_not_read_are_handed_out(tmp_path: Path):
    for name in ("a.md", "b.png", "old.doc", "sub/c.zip", ".hidden.png", "~$a.docx", "Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    skipped: list[Path] = []
    assert [path.name for path in find_files([tmp_path], pytest.fail, skipped=skipped.append)] == ["a.md"]
    assert [path.name for path in skipped] == ["b.png", "old.doc", "c.zip"]
