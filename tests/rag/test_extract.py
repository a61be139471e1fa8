# ruff: noqa: E501 - a case reads better on one line
"""Extractive answers are whole sentences of their passages."""

import pytest

from finerank import Document
from finerank.rag.extract import extract
from finerank.rag.results import FoundPassage


@pytest.mark.parametrize(
    ("text", "question", "sentence"),
    [
        ("It is warm. To reset the router hold the\nbutton until the light\nblinks twice. Then wait.", "how to reset the router", "To reset the router hold the button until the light blinks twice."),
        ("天气很好。要重置路由器，请按住机身背面的重置按\n钮十秒，直到指示灯闪烁。然后等待。", "如何重置路由器", "要重置路由器，请按住机身背面的重置按钮十秒，直到指示灯闪烁。"),
        ("> To reset the router hold\n> the button. Yes.", "how to reset the router", "> To reset the router hold the button."),
    ],
)  # fmt: skip
def test_a_sentence_over_several_lines_is_quoted_whole_on_one_line(text: str, question: str, sentence: str):
    found = FoundPassage(Document(text), rank=1, recall_rank=1)
    [best, *_] = extract(question, [found], None, 0.0)
    assert best.text == sentence
