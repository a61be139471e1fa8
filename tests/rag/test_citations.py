"""Citations as models write them."""

import time

import pytest

from finerank.rag.citations import cited_numbers

FORMS = {
    "Hold it [1].": [1],
    "[1, 3]": [1, 3],
    "[1,3]": [1, 3],
    "[1，2]": [1, 2],
    "[1、2；3]": [1, 2, 3],
    "[1; 3]": [1, 3],
    "[1 and 3]": [1, 3],
    "[1, 2, and 3]": [1, 2, 3],
    "[1 & 3]": [1, 3],
    "[1][2] [3]": [1, 2, 3],
    "[1-3]": [1, 2, 3],
    "[1–3]": [1, 2, 3],
    "[1—3]": [1, 2, 3],
    "[1~3]": [1, 2, 3],
    "[1-2, 4]": [1, 2, 4],
    "[1 to 3]": [1, 2, 3],
    "[1至3]": [1, 2, 3],
    "[1]-[3]": [1, 2, 3],
    "[1] – [3], [5]": [1, 2, 3, 5],
    "[3-1]": [3, 1],
    "【1】": [1],
    "【1-3】": [1, 2, 3],
    "【1†source】": [1],
    "［1］": [1],
    "［１，３］": [1, 3],
    "〔2〕": [2],
    "[^1]": [1],
    "[^1][^2]": [1, 2],
    "[#1]": [1],
    "[[2]]": [2],
    "[Source 1]": [1],
    "[source: 1, 3]": [1, 3],
    "[Sources 1 and 3]": [1, 3],
    "[Sources 1-3]": [1, 2, 3],
    "[Source 1, Source 3]": [1, 3],
    "[Passage 2]": [2],
    "[Doc. 2]": [2],
    "[citation:2]": [2],
    "[Ref 2]": [2],
    "[来源1]": [1],
    "[来源：1、3]": [1, 3],
    "【段落2】": [2],
    "[第2段]": [2],
    "[文档 1]": [1],
    "[1: Router manual]": [1],
    "[1, p. 3]": [1],
    "(Source 1)": [1],
    "(passages 1, 3)": [1, 3],
    "（来源1）": [1],
    "Hold it.¹ Wait.²": [1, 2],
    "按住按钮¹⁻³。": [1, 2, 3],
    "button¹,²": [1, 2],
    "<sup>1</sup>": [1],
    "<sup>[1]</sup>": [1],
    "as `[1]` says": [1],
    "First [2], then [1].": [2, 1],
    "[1](http://a.b)": [1],
    "(see [1])": [1],
    "（见[1]、【3】）": [1, 3],
    "(as [1] and [2] say)": [1, 2],
    "[^1^][^3^]": [1, 3],
    "[1...3]": [1, 2, 3],
    "[1…3]": [1, 2, 3],
    "[doc_1]": [1],
    "[document-2]": [2],
    "[No. 1]": [1],
    "[ID: 2]": [2],
    "[出典1]": [1],
    "[Source 1 - Router manual]": [1],
    "[1 (p. 3)]": [1],
}
NONE = [
    "(1) Hold it. (2) Wait.",
    "1. Hold it.",
    "in (2020)",
    "[2020-2024]",
    "[10:30]",
    "[x]",
    "[ ]",
    "[a1]",
    "[1.5]",
    "[v2]",
    "[3 days]",
    "10³ m² km² x²",
    "`a[1]`",
    "```\na[1] = b[2]\n```",
    "~~~py\na[1]",
    "[1",
    "1]",
    "①按住",
    "(1, 2)",
]


@pytest.mark.parametrize("text", FORMS)
def test_forms_of_a_citation(text: str):
    assert cited_numbers(text) == FORMS[text]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_citation(text: str):
    assert cited_numbers(text) == []


@pytest.mark.parametrize("part", ["[", "[1, ", "[1 ", "(source 1, ", "[1-", "¹,", "`", "```\n", "[source " * 9 + "]"])
def test_odd_answers_take_no_long_time(part: str):
    start = time.perf_counter()
    cited_numbers(part * (40_000 // len(part)))
    assert time.perf_counter() - start < 1
