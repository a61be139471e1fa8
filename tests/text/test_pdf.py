"""PDFs: words, columns, running heads, headings, scans, encryption, and crafted files."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pikepdf
import pytest
from pikepdf import Dictionary, Name
from tests.text.pdfs import HEIGHT, WIDTH, Text, crafted_pdf, lines, write_pdf

from finerank.errors import InvalidSetting, UnreadableFile
from finerank.system.sandbox import Limits
from finerank.text.document import LoadedDocument
from finerank.text.load import ReadOptions, load_file
from finerank.text.ocr import open_ocr
from finerank.text.passages import passages
from finerank.text.pdf_layout import drop_leaders
from finerank.text.titles import is_placeholder


def load(path: Path, options: ReadOptions | None = None) -> tuple[LoadedDocument, list[str]]:
    problems: list[str] = []
    (document,) = load_file(path, problems.append, options)
    return document, problems


def page_texts(document: LoadedDocument) -> list[str]:
    ends = [*document.pages[1:], len(document.text) + 2]
    return [document.text[start : end - 2] for start, end in zip(document.pages, ends, strict=True)]


def test_a_pdf_has_pages_and_running_text(tmp_path: Path):
    pages = [f"Acme manual\nThe reset but-\nton of part {n} is behind\nthe lamp.\n{n}" for n in range(1, 5)]
    document, problems = load(write_pdf(tmp_path / "a.pdf", pages))
    assert (document.title, document.date, problems) == ("Manual", datetime(2024, 1, 31, 12, tzinfo=UTC), [])
    cut = list(passages(document, 40, 0))
    assert [each.page for each in cut] == [1, 2, 3, 4]
    assert cut[1].text == "The reset button of part 2 is behind the lamp."


def test_a_passage_is_of_the_page_that_most_of_it_is_on(tmp_path: Path):
    pages = ["Acme manual", "The reset button is behind the lamp. Hold it for ten seconds.", "Keep it dry. " * 8]
    document, _ = load(write_pdf(tmp_path / "a.pdf", pages))
    cut = list(passages(document, 40, 0))
    assert [(each.page, each.text[:11]) for each in cut] == [(2, "Acme manual"), (3, "Keep it dry")]


def test_words_set_without_spaces_between_them_are_apart(tmp_path: Path):
    """As TeX does: each word is placed, and no space is written."""
    words, x = [], 50.0
    for word in ["They", "should", "not", "use", "virtual", "package", "names"]:
        words.append(Text(x, 100, word))
        x += 6.2 * len(word) + 4
    document, _ = load(write_pdf(tmp_path / "a.pdf", [words]))
    assert document.text == "They should not use virtual package names"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (Text(50, 100, "转入当前用户的主目录，也就是这里", spacing=4), "转入当前用户的主目录，也就是这里"),
        (Text(50, 100, "转 入 当 前 用 户"), "转入当前用户"),
        (Text(50, 100, "支 持多 架 构的 软 件 包"), "支持多架构的软件包"),
        (Text(50, 100, "第一章 总则"), "第一章 总则"),
        (Text(50, 100, "软件包 流行度 大小 说明"), "软件包 流行度 大小 说明"),
        (Text(50, 100, "SUMMARY", spacing=5), "SUMMARY"),
        (Text(50, 100, "A B C D"), "A B C D"),
    ],
)
def test_spaces_that_only_spread_a_line_go(tmp_path: Path, shown: Text, text: str):
    document, _ = load(write_pdf(tmp_path / "a.pdf", [[shown]]))
    assert document.text == text


@pytest.mark.parametrize(
    ("text", "running"),
    [
        ("the reset but-\nton is here", "the reset button is here"),
        ("files in US-\nASCII only", "files in US-ASCII only"),
        ("a self-\nhosted server", "a self-hosted server"),
        ("a read-only disk, or one that is read-\nonly today", "a read-only disk, or one that is read-only today"),
        ("路由器放在\n通风处", "路由器放在通风处"),
    ],
)
def test_lines_are_joined(tmp_path: Path, text: str, running: str):
    document, _ = load(write_pdf(tmp_path / "a.pdf", [text]))
    assert document.text == running


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("1.3 Reset . . . . . . . . . . 27", "1.3 Reset 27"),
        ("1.3 Reset........iv", "1.3 Reset iv"),
        ("附录 A …………………… A-3", "附录 A A-3"),
        ("总则 · · · · · · · 3", "总则 3"),
        ("Reset .....................", "Reset"),
        ("Wait.... and see", "Wait.... and see"),
        ("等等……再说", "等等……再说"),
        ("version 1.2.3.4 of 2024", "version 1.2.3.4 of 2024"),
    ],
)
def test_dot_leaders_go(entry: str, text: str):
    assert drop_leaders(entry) == text


def test_a_table_of_contents_keeps_its_lines(tmp_path: Path):
    entries = "\n".join(f"1.{n} About the part number {n} . . . . . . . . . . . . . . {n}" for n in range(1, 4))
    document, _ = load(write_pdf(tmp_path / "a.pdf", [entries]))
    assert document.text.split("\n") == [f"1.{n} About the part number {n} {n}" for n in range(1, 4)]


BODIES = (
    "Plug it in.",
    "Hold the button.",
    "Keep it dry.",
    "Press both keys.",
    "Wait a minute.",
    "Call us.",
    "Try it.",
)


def framed(number: int, head: str, foot: str) -> list[Text]:
    return [*lines(head, y=40, leading=12), *lines(BODIES[number], y=120), *lines(foot, y=790, leading=12)]


@pytest.mark.parametrize(
    ("head", "foot"),
    [
        (lambda n: "Acme Corporation\nUser manual, third edition", lambda n: f"Confidential\nPage {n + 1} of 7"),
        (lambda n: f"Acme manual {n + 1}" if n % 2 else f"{n + 1} Setting up", lambda n: ""),
        (lambda n: "", lambda n: ["i", "ii", "iii", "iv", "v", "vi", "vii"][n]),
        (lambda n: f"{['Setting up', 'Cleaning'][n // 4]}\nAcme", lambda n: f"3-{n + 1}"),
    ],
    ids=["two lines", "odd and even", "roman", "chapters"],
)
def test_running_heads_and_feet_go(tmp_path: Path, head, foot):
    path = write_pdf(tmp_path / "a.pdf", [framed(n, head(n), foot(n)) for n in range(7)])
    assert page_texts(load(path)[0]) == list(BODIES)


@pytest.mark.parametrize("place", [None, 0, 30], ids=["page", "top of the page", "above the head"])
def test_an_outline_that_points_to_pages_keeps_no_running_head(tmp_path: Path, place: float | None):
    pages = [framed(n, "Acme Corporation\nUser manual", f"Page {n + 1} of 7") for n in range(7)]
    outline = [(1, f"Part {n}", n, place) for n in (0, 3)]
    document, _ = load(write_pdf(tmp_path / "a.pdf", pages, outline=outline))
    assert page_texts(document) == list(BODIES)
    assert [heading.start for heading in document.headings] == [document.pages[0], document.pages[3]]


def test_what_differs_from_page_to_page_is_no_running_head(tmp_path: Path):
    records = [f"Order {1001 + 7 * n}\nAmount {n * n} euros\nThanks for it." for n in range(7)]
    document, _ = load(write_pdf(tmp_path / "a.pdf", records))
    assert [text[:10] for text in page_texts(document)] == [f"Order {1001 + 7 * n}" for n in range(7)]


def test_a_page_of_repeated_lines_loses_them_only_to_the_heads_of_others(tmp_path: Path):
    only = load(write_pdf(tmp_path / "a.pdf", [f"This is page {n}." for n in range(1, 6)]))[0]
    assert page_texts(only) == [f"This is page {n}." for n in range(1, 6)]
    among = load(write_pdf(tmp_path / "b.pdf", ["Some longer text.\nOf two lines.", *["The same line."] * 4]))[0]
    assert page_texts(among)[1:] == ["The same line."] * 4
    blank = [framed(n, "Acme manual", f"{n}") if n < 5 else framed(n, "Acme manual", f"{n}")[::2] for n in range(7)]
    assert page_texts(load(write_pdf(tmp_path / "c.pdf", blank))[0]) == [*BODIES[:5], "", ""]


LEFT = "Reset the router by holding\nthe button behind the lamp\nfor ten seconds or longer\nuntil it starts to blink"
RIGHT = "Keep it away from the rain\nand out of the midday sun\nsince water and heat both\nshorten the router's life"


def interleaved(left: str, right: str, x: float, y: float = 160) -> list[Text]:
    rows = zip(lines(left, y=y), lines(right, x=x, y=y), strict=True)
    return [text for row in rows for text in row]


def test_columns_are_read_one_after_the_other(tmp_path: Path):
    top = Text(50, 130, "A heading that stands over both of the columns of the page", 14)
    end = Text(50, 260, "And a note below that goes over both of the columns again")
    text = load(write_pdf(tmp_path / "a.pdf", [[top, *interleaved(LEFT, RIGHT, 320), end]]))[0].text
    assert text.split("\n\n") == [top.text, f"{LEFT} {RIGHT}".replace("\n", " "), end.text]


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_a_page_turned_for_display_has_its_lines_in_order(tmp_path: Path, rotate: int):
    turned = {90: (0, 1, -1, 0, HEIGHT, 0), 180: (-1, 0, 0, -1, WIDTH, HEIGHT), 270: (0, -1, 1, 0, 0, WIDTH)}[rotate]
    path = write_pdf(tmp_path / "a.pdf", [interleaved(LEFT, RIGHT, 320)], rotate=rotate)
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        page = pdf.pages[0]
        page.MediaBox = pikepdf.Array([0, 0, WIDTH, HEIGHT] if rotate == 180 else [0, 0, HEIGHT, WIDTH])
        page.contents_add(f"{' '.join(map(str, turned))} cm".encode(), prepend=True)
        pdf.save(path)
    assert load(path)[0].text == f"{LEFT} {RIGHT}".replace("\n", " ")


def test_the_left_column_comes_first_wherever_the_file_has_it(tmp_path: Path):
    text = load(write_pdf(tmp_path / "a.pdf", [[*lines(RIGHT, x=320), *lines(LEFT)]]))[0].text
    assert text == f"{LEFT} {RIGHT}".replace("\n", " ")


def test_columns_of_chinese(tmp_path: Path):
    left, right = (
        "请按住机身背面的重置按钮\n十秒钟直到指示灯开始闪烁\n然后松开按钮等待两分钟吧",
        "请勿将设备放在潮湿的地方\n也不要让阳光直接照射设备\n否则会缩短设备的使用寿命",
    )
    text = load(write_pdf(tmp_path / "a.pdf", [interleaved(left, right, 320)]))[0].text
    assert text.replace("\n", "") == (left + right).replace("\n", "")


def test_rows_of_a_table_stay_rows(tmp_path: Path):
    names, meanings = (
        "Option\n--store DIR\n--top N\n--mode M",
        "What it means\nWhere passages are\nHow many\nHybrid, vector or text only",
    )
    text = load(write_pdf(tmp_path / "a.pdf", [interleaved(names, meanings, 200)]))[0].text
    assert text.split("\n") == [f"{a} {b}" for a, b in zip(names.split("\n"), meanings.split("\n"), strict=True)]


def test_headings_are_the_outlines(tmp_path: Path):
    first = [
        Text(50, 62, "1 Setting up", 18),
        Text(50, 100, "Plug it in and wait."),
        Text(50, 200, "1.1 The very long", 14),
        Text(50, 216, "story of the lamp", 14),
        Text(50, 240, "It blinks twice a second."),
    ]
    second = [Text(50, 62, "Chapter Two", 18), Text(50, 84, "Cleaning", 18), *lines("Use a dry cloth.", y=120)]
    outline = [
        (1, "Setting up", 0, 50),
        (2, "The very long story of the lamp", 0, 190),
        (1, "Cleaning", 1, None),
        (2, "Not said in these words", 1, 110),
        (1, "untitled", 1, None),
    ]
    document, _ = load(write_pdf(tmp_path / "a.pdf", [first, second], outline=outline))
    found = [
        (heading.level, heading.title, document.text[heading.start :].split("\n")[0]) for heading in document.headings
    ]
    assert found == [
        (1, "Setting up", "1 Setting up"),
        (2, "The very long story of the lamp", "1.1 The very long"),
        (1, "Cleaning", "Chapter Two"),
        (2, "Not said in these words", "Use a dry cloth."),
    ]


def test_a_pdf_without_an_outline_has_the_headings_of_its_chapters(tmp_path: Path):
    document, _ = load(write_pdf(tmp_path / "a.pdf", ["第一章 安装\n将路由器放在通风处。", "第二章 密码\n按住按钮。"]))
    assert [heading.title for heading in document.headings] == ["第一章 安装", "第二章 密码"]


@pytest.mark.parametrize(
    "title",
    ["(anonymous)", "untitled", "Untitled Document", "Microsoft Word - x.doc", "PowerPoint Presentation", "Document1",
     "", "thesis.dvi", "无标题", "Slide 1", "Microsoft Word - 出差 报销.docx", "C:\\docs\\a b.txt", "about:blank",
     "--- 1 ---", "Untitled-3.indd"],
)  # fmt: skip
def test_titles_that_say_nothing_are_none(tmp_path: Path, title: str):
    assert is_placeholder(title)
    if title in ("(anonymous)", "Microsoft Word - x.doc"):
        assert load(write_pdf(tmp_path / "a.pdf", ["text"], title=title))[0].title == ""


@pytest.mark.parametrize(
    "title",
    [
        "Travel policy",
        "Untitled works of Shakespeare",
        "文档管理规定",
        "Word for beginners",
        "Scan to e-mail",
        "1984: a novel",
        "Title IX",
    ],
)
def test_other_titles_stay(title: str):
    assert not is_placeholder(title)


@pytest.mark.parametrize("revision", [3, 4, 6], ids=["RC4", "AES-128", "AES-256"])
def test_only_a_user_password_locks_a_file(tmp_path: Path, revision: int):
    def encryption(user: str) -> pikepdf.Encryption:
        return pikepdf.Encryption(owner="boss", user=user, R=revision, aes=revision > 3, metadata=revision > 3)  # type: ignore[arg-type]

    assert load(write_pdf(tmp_path / "a.pdf", ["open"], encryption=encryption("")))[0].text == "open"
    with pytest.raises(UnreadableFile, match=r"encrypted.*qpdf"):
        load(write_pdf(tmp_path / "b.pdf", ["secret"], encryption=encryption("x")))


def test_pages_without_text_are_named(tmp_path: Path):
    stamp = "Downloaded from the library of Alexandria by a reader on 31 January"
    pages = ["Some text of this page.", *[stamp] * 3, "Scanned with CamScanner", "", "And of this one.", ""]
    document, problems = load(write_pdf(tmp_path / "a.pdf", pages, scans=[1, 2, 3, 4, 7]))
    assert document.unread_pages == (2, 3, 4, 5, 8)  # page 6 is blank
    assert len(problems) == 1
    assert "a.pdf: pages 2-5, 8 of 8 without text; to read scans, set ocr" in problems[0]
    with pytest.raises(UnreadableFile, match=r"holds no text; to read scans, set ocr.*ocrmypdf"):
        load(write_pdf(tmp_path / "b.pdf", ["", ""], scans=[0, 1]))
    searchable, problems = load(
        write_pdf(tmp_path / "c.pdf", ["Long enough to be what a scan's own text layer says."], scans=[0])
    )
    assert (searchable.unread_pages, problems) == ((), [])


def use_embedded_font(pdf: pikepdf.Pdf, page: int, **options: pikepdf.Object) -> None:
    """Make F1 of the page a font whose codes say nothing by themselves."""
    system = Dictionary(Registry=b"Adobe", Ordering=b"Identity", Supplement=0)
    glyphs = Dictionary(
        Type=Name.Font, Subtype=Name.CIDFontType2, BaseFont=Name("/ABCDEF+Some"), CIDSystemInfo=system, DW=1000
    )
    pdf.pages[page].Resources.Font.F1 = Dictionary(
        Type=Name.Font,
        Subtype=Name.Type0,
        BaseFont=Name("/ABCDEF+Some"),
        Encoding=Name("/Identity-H"),
        DescendantFonts=pikepdf.Array([glyphs]),
        **options,
    )


def test_a_page_whose_fonts_do_not_say_what_they_show_is_without_text(tmp_path: Path):
    path = write_pdf(tmp_path / "a.pdf", ["Readable text here.", "Text that is not"])
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        use_embedded_font(pdf, 1)
        pdf.save(path)
    assert load(path)[0].unread_pages == (2,)


def test_filled_forms_are_read_and_attachments_reported(tmp_path: Path):
    path = write_pdf(tmp_path / "a.pdf", ["Name:"])
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        font = pdf.pages[0].Resources.Font.F1
        look = pdf.make_stream(b"BT /F1 12 Tf 2 4 Td (Ada Lovelace) Tj ET", Type=Name.XObject, Subtype=Name.Form,
                               BBox=[0, 0, 200, 20], Resources=Dictionary(Font=Dictionary(F1=font)))  # fmt: skip
        field = pdf.make_indirect(
            Dictionary(Type=Name.Annot, Subtype=Name.Widget, FT=Name.Tx, T="name", V="Ada Lovelace", F=4,
                       Rect=[100, 775, 300, 795], AP=Dictionary(N=look))
        )  # fmt: skip
        pdf.pages[0].Annots = [field]
        pdf.Root.AcroForm = Dictionary(Fields=[field])
        pdf.attachments["data.csv"] = b"a,b"
        pdf.save(path)
    document, problems = load(path)
    assert "Ada Lovelace" in document.text
    assert len(problems) == 1
    assert "1 attached file" in problems[0]


def test_characters_beyond_the_first_plane_and_ligatures(tmp_path: Path):
    mapping = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def "
        b"1 begincodespacerange <0000> <FFFF> endcodespacerange "
        b"3 beginbfchar <0001> <D840DC00> <0002> <FB03> <0003> <0078> endbfchar endcmap end end"
    )
    path = write_pdf(tmp_path / "a.pdf", ["x"])
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        use_embedded_font(pdf, 0, ToUnicode=pdf.make_stream(mapping))
        pdf.pages[0].Contents = pdf.make_stream(b"BT /F1 12 Tf 50 700 Td <0001000200030001> Tj ET")
        pdf.save(path)
    assert load(path)[0].text == "𠀀ffix𠀀"


def test_a_damaged_page_is_named_and_the_others_are_read(tmp_path: Path):
    path = write_pdf(tmp_path / "a.pdf", ["First page.", "Second page.", "Third page."])
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        pdf.Root.Pages.Kids[1] = pdf.make_indirect(Dictionary(Type=Name.Catalog))
        pdf.save(path)
    document, problems = load(path)
    assert "First page." in document.text
    assert "Third page." in document.text
    assert any("page 2" in problem for problem in problems)


@pytest.mark.parametrize(
    ("limits", "fix"),
    [(Limits(2.0, 4096), "read_timeout_s"), (Limits(60, 160), "read_memory_mb")],
    ids=["time", "memory"],
)
def test_a_crafted_file_is_given_up(tmp_path: Path, limits: Limits, fix: str):
    started = time.monotonic()
    with pytest.raises(UnreadableFile, match=rf"a\.pdf: not readable as PDF .*raise {fix}"):
        load(crafted_pdf(tmp_path / "a.pdf"), ReadOptions(limits))
    assert time.monotonic() - started < 20
    assert load(write_pdf(tmp_path / "b.pdf", ["Next."]), ReadOptions(limits))[0].text == "Next."


def test_files_that_are_not_there_or_no_pdf(tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 nothing more")
    with pytest.raises(UnreadableFile, match=r"a\.pdf: not readable as PDF"):
        load(tmp_path / "a.pdf")
    with pytest.raises(UnreadableFile, match=r"b\.pdf: No such file"):
        load(tmp_path / "b.pdf")


OCR = (
    "import sys, struct; content = open(sys.argv[1], 'rb').read(); assert content[:4] == bytes([137]) + b'PNG';"
    "width, height = struct.unpack('>II', content[16:24]); print('重 置 按 钮 在', width, height)"
)


def test_ocr_by_a_command_reads_pages_without_text(tmp_path: Path):
    path = write_pdf(tmp_path / "a.pdf", ["Some text of this page.", "", ""], scans=[1])
    ocr = open_ocr(f'{sys.executable} -c "{OCR}" {{image}}', 10)
    document, problems = load(path, ReadOptions(ocr=ocr))
    assert (document.unread_pages, problems) == ((), [])
    assert page_texts(document) == ["Some text of this page.", "重置按钮在 2480 3509", ""]


def test_ocr_by_a_function_and_its_failures(tmp_path: Path):
    path = write_pdf(tmp_path / "a.pdf", ["Some text of this page.", "", ""], scans=[1, 2])

    def ocr(image: Path) -> str:
        if image.name == "page-2.png":
            raise ValueError("no such language")
        return "Hold the\nbutton."

    document, problems = load(path, ReadOptions(ocr=ocr))
    assert page_texts(document)[2] == "Hold the button."
    assert document.unread_pages == (2,)
    assert problems == [
        f"{path}, page 2: OCR failed: ValueError: no such language",
        f"{path}: page 2 of 3 without text",
    ]
    failing = open_ocr(f"{sys.executable} -c \"import sys; sys.exit('no data for chi')\" {{image}}", 10)
    _, problems = load(path, ReadOptions(ocr=failing))
    assert "page 3: OCR failed" in problems[1]
    assert "exit code 1: no data for chi" in problems[1]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("no-such-program {image} -", "no program no-such-program"),
        ("tesseract", "must be a command with {image}"),
        ("tesseract '{image}", "No closing quotation"),
        ("no_such_module:read", "No module named"),
        ("json:nothing", "no attribute 'nothing'"),
        ("json:decoder", "is not a function"),
    ],
)
def test_a_wrong_ocr_setting_names_the_fix(setting: str, complaint: str):
    with pytest.raises(InvalidSetting, match=complaint) as raised:
        open_ocr(setting, 1)
    assert raised.value.option == "ocr"


def test_ocr_may_be_a_function_of_a_module():
    import json

    assert open_ocr("json:loads", 1) is json.loads
    assert open_ocr("", 1) is None
