"""What can be typed, pasted and dropped as candidates."""

import json
from pathlib import Path
from urllib.parse import unquote

import docx
import pytest
from playwright.sync_api import Page, Route, expect

from .conftest import Visit

READ = "text => import('./js/input.js').then(({readCandidates}) => readCandidates(text))"
READ_FILE = "([name, text]) => import('./js/input.js').then(({readFile}) => readFile(name, text))"
WRITE = "documents => import('./js/input.js').then(({writeCandidates}) => writeCandidates(documents))"
UNREADABLE = """text => import('./js/input.js').then(({readCandidates}) => {
  try { return readCandidates(text); } catch (error) { return [error.kind, error.line]; }
})"""

TEXTS = {
    "one a line": ("first\n\n  second \r\nthird", ["first", "second", "third"]),
    "markdown and noise": ("- **bold** [link](x)\n[1] se11er f0r $3", ["- **bold** [link](x)", "[1] se11er f0r $3"]),
    "an array of strings": ('["a\\nb", "c"]', ["a\nb", "c"]),
    "an array of objects": ('[{"text": "a", "id": 7}, {"content": "b"}]', ["a", "b"]),
    "JSON lines": ('{"passage": "a"}\n{"page_content": "b"}', ["a", "b"]),
    "strings, one a line": ('"a"\n"b"', ["a", "b"]),
    "a whole request": ('{"query": "q", "texts": ["a", "b"]}', ["a", "b"]),
    "a quote that begins a line": ('"Quoted" he said\nplain', ['"Quoted" he said', "plain"]),
    "nothing": ("  \n ", []),
}

FILES = {
    "a.txt": ("one\n\ntwo\n", ["one", "two"]),
    "a.md": (
        "# Reset\n\nHold it.\nTen seconds.\n\n```\na\n\nb\n```\n",
        ["# Reset\nHold it.\nTen seconds.", "```\na\n\nb\n```"],
    ),
    "a.json": ('{"documents": [{"text": "one"}, "two"]}', ["one", "two"]),
    "a.jsonl": ('{"_id": "1", "text": "one"}\n\n{"_id": "2", "text": "two"}\n', ["one", "two"]),
    "a.csv": ('id,text,page\n1,"one, and\nmore",3\n2,"two ""quoted""",4\n', ["one, and\nmore", 'two "quoted"']),
    "b.csv": ("x;a long passage of text\ny;another long passage\n", ["a long passage of text", "another long passage"]),
    "a.tsv": ("内容\t编号\n一\t1\n二\t2\n", ["一", "二"]),
}


@pytest.fixture(scope="module")
def page_of_modules(chromium, site):
    page: Page = chromium.new_page()
    page.goto(site.url)
    yield page
    page.close()


@pytest.mark.parametrize("case", TEXTS)
def test_texts(page_of_modules: Page, case: str) -> None:
    text, expected = TEXTS[case]
    assert [document["text"] for document in page_of_modules.evaluate(READ, text)["documents"]] == expected


@pytest.mark.parametrize("name", FILES)
def test_files(page_of_modules: Page, name: str) -> None:
    text, expected = FILES[name]
    assert [document["text"] for document in page_of_modules.evaluate(READ_FILE, [name, text])] == expected


def test_ids_and_other_fields_are_kept(page_of_modules: Page) -> None:
    read = page_of_modules.evaluate(READ, '[{"text": "a", "_id": "x", "page": 3, "metadata": {"source": "m"}}]')
    assert read["documents"] == [{"text": "a", "id": "x", "metadata": {"page": 3, "source": "m"}}]
    (row,) = page_of_modules.evaluate(READ_FILE, ["a.csv", "id,text,page\n7,one,3"])
    assert row == {"text": "one", "id": "7", "metadata": {"page": "3"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('["a", b]', ["bad-json", None]),
        ('[{"text": "a"},\n {"txt": "b"}]', ["no-text", 2]),
        ('{"text": "a"}\n{"text": ', ["bad-json", 2]),
        ("[1, 2]", None),
        ('["a", 2]', ["no-text", 2]),
    ],
)
def test_what_is_nearly_json_is_not_taken_for_text(page_of_modules: Page, text: str, problem: list | None) -> None:
    read = page_of_modules.evaluate(UNREADABLE, text)
    assert read == problem if problem else read["documents"] == [{"text": "[1, 2]"}]


