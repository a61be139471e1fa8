import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.text.chunk import chunk_spans, sentence_spans

TEXTS = st.text("aB .!?\n。！」é文", max_size=80)


def count_characters(texts: Sequence[str]) -> list[int]:
    """A token a character, three for é; white space is free."""
    return [sum(3 if character == "é" else not character.isspace() for character in text) for text in texts]


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("  One.  \n\n Two. ", ["One.", "Two."]),
        ("a line\nanother line", ["a line", "another line"]),
        ("Version 3.5 is out. See a.b.c now.", ["Version 3.5 is out.", "See a.b.c now."]),
        ('He said "Stop." Then "Go!" And left.', ['He said "Stop."', 'Then "Go!"', "And left."]),
        ("Wait... what?! Yes.", ["Wait...", "what?!", "Yes."]),
        ("Mr. Lee met J. R. Hill. They left.", ["Mr. Lee met J. R. Hill.", "They left."]),
        ("Use it, e.g. a saw, z.B. eine Säge. Done.", ["Use it, e.g. a saw, z.B. eine Säge.", "Done."]),
        ("重置路由器。按住按钮十秒！好吗？好", ["重置路由器。", "按住按钮十秒！", "好吗？", "好"]),
        ("「止まれ。」と言った。次へ", ["「止まれ。」", "と言った。", "次へ"]),
        ("هل تعمل؟ نعم۔ अच्छा। ठीक", ["هل تعمل؟", "نعم۔", "अच्छा।", "ठीक"]),
        ("", []),
        (" \n\t", []),
        ("...", ["..."]),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(TEXTS, st.integers(1, 20), st.integers(0, 20))
@settings(deadline=None, max_examples=300)
def test_passages_cover_the_text_in_order_within_the_limit(text: str, limit: int, overlap: int) -> None:
    spans = chunk_spans(text, count_characters, limit, overlap)
    assert spans == ([(0, 0)] if not text.strip() else sorted(set(spans)))
    covered = {position for start, end in spans for position in range(start, end)}
    assert covered >= {position for position, character in enumerate(text) if not character.isspace()}
    for start, end in spans:
        passage = text[start:end]
        assert passage == passage.strip()
        assert count_characters([passage])[0] <= limit or len(passage) == 1
    for (_, end), (start, following_end) in pairwise(spans):
        assert following_end > end
        assert count_characters([text[start:end]])[0] <= overlap


def test_neighbours_share_whole_sentences() -> None:
    text = "A one. B two. C three. D four."
    passages = [text[start:end] for start, end in chunk_spans(text, count_words, 6, overlap=2)]
    assert passages == ["A one. B two. C three.", "C three. D four."]


def test_no_overlap_unless_asked_for() -> None:
    assert chunk_spans("A one. B two. C three. D four.", count_words, 4) == [(0, 13), (14, 30)]


def test_text_that_fits_is_one_passage() -> None:
    assert chunk_spans(" A one. B two. ", count_words, 4, overlap=2) == [(1, 14)]


def test_passages_do_not_end_where_a_line_is_wrapped() -> None:
    text = "Hold the reset button on the back until the\nlight blinks. Then let it\ngo. Wait."
    assert [text[start:end] for start, end in chunk_spans(text, count_words, 12)] == [
        "Hold the reset button on the back until the\nlight blinks.",
        "Then let it\ngo. Wait.",
    ]


def test_a_sentence_too_long_is_cut_between_words() -> None:
    words = [f"word{number}" for number in range(200)]
    text = " ".join(words)
    passages = [text[start:end] for start, end in chunk_spans(text, count_words, 20)]
    assert " ".join(passages).split() == words
    assert max(count_words(passages)) <= 20 < 2 * min(count_words(passages)) + 1


def test_a_sentence_too_long_without_spaces_is_cut_all_the_same() -> None:
    text = "人人生而自由" * 40
    passages = [text[start:end] for start, end in chunk_spans(text, count_characters, 50)]
    assert "".join(passages) == text
    assert max(map(len, passages)) <= 50


@pytest.mark.parametrize("text", ["." * 50_000 + "x", "!)" * 25_000 + "x", " " * 50_000, "a" * 50_000])
def test_odd_runs_take_no_more_than_linear_time(text: str) -> None:
    start = time.perf_counter()
    sentence_spans(text)
    assert time.perf_counter() - start < 1
