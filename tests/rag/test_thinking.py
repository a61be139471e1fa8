"""Reasoning that a generator writes into its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finerank.rag.thinking import SpokenText

SPOKEN = {
    "Hold it [1].": "Hold it [1].",
    "<think>maybe [3]</think>\n\nHold it [1].": "Hold it [1].",
    "\n<Thinking>\nmaybe [3]\n</Thinking>Hold it [1].": "Hold it [1].",
    "<thought>a</thought><think>b</think> Hold it [1].": "Hold it [1].",
    "[THINK]maybe [3][/THINK]Hold it [1].": "Hold it [1].",
    "◁think▷maybe [3]◁/think▷Hold it [1].": "Hold it [1].",
    "maybe [3], or not\n</think>\n\nHold it [1].": "Hold it [1].",
    "<think>\n\n</think>\n\nHold it [1].": "Hold it [1].",
    "Hold it [1].\n<think>or [3]?</think>\nThen wait.": "Hold it [1].\n\nThen wait.",
    "<think>maybe [3], or per": "",
    "Hold it [1].\n<think>or [3]": "Hold it [1].\n",
    "It writes <think> before it answers [1].": "It writes <think> before it answers [1].",
    "It writes `<think>` and then `</think>` [1].": "It writes `<think>` and then `</think>` [1].",
    "Is 1 < 2 [1": "Is 1 < 2 [1",
    "a < b <": "a < b <",
    "": "",
}


@pytest.mark.parametrize("raw", SPOKEN)
def test_what_is_thought_is_not_said(raw: str):
    spoken = SpokenText()
    shown = spoken.add(raw) + spoken.end()
    assert spoken.text == shown == SPOKEN[raw]


@given(
    st.sampled_from([raw for raw in SPOKEN if not raw.startswith("maybe")]), st.lists(st.integers(1, 9), min_size=30)
)
def test_pieces_may_part_it_anywhere(raw: str, sizes: list[int]):
    spoken = SpokenText()
    shown, place = "", 0
    for size in sizes:
        shown += spoken.add(raw[place : place + size])
        place += size
    shown += spoken.add(raw[place:]) + spoken.end()
    assert shown == spoken.text == SPOKEN[raw]


def test_thought_whose_begin_was_not_sent_is_no_part_of_the_answer_though_it_was_shown():
    spoken = SpokenText()
    shown = [spoken.add(piece) for piece in ("maybe [3]\n", "</think>", "\n\nHold", " it [1].")] + [spoken.end()]
    assert spoken.text == "Hold it [1]."
    assert "".join(shown) == "maybe [3]\n\n\nHold it [1]."