@pytest.mark.parametrize(
    "documents",
    [
        [{"text": "plain"}, {"text": "also plain"}],
        [{"text": "two\nlines"}, {"text": "  indented"}],
        [{"text": "a", "id": 7, "metadata": {"b": 1}}],
        [{"text": '["looks like JSON"]'}],
        [{"text": ""}],
    ],
)
def test_what_is_written_into_the_box_is_read_back(page_of_modules: Page, documents: list[dict[str, object]]) -> None:
    assert page_of_modules.evaluate(READ, page_of_modules.evaluate(WRITE, documents))["documents"] == documents


def test_files_are_chosen_and_counted(visit: Visit, tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "密码.txt"]
    paths[0].write_text("id,text\n1,one\n2,two\n")
    paths[1].write_text("重置密码\n第二行", encoding="gb18030")
    visit.page.set_input_files("#files", paths)
    expect(visit.page.locator("#count")).to_have_text(visit.said("count", n=4))
    names = "a.csv, 密码.txt"
    expect(visit.page.locator("#candidates-note")).to_have_text(visit.said("added", n=4, name=names))
    assert json.loads(visit.page.locator("#candidates").input_value().split("\n")[2]) == "重置密码"


def test_a_pdf_is_read_by_the_server(visit: Visit) -> None:
    visit.page.set_input_files("#files", Path(__file__).parents[1] / "serving/manual.pdf")
    expect(visit.page.locator("#count")).not_to_be_empty()
    (sent,) = visit.sent("/finerank/v1/text")
    assert sent.headers["x-filename"] == "manual.pdf"
    visit.page.fill("#query", "reset")
    visit.page.click("#run")
    visit.ranked()


@pytest.mark.parametrize("name", ["手册.docx", "page.html"])
def test_documents_are_read_by_the_server(visit: Visit, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".docx"):
        document = docx.Document()
        document.add_paragraph("Hold the reset button.")
        document.save(str(path))
    else:
        path.write_text("<html><body><p>Hold the reset button.</p><script>not this</script></body></html>")
    visit.page.set_input_files("#files", path)
    expect(visit.page.locator("#candidates")).to_have_value("Hold the reset button.")
    (sent,) = visit.sent("/finerank/v1/text")
    assert unquote(sent.headers["x-filename"]) == name


BINARY = {
    "photo.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)),
    "photo.txt": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)),
    "archive": b"PK\x03\x04\x14\0\0\0" + bytes(range(256)),
    "paper.md": b"%PDF-1.7\n1 0 obj\n",
    "letter.rtf": b"{\\rtf1\\ansi Dear all}",
    "noise.csv": bytes(range(1, 9)) * 20,
    "old.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512),
}


@pytest.mark.parametrize("name", BINARY)
def test_a_file_that_is_not_text_is_refused_by_name(visit: Visit, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BINARY[name])
    visit.page.fill("#candidates", "already here")
    visit.page.set_input_files("#files", tmp_path / name)
    problem = visit.page.locator("#candidates-problem")
    expect(problem).to_contain_text(name)
    expect(problem).to_contain_text(visit.said("problem.binary", kinds="|").split("|")[0])
    expect(problem).to_contain_text(".pdf")
    expect(visit.page.locator("#candidates")).to_have_value("already here")
    expect(visit.page.locator("#candidates-note")).to_be_empty()


def test_a_file_larger_than_the_server_takes_is_refused_before_it_is_read(visit: Visit, tmp_path: Path) -> None:
    def lower(route: Route) -> None:
        info = route.fetch().json()
        route.fulfill(json={**info, "limits": {**info["limits"], "max_body_bytes": 10}})

    visit.page.route("**/finerank/v1/info", lower)
    visit.page.reload()
    visit.page.wait_for_selector(".dot.ready")
    (tmp_path / "long.txt").write_text("more than ten bytes")
    visit.page.set_input_files("#files", tmp_path / "long.txt")
    why = visit.said("problem.large-file", megabytes="0")
    expect(visit.page.locator("#candidates-problem")).to_have_text(visit.said("problem.file", name="long.txt", why=why))


