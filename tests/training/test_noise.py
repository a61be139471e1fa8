"""Noise is seeded, strikes few places, and is of the kinds it claims to be."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.training import noise
from finerank.training.noise import misread, mistype

TEXTS = st.text(max_size=60) | st.text("abc XYZ019rnm己已日。，！Ａ", max_size=60)


def outcomes(change: noise.Change, text: str, seeds: int = 200) -> set[str]:
    return {change(text, np.random.default_rng(seed)) for seed in range(seeds)}


@pytest.fixture
def only() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("change", [mistype, misread])
@settings(deadline=None)
@given(text=TEXTS, seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_text(change: noise.Change, text: str, seed: int):
    first, again = (change(text, np.random.default_rng(seed)) for _ in range(2))
    assert first == again
    assert abs(len(first) - len(text)) <= 3 + 0.3 * len(text)


def test_every_slip_of_one_letter():
    assert outcomes(mistype, "g 1") == {" g1", " 1", "gg 1", *(f"{near} 1" for near in "rtyfhvbn")}
    assert outcomes(mistype, "Q") == {"Q", "", "QQ", "W", "A", "S"}


def test_chinese_characters_have_no_neighbouring_keys():
    assert outcomes(mistype, "路由") == {"由路", "由", "路路由", "路", "路由由"}


def test_digits_and_punctuation_are_not_mistyped():
    assert outcomes(mistype, "2024-05-01, 3.5!") == {"2024-05-01, 3.5!"}


def test_a_text_has_about_three_slips_in_a_hundred_letters():
    text = "x" * 400
    after = outcomes(mistype, text, 50)
    assert max(abs(len(changed) - 400) for changed in after) <= 12
    assert max(sum(letter != "x" for letter in changed) for changed in after) <= 12
    assert len(after) > 40


def test_look_alikes(only: pytest.MonkeyPatch):
    only.setattr(noise, "_SCANS", (noise._confuse,))
    assert outcomes(misread, "0") == {"O"}
    assert outcomes(misread, "1") == {"l", "I"}
    assert outcomes(misread, "corner") == {"comer"}
    assert outcomes(misread, "am") == {"arn"}
    assert outcomes(misread, "自己") == {"白己", "自已"}
    assert outcomes(misread, "已") == {"己", "巳"}
    assert outcomes(misread, "?") == {"?"}


def test_broken_lines(only: pytest.MonkeyPatch):
    only.setattr(noise, "_SCANS", (noise._break_lines,))
    assert outcomes(misread, "so it is") == {"so\nit is", "so it\nis"}
    assert outcomes(misread, "password") == {"pass-\nword"}
    assert outcomes(misread, "路由器") == {"路\n由器", "路由\n器"}


def test_widths(only: pytest.MonkeyPatch):
    only.setattr(noise, "_SCANS", (noise._change_width,))
    assert outcomes(misread, "A") == {"Ａ"}
    assert outcomes(misread, "！~") == {"!~", "！～"}


def test_every_kind_of_misreading_happens():
    kinds = Counter(
        kind
        for after in outcomes(misread, "Hold it for 10 seconds")
        for kind, found in {
            "look-alike": set(after) & set("OIlb56"),
            "line": "\n" in after,
            "width": any(ord(letter) > 0xFF00 for letter in after),
        }.items()
        if found
    )
    assert set(kinds) == {"look-alike", "line", "width"}
