# ruff: noqa: E501 - a case reads better on one line
"""Sentences end at full stops, not where a line is wrapped."""

import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.text.sentences import join_lines, sentence_spans

ENGLISH = [
    "The warranty of the router covers parts and labor for two years from the day of purchase, e.g. a broken antenna.",
    "Batteries and cables, which wear out, are excluded.",
    "Dr. Smith wrote No. 5 of the series in 1.5 hours.",
    '"Stop it."',
    "She left for Berlin.",
]
GERMAN = [
    "Die Garantie des Routers umfasst Teile und Arbeit für zwei Jahre ab dem Tag des Kaufs, z.B. eine defekte Antenne.",
    "Batterien und Kabel sind als Verschleißteile von der Garantie des Herstellers ausgenommen.",
]
CHINESE = [
    "本产品的保修范围包括零部件和人工费用，自购买之日起为期两年，例如天线损坏。",
    "电池和线缆属于易耗品，不在保修范围之内。",
    "如需维修，请携带发票前往就近的服务网点办理登记手续并等待通知。",
]


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 72, 79, 100])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_wrapped_english_is_split_at_its_full_stops(width: int, line_break: str):
    text = textwrap.fill(" ".join(ENGLISH), width).replace("\n", line_break)
    assert [join_lines(each) for each in sentences(text)] == ENGLISH


@pytest.mark.parametrize("width", [60, 72, 79])
def test_wrapped_german_is_split_at_its_full_stops(width: int):
    text = textwrap.fill(" ".join(GERMAN), width, break_on_hyphens=False)
    assert [join_lines(each) for each in sentences(text)] == GERMAN


@pytest.mark.parametrize("width", [10, 15, 20, 30, 40])
def test_wrapped_chinese_is_joined_without_spaces(width: int):
    text = "".join(CHINESE)
    wrapped = "\n".join(text[start : start + width] for start in range(0, len(text), width))
    assert [join_lines(each) for each in sentences(wrapped)] == CHINESE


@pytest.mark.parametrize(
    "text",
    [
        "1. Open the lid\n2. Close the lid",
        "- one item\n- two items\n* three items",
        "（一）提交申请\n（二）等待审批",
        "Fees:\n| a | b |\n| 1 | 2 |",
        "city | price\nParis | 120",
        "name\tprice\nsoap\t2",
        "```\nfor x in y:\nuse(x)\n```",
        "def f(x):\n    return x\nprint(f(1))",
        "# Resetting the router\nHold it.",
        "Resetting the router\n====================\nhold it.",
        "milk\neggs\nbread",
        "Reset\nHold it for 10 s.",
        "Bring:\nsoap\ntowels\nWe have the rest.",
        "第一章 安装\n将路由器放在通风处。",
        "Yours,\nAnn",
        "a line\n\nanother line, in small letters.",
        "x = foo();\ny = bar();",
    ],
)
def test_lines_that_are_no_wrapped_text_stay_apart(text: str):
    assert sentences(text) == [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Open the lid and then\n   turn the key.\n2. Close it.", ["1. Open the lid and then\n   turn the key.", "2. Close it."]),
        ("> quoted text that\n> is wrapped. Yes.", ["> quoted text that\n> is wrapped.", "Yes."]),
        ("He said “Stop.”\n“Go,” he\nsaid.", ["He said “Stop.”", "“Go,” he\nsaid."]),
        ("Contact our office in\nBerlin or Paris.", ["Contact our office in\nBerlin or Paris."]),
        ("It takes approx.\n30 days.", ["It takes approx.\n30 days."]),
        ("See Fig. 3, pp. 4 and Sec. 2.1 of it. Yes.", ["See Fig. 3, pp. 4 and Sec. 2.1 of it.", "Yes."]),
        ("Is it so? No. Then stop.", ["Is it so?", "No.", "Then stop."]),
        ("Apples etc. are sold. Pears etc. They are good.", ["Apples etc. are sold.", "Pears etc.", "They are good."]),
        ("It is so.[3] It is.", ["It is so.[3]", "It is."]),
        ("本办法适用于\n全体员工。次日生效。", ["本办法适用于\n全体员工。", "次日生效。"]),
    ],
)  # fmt: skip
def test_what_ends_a_sentence(text: str, expected: list[str]):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("按住\n按钮", "按住按钮"),
        ("按住\nreset 按钮", "按住 reset 按钮"),
        ("well-\nknown  one", "well-known one"),
        ("> a\n> b", "> a b"),
        ("a\r\nb", "a b"),
    ],
)
def test_lines_are_joined_as_their_script_is_written(text: str, joined: str):
    assert join_lines(text) == joined


@pytest.mark.parametrize(
    "part", ["a\n", "a\n\n", "> ", "- ", "```\n", "word and\n", "e.g.\n", "的\n", " | ", "#\n", "--\n", "1."]
)
def test_odd_runs_of_lines_take_no_more_than_linear_time(part: str):
    start = time.process_time()
    sentence_spans(part * (100_000 // len(part)))
    assert time.process_time() - start < 3


PARTS = [
    "Hold it",
    "the button",
    "。",
    "重置",
    ". ",
    "\n",
    "\n\n",
    " ",
    "- ",
    "1. ",
    "> ",
    "```\n",
    "|",
    "No",
    "e.g.",
    ",",
    "\r\n",
    "==",
]


@given(st.lists(st.sampled_from(PARTS), max_size=20).map("".join))
@settings(deadline=None, max_examples=300)
def test_sentences_cover_the_text_in_order(text: str):
    spans = sentence_spans(text)
    places = [place for start, end in spans for place in range(start, end)]
    assert places == sorted(set(places))
    assert {place for place, character in enumerate(text) if not character.isspace()} <= set(places)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
