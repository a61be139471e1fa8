"""Which heading and page a passage stands under."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.text.headings import Heading, markdown_headings
from finerank.text.load import LoadedDocument, load_file
from finerank.text.passages import passages

FAQ = "# 售后\n## 如何退货？\n七天之内可以退货。\n## 可以开发票吗？\n可以，请联系客服。\n## 多久发货？\n当天。\n"
HTML = (
    "<h1>售后</h1><h2>如何退货？</h2><p>七天之内可以退货。</p>"
    "<h2>可以开发票吗？</h2><p>可以，请联系客服。</p><h2>多久发货？</h2>当天。"
)


def cut(text: str, **fields: object) -> list[tuple[str, str]]:
    document = LoadedDocument(text, headings=tuple(markdown_headings(text)), **fields)
    return [(each.heading, each.text) for each in passages(document, 200, 32)]


@pytest.mark.parametrize(("name", "content"), [("a.md", FAQ), ("a.html", HTML)])
def test_short_sections_stand_under_their_own_headings(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content, encoding="utf-8")
    [document] = load_file(tmp_path / name, print)
    found = [(each.heading, each.text.splitlines()[-1]) for each in passages(document, 200, 32)]
    assert found == [
        ("售后 > 如何退货？", "七天之内可以退货。"),
        ("售后 > 可以开发票吗？", "可以，请联系客服。"),
        ("售后 > 多久发货？", "当天。"),
    ]


def test_a_heading_without_text_goes_with_those_below_it_and_no_others():
    assert cut("A\n===\n\n## B\n\ntext\n\n## C\n## D\nmore\n# E\n") == [
        ("A > B", "A\n===\n\n## B\n\ntext"),
        ("A > C", "## C"),
        ("A > D", "## D\nmore"),
        ("E", "# E"),
    ]


def test_what_stands_before_the_first_heading_has_none():
    assert cut("Hello.\n# A\ntext") == [("", "Hello."), ("A", "# A\ntext")]
    assert cut("Hello.\n# A\ntext", title="Guide") == [("Guide", "Hello."), ("Guide > A", "# A\ntext")]


def test_a_title_is_left_out_only_if_it_is_the_first_heading():
    assert cut("# Guidelines\ntext", title="Guide") == [("Guide > Guidelines", "# Guidelines\ntext")]
    assert cut("# Guide\n## A\ntext", title="Guide") == [("Guide > A", "# Guide\n## A\ntext")]


def test_a_section_longer_than_a_passage_keeps_its_heading():
    text = "# A\n" + "One two three four. " * 100 + "\n# B\nend"
    assert [heading for heading, _ in cut(text)] == ["A", "A", "A", "B"]


def test_pages_do_not_part_a_heading_from_its_text_nor_join_two_headings():
    text = "Intro.\n\n1 Reset\n\nHold it.\n\n2 Lamp\nIt blinks."
    second, third = text.index("Hold"), text.index("2 Lamp")
    headings = (Heading(text.index("1 Reset"), 1, "1 Reset"), Heading(third, 1, "2 Lamp"))
    found = list(passages(LoadedDocument(text, headings=headings, pages=(0, second, third)), 200, 32))
    assert [(each.heading, each.text, each.page) for each in found] == [
        ("", "Intro.", 1),
        ("1 Reset", "1 Reset\n\nHold it.", 1),
        ("2 Lamp", "2 Lamp\nIt blinks.", 3),
    ]


@given(
    st.lists(st.sampled_from(["# A\n", "## B\n", "### C\n", "text.\n", "\n", "more words. " * 30])), st.integers(8, 60)
)
@settings(deadline=None, max_examples=200)
def test_every_heading_inside_a_passage_is_one_it_is_cited_under(parts: list[str], max_terms: int):
    text = "".join(parts)
    headings = markdown_headings(text)
    found = list(passages(LoadedDocument(text, headings=tuple(headings)), max_terms, 4))
    for each in found:
        start, end = each.span
        inside = [heading.title for heading in headings if start <= heading.start < end]
        path = each.heading.split(" > ") if each.heading else []
        assert path[len(path) - len(inside) :] == inside
        if not inside:
            before = [heading.title for heading in headings if heading.start < start]
            assert path[-1:] == before[-1:]
    covered = {place for each in found for place in range(*each.span)}
    assert covered >= {place for place, character in enumerate(text) if not character.isspace()}
