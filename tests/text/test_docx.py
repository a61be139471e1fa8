# ruff: noqa: E501 - a case reads better on one line
"""DOCX: every container of text that the format has, as Word shows it with all changes accepted."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from finerank.text.load import LoadedDocument, load_file
from finerank.text.numbering import _han

W = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:wps="urn:wps" xmlns:v="urn:v" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:m="urn:m" xmlns:r="urn:r" xmlns:a="urn:a" '
    'xmlns:c="urn:c"'
)
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def write(path: Path, body: str, parts: Mapping[str, str] | None = None) -> Path:
    """A DOCX file with this body; `parts` by kind, such as styles, or by kind and file name."""
    parts = parts or {}
    names = {kind: kind if "." in kind else f"{kind}.xml" for kind in parts}
    links = "".join(
        f'<Relationship Id="{kind}" Type="{RELATIONS}/{kind.partition(".")[0]}" Target="{name}"/>'
        for kind, name in names.items()
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels",
            f'<Relationships><Relationship Id="r" Type="{RELATIONS}/officeDocument" Target="word/main.xml"/></Relationships>',
        )
        archive.writestr("word/main.xml", f"<w:document {W}><w:body>{body}<w:sectPr/></w:body></w:document>")
        archive.writestr("word/_rels/main.xml.rels", f"<Relationships>{links}</Relationships>")
        for kind, name in names.items():
            archive.writestr(f"word/{name}", parts[kind])
    return path


def load(path: Path, body: str, parts: Mapping[str, str] | None = None) -> LoadedDocument:
    [document] = load_file(write(path / "a.docx", body, parts), pytest.fail)
    return document


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*inside: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(inside)}</w:p>"


def cell(text: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(run(text)) if text else '<w:p/>'}</w:tc>"


def row(*cells: str, properties: str = "") -> str:
    return f"<w:tr><w:trPr>{properties}</w:trPr>{''.join(each if each.startswith('<') else cell(each) for each in cells)}</w:tr>"


def table(*rows: str) -> str:
    return f"<w:tbl><w:tblPr/><w:tblGrid/>{''.join(rows)}</w:tbl>"


BOX = f"<w:txbxContent>{paragraph(run('boxed'))}</w:txbxContent>"


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        (f'{run("付款期限为")}<w:del><w:r><w:delText>三十</w:delText></w:r></w:del><w:ins>{run("六十")}</w:ins>{run("天。")}', "付款期限为六十天。"),
        (f"{run('a ')}<w:moveFrom>{run('gone')}</w:moveFrom><w:moveTo>{run('here')}</w:moveTo>", "a here"),
        (f"{run('see ')}<w:hyperlink>{run('the site')}</w:hyperlink>", "see the site"),
        (f"<w:smartTag>{run('Paris')}</w:smartTag><w:customXml>{run(' France')}</w:customXml>", "Paris France"),
        (f"<w:sdt><w:sdtPr/><w:sdtContent>{run('chosen')}</w:sdtContent></w:sdt>", "chosen"),
        (f"{run('a')}<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{run('Click here')}</w:sdtContent></w:sdt>", "a"),
        (f"{run('No. ')}<w:fldSimple w:instr='SEQ'>{run('3')}</w:fldSimple>", "No. 3"),
        ("<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:cr/><w:t>d</w:t><w:noBreakHyphen/><w:t>e</w:t></w:r>", "a\tb\nc\nd-e"),
        ('<w:r><w:t>a</w:t><w:br w:type="page"/><w:t>b</w:t></w:r>', "a\nb"),
        ('<w:r><w:sym w:font="Symbol" w:char="F061"/><w:sym w:font="Wingdings" w:char="F0FC"/></w:r>', "α✓"),
        (f"<w:r><w:ruby><w:rt>{run('とうきょう')}</w:rt><w:rubyBase>{run('東京')}</w:rubyBase></w:ruby></w:r>{run('都')}", "東京(とうきょう)都"),
        (f"{run('a')}<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>", "a"),
        (f'{run("a")}<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>b</w:t></w:r>', "ab"),
        ("<m:oMath><m:r><m:t>x</m:t></m:r><m:f><m:num><m:r><m:t>1</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f></m:oMath>", "x1/2"),
        (f"{run('a')}<w:r><w:pict><v:shape><v:textbox>{BOX}</v:textbox></v:shape></w:pict></w:r>", "a\nboxed"),
        (f"{run('a')}<w:r><mc:AlternateContent><mc:Choice><wps:txbx>{BOX}</wps:txbx></mc:Choice><mc:Fallback>{BOX}</mc:Fallback></mc:AlternateContent></w:r>", "a\nboxed"),
        (f"<mc:AlternateContent><mc:Choice/><mc:Fallback>{run('b')}</mc:Fallback></mc:AlternateContent>", "b"),
        (f"<w:bdo>{run('a')}</w:bdo><w:dir>{run('b')}</w:dir><w:proofErr/><w:bookmarkStart/>{run('c')}", "abc"),
    ],
)  # fmt: skip
def test_text_of_a_paragraph_in_every_container(tmp_path: Path, inside: str, text: str):
    assert load(tmp_path, paragraph(inside)).text == text


def test_a_field_shows_its_result_and_one_that_never_ends_swallows_nothing(tmp_path: Path):
    def mark(kind: str) -> str:
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    nested = f"{mark('begin')}{run('code')}{mark('begin')}{run('x')}{mark('separate')}{run('y')}{mark('end')}{mark('separate')}"
    assert load(tmp_path, paragraph(nested, run("result"), mark("end"), run(" after"))).text == "result after"
    assert load(tmp_path, paragraph(mark("begin"), run("kept"))).text == "kept"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (table(row("成都", "300", "300", "80"), row("a", "", "b", "b")), "成都 | 300 | 300 | 80\na |  | b | b"),
        (table(row("", "a", ""), row("", "", "")), " | a | "),
        (table(row(cell("both", '<w:gridSpan w:val="2"/>'), "c")), "both | c"),
        (table(row(cell("M", '<w:vMerge w:val="restart"/>'), "1"), row(cell("", "<w:vMerge/>"), "2"), row("N", "3")), "M | 1\nM | 2\nN | 3"),
        (table(row(cell("a", '<w:gridSpan w:val="2"/>'), cell("M", '<w:vMerge w:val="restart"/>')), row("b", "c", cell("", "<w:vMerge/>"))), "a | M\nb | c | M"),
        (table(row("a", "b", properties='<w:gridBefore w:val="1"/>')), " | a | b"),
        (table(row("a", "b"), row("gone", "gone", properties="<w:del/>"), row("new", "c", properties="<w:ins/>")), "a | b\nnew | c"),
        (table(f"<w:sdt><w:sdtContent>{row('a', 'b')}</w:sdtContent></w:sdt>"), "a | b"),
        (table(row(f"<w:sdt><w:sdtContent>{cell('a')}</w:sdtContent></w:sdt>", "b")), "a | b"),
        (table(row("a", f"<w:tc>{paragraph(run('b'))}{table(row('1', '2'))}<w:p/></w:tc>", "c")), "a | b | c\n1 | 2"),
        (table(row("a", f"<w:tc>{paragraph(run('b'))}{paragraph(run('c'))}</w:tc>")), "a | b c"),
        (table(row(f"<w:tc>{paragraph(run('b'))}{paragraph(run('c'))}</w:tc>")), "b\nc"),
    ],
)  # fmt: skip
def test_rows_keep_equal_and_empty_cells_and_merged_ones_go_by_the_grid(tmp_path: Path, body: str, text: str):
    assert load(tmp_path, body).text == text


def test_paragraphs_are_found_however_they_are_wrapped(tmp_path: Path):
    body = (
        f"<w:sdt><w:sdtContent>{paragraph(run('a'))}<w:customXml>{paragraph(run('b'))}</w:customXml></w:sdtContent></w:sdt>"
        f"<w:ins>{paragraph(run('c'))}</w:ins><w:moveTo>{paragraph(run('d'))}</w:moveTo><w:moveFrom>{paragraph(run('no'))}</w:moveFrom>"
    )
    assert load(tmp_path, body).text == "a\nb\nc\nd"


def test_a_deleted_paragraph_mark_joins_paragraphs(tmp_path: Path):
    mark = '<w:rPr><w:del w:id="1"/></w:rPr>'
    assert load(tmp_path, paragraph(run("one "), properties=mark) + paragraph(run("line"))).text == "one line"


def test_notes_follow_their_paragraph_and_comments_headers_and_footers_are_left_out(tmp_path: Path):
    notes = {
        kind + "s": f'<w:{kind}s {W}><w:{kind} w:id="0" w:type="separator">{paragraph(run("no"))}</w:{kind}>'
        f'<w:{kind} w:id="2">{paragraph(run(kind))}</w:{kind}></w:{kind}s>'
        for kind in ("footnote", "endnote")
    }
    others = {kind: f"<w:x {W}>{paragraph(run('no'))}</w:x>" for kind in ("comments", "header", "footer")}
    body = paragraph(
        run("text"),
        '<w:r><w:footnoteReference w:id="2"/><w:endnoteReference w:id="2"/><w:commentReference w:id="0"/></w:r>',
        run(" goes on"),
    )
    assert load(tmp_path, body + paragraph(run("next")), notes | others).text == "text goes on\nfootnote\nendnote\nnext"


STYLES = f"""<w:styles {W}>
<w:style w:styleId="1"><w:name w:val="heading 1"/></w:style>
<w:style w:styleId="2"><w:name w:val="标题 2"/></w:style>
<w:style w:styleId="Mine"><w:name w:val="Mine"/><w:basedOn w:val="2"/></w:style>
<w:style w:styleId="Own"><w:name w:val="Own"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>
<w:style w:styleId="Body"><w:name w:val="Body"/><w:basedOn w:val="1"/><w:pPr><w:outlineLvl w:val="9"/></w:pPr></w:style>
<w:style w:styleId="de"><w:name w:val="Überschrift 4"/></w:style>
<w:style w:styleId="T"><w:name w:val="Title"/></w:style>
<w:style w:styleId="toc"><w:name w:val="toc 1"/></w:style>
</w:styles>"""


def test_headings_by_name_in_any_language_by_base_and_by_outline_level(tmp_path: Path):
    body = "".join(
        paragraph(run(name), properties=f'<w:pStyle w:val="{name}"/>')
        for name in ("T", "1", "2", "Mine", "Own", "Body", "de")
    )
    body += paragraph(run("direct"), properties='<w:outlineLvl w:val="4"/>')
    body += paragraph(run("1 ....... 7"), properties='<w:pStyle w:val="toc"/>') + paragraph(run("plain"))
    document = load(tmp_path, body, {"styles": STYLES})
    found = {heading.title: heading.level for heading in document.headings}
    assert found == {"T": 1, "1": 1, "2": 2, "Mine": 2, "Own": 3, "de": 4, "direct": 5}
    assert document.text.endswith("direct\nplain")
    assert all(document.text[heading.start :].startswith(heading.title) for heading in document.headings)


def test_numbered_paragraphs_have_their_labels(tmp_path: Path):
    def level(depth: int, shape: str, text: str) -> str:
        return f'<w:lvl w:ilvl="{depth}"><w:start w:val="1"/><w:numFmt w:val="{shape}"/><w:lvlText w:val="{text}"/></w:lvl>'

    lists = {1: (level(0, "chineseCounting", "第%1条"), level(1, "decimal", "%1.%2")), 2: (level(0, "bullet", "•"),)}
    numbering = "".join(
        f'<w:abstractNum w:abstractNumId="{key}">{"".join(of)}</w:abstractNum>' for key, of in lists.items()
    )
    numbering += "".join(f'<w:num w:numId="{key}"><w:abstractNumId w:val="{key}"/></w:num>' for key in lists)

    def item(text: str, depth: int = 0, number: int = 1) -> str:
        return paragraph(
            run(text), properties=f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>'
        )

    body = (
        item("总则")
        + item("a", 1)
        + item("b", 1)
        + item("附则")
        + item("c", 1)
        + item("x", number=2)
        + item("none", number=0)
    )
    document = load(tmp_path, body, {"numbering": f"<w:numbering {W}>{numbering}</w:numbering>"})
    assert document.text.split("\n") == ["第一条 总则", "一.1 a", "一.2 b", "第二条 附则", "二.1 c", "x", "none"]


def test_chinese_numbers():
    written = {
        1: "一",
        10: "十",
        12: "十二",
        20: "二十",
        105: "一百零五",
        110: "一百一十",
        1005: "一千零五",
        2030: "二千零三十",
    }
    assert {number: _han(number) for number in written} == written


def test_documents_put_into_it_are_read_or_named(tmp_path: Path):
    body = '<w:altChunk r:id="aFChunk.html"/><w:altChunk r:id="aFChunk.rtf"/>' + paragraph(run("after"))
    path = write(tmp_path / "a.docx", body, {"aFChunk.html": "<p>chunk</p>", "aFChunk.rtf": "{}"})
    problems: list[str] = []
    [document] = load_file(path, problems.append)
    assert document.text == "chunk\nafter"
    assert "aFChunk.rtf" in problems[0]


def test_charts_have_their_titles_and_figures(tmp_path: Path):
    def points(name: str, *values: str) -> str:
        return f"<c:{name}>{''.join(f'<c:pt><c:v>{value}</c:v></c:pt>' for value in values)}</c:{name}>"

    chart = (
        f"<c:chartSpace {W}><c:title><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:title>"
        f"<c:ser>{points('tx', 'East')}{points('cat', 'Q1', 'Q2')}{points('val', '1', '2')}</c:ser></c:chartSpace>"
    )
    body = paragraph(run("a"), '<w:r><w:drawing><c:chart r:id="chart"/></w:drawing></w:r>')
    assert load(tmp_path, body, {"chart": chart}).text == "a\nSales\n | Q1 | Q2\nEast | 1 | 2"