PASTE = """types => {
  const clipboardData = new DataTransfer();
  for (const type of types) {
    if (type === "text/plain") clipboardData.setData(type, "a cell");
    else clipboardData.items.add(new File([new Uint8Array([0x89, 0x50, 0, 0])], "image.png", {type}));
  }
  const event = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
  document.getElementById("candidates").dispatchEvent(event);
  return event.defaultPrevented;
}"""


def test_a_pasted_picture_is_refused_but_not_the_text_beside_one(visit: Visit) -> None:
    assert not visit.page.evaluate(PASTE, ["text/plain", "image/png"])  # as spreadsheets put it on the clipboard
    expect(visit.page.locator("#candidates-problem")).to_be_empty()
    assert visit.page.evaluate(PASTE, ["image/png"])
    expect(visit.page.locator("#candidates-problem")).to_contain_text("image.png")


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [
        ("重置密码，请按住按钮。", "utf-8", ""),
        ("重置密码，请按住按钮。", "gb18030", ""),
        ("重置密码", "utf-16", ""),
        ("données privées, thé à volonté", "windows-1252", "windows-1252"),
        ("Größe ändern", "windows-1252", "windows-1252"),
    ],
)
def test_the_encoding_of_a_file_is_told_or_said_to_be_a_guess(
    page_of_modules: Page, text: str, encoding: str, guessed: str
) -> None:
    script = """bytes => import('./js/input.js').then(({decodeText}) => {
      const read = decodeText(new Uint8Array(bytes).buffer);
      return [read.text, read.guessed];
    })"""
    assert page_of_modules.evaluate(script, list(text.encode(encoding))) == [text, guessed]


def test_names_of_many_files_are_counted_and_those_that_failed_are_not_among_them(visit: Visit, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(6)]
    for path in paths:
        path.write_text("one line")
    paths[0].write_bytes(b"\0")
    visit.page.set_input_files("#files", paths)
    names = visit.said("added.more", names="1.txt, 2.txt, 3.txt", n=2)
    expect(visit.page.locator("#candidates-note")).to_have_text(visit.said("added", n=5, name=names))


def test_files_are_dropped_anywhere_and_added_to_what_is_there(visit: Visit) -> None:
    visit.page.fill("#candidates", "already here")
    visit.page.evaluate("""() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["one\\ntwo"], "drop.txt"));
      for (const name of ["dragenter", "dragover"]) {
        dispatchEvent(new DragEvent(name, {dataTransfer, cancelable: true}));
      }
      window.marked = document.querySelector(".dropping") !== null;
      dispatchEvent(new DragEvent("drop", {dataTransfer, cancelable: true}));
    }""")
    expect(visit.page.locator("#candidates")).to_have_value("already here\none\ntwo")
    assert visit.page.evaluate("window.marked")
    expect(visit.page.locator(".dropping")).to_have_count(0)


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_added(visit: Visit, tmp_path: Path) -> None:
    good, bad, broken = tmp_path / "good.txt", tmp_path / "bad.json", tmp_path / "broken.pdf"
    good.write_text("one")
    bad.write_text('[{"text": ]')
    broken.write_text("no PDF")
    visit.expected = ("422",)
    visit.page.set_input_files("#files", [good, bad, broken])
    problem = visit.page.locator("#candidates-problem")
    expect(problem).to_contain_text("bad.json")
    expect(problem).to_contain_text("broken.pdf")
    expect(problem).to_contain_text(visit.said("problem.bad-json"))
    expect(visit.page.locator("#candidates")).to_have_value("one")


def test_a_whole_request_pasted_fills_the_query_too(visit: Visit) -> None:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.evaluate("text => navigator.clipboard.writeText(text)", '{"query": "why", "documents": ["a", "b"]}')
    visit.page.locator("#candidates").press("Control+v")
    expect(visit.page.locator("#query")).to_have_value("why")
    expect(visit.page.locator("#candidates")).to_have_value("a\nb")
    expect(visit.page.locator("#candidates-note")).to_have_text(visit.said("pasted-request"))
