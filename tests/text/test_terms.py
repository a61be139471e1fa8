import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.text.terms import bm25, term_spans, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Reset the Wi-Fi_2!", ["reset", "the", "wi", "fi_2"]),
        ("重置路由器", ["重置", "置路", "路由", "由器"]),
        ("猫", ["猫"]),
        ("すべて", ["すべ", "べて"]),
        ("มนุษย์", ["มน", "นุ", "ุษ", "ษย", "ย์"]),
        ("자유", ["자유"]),
        ("Model Y续航", ["model", "y", "续航"]),
        ("", []),
    ],
)
def test_words_are_words_and_unspaced_scripts_are_pairs(text: str, expected: list[str]):
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ＡＢＣ１２３", "abc123"),
        ("postoﬀice ﬁle", "postoffice file"),
        ("ﾙｰﾀｰ ﾊﾟｽﾜｰﾄﾞ", "ルーター パスワード"),
        ("CAFÉ Zürich", "cafe zurich"),
        ("cafe\u0301", "café"),
        ("STRASSE", "straße"),
        ("ŁÓDŹ Ærø Đà", "lodz aero da"),
        ("İSTANBUL Iğdır", "istanbul igdir"),
        ("ΆΘΗΝΑ ΟΔΟΣ", "αθηνα οδος"),
        ("Ёлка замо́к", "елка замок"),
        ("كِتَابٌ أحمد", "كتاب احمد"),
        ("שָׁלוֹם", "שלום"),
        ("請問可以開發票嗎", "请问可以开发票吗"),
        ("臺灣 台灣", "台湾 台湾"),
        ("post\u00adoffice zero\u200bwidth", "postoffice zerowidth"),
        ("한글", unicodedata.normalize("NFD", "한글")),
        ("x² ①", "x2 1"),
    ],
)  # fmt: skip
def test_forms_of_a_word_are_one_term(one: str, other: str):
    assert terms(one) == terms(other) != []
    assert bm25(one, [other, "nothing of it"])[0] > 0


@pytest.mark.parametrize(
    ("one", "other"), [("かき", "がき"), ("ハハ", "パパ"), ("мой", "мои"), ("bạn", "bàn"), ("ลำ", "ลา")]
)
def test_marks_that_make_another_letter_stay(one: str, other: str):
    assert terms(one) != terms(other)


def test_a_term_is_placed_in_the_text_as_it_was_written():
    text = "Das postoﬀice: 請問ｶﾞｽ, cafe\u0301!"
    found = {term: text[start:end] for term, (start, end) in term_spans(text)}
    assert found == {
        "das": "Das", "postoffice": "postoﬀice", "cafe": "cafe\u0301", "请问": "請問", "问ガ": "問ｶﾞ", "ガス": "ｶﾞｽ",
    }  # fmt: skip


@given(st.text())
@settings(deadline=None, max_examples=500)
def test_terms_and_their_places_agree(text: str):
    placed = list(term_spans(text))
    assert [term for term, _ in placed] == terms(text)
    assert all(0 <= start < end <= len(text) for _, (start, end) in placed)
    assert all(term in "".join(terms(text[start:end])) for term, (start, end) in placed)
