import pytest

from finerank.text.terms import terms


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
