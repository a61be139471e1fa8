"""Each change is made at its rate, keeps passages and labels in step, and depends on the seed alone."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank import InvalidInput, InvalidSetting
from finerank.ranking import is_blank
from finerank.text.chunk import sentence_spans
from finerank.training import augment
from finerank.training.augment import Augmentation, guess_language
from finerank.training.examples import Example

RATES = ("template", "synonyms", "word_order", "mixed", "typos", "shuffle", "truncate", "ocr")
WORDS = Path(augment.__file__).parent / "words"
TEXTS = st.text(max_size=40) | st.text("buy a router. 路由器！密码。 x", max_size=60)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    passages = tuple(draw(st.lists(TEXTS, min_size=1, max_size=4)))
    numbers = st.tuples(*[st.floats(-9, 9)] * len(passages))
    language = draw(st.sampled_from(["", "zh", "en", "th", "xx"]))
    return Example(
        draw(TEXTS.filter(lambda text: not is_blank(text))),
        passages,
        draw(numbers),
        draw(st.none() | numbers),
        language,
    )


def queries(query: str, seeds: int = 100, language: str = "", **rates: object) -> set[str]:
    example, change = Example(query, ("p",), (1.0,), language=language), Augmentation(**rates)
    return {change(example, np.random.default_rng(seed)).query for seed in range(seeds)}


def passages(passage: str, seeds: int = 100, **rates: float) -> set[str]:
    example, change = Example("q", (passage,), (1.0,)), Augmentation(**rates)
    return {change(example, np.random.default_rng(seed)).passages[0] for seed in range(seeds)}


@settings(deadline=None)
@given(examples(), st.fixed_dictionaries({name: st.sampled_from([0.0, 0.5, 1.0]) for name in RATES}), st.integers(0, 9))
def test_labels_stay_in_step_and_the_seed_decides(example: Example, rates: dict[str, float], seed: int):
    change = Augmentation(**rates)
    after = change(example, np.random.default_rng(seed))
    assert after == change(example, np.random.default_rng(seed))
    assert (after.labels, after.language) == (example.labels, example.language)
    assert len(after.passages) == len(example.passages)
    assert after.query.strip()
    for before, passage in zip(example.passages, after.passages, strict=True):
        assert passage.strip() or not before.strip(), "never cut away to nothing"
    same = (after.query, after.passages) == (example.query, example.passages)
    assert after.teacher == (example.teacher if same else None)


def test_nothing_is_changed_by_default():
    example = Example("buy a router", ("One. Two.",), (1.0,), (2.0,))
    assert Augmentation()(example, np.random.default_rng(0)) is example


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_how_often(name: str):
    example = Example("how to buy a router", ("One line. Two lines. Three lines. Four.",) * 2, (1.0, 0.0), (1.0, 2.0))
    rng = np.random.default_rng(0)
    change = Augmentation(**{name: 0.3})
    changed = [change(example, rng) for _ in range(300)]
    of_query = name in ("template", "synonyms", "word_order", "mixed", "typos")
    share = np.mean([after.query != example.query if of_query else after.passages[1] != example.passages[1]
                     for after in changed])  # fmt: skip
    assert 0.2 < share < 0.4
    for after in changed:
        assert after.passages == example.passages if of_query else after.query == example.query
    if not of_query:
        both = {(after.passages[0] == example.passages[0], after.passages[1] == example.passages[1])
                for after in changed}  # fmt: skip
        assert len(both) == 4, "each passage has its own turn"


def test_a_query_gets_a_frame_of_its_language():
    frames = json.loads((WORDS / "templates.json").read_text(encoding="utf-8"))
    for language, query in (("zh", "重置路由器"), ("en", "reset it"), ("ja", "ルーターの再起動"), ("ko", "재설정")):
        assert queries(query, template=1.0) == {frame.replace("{query}", query) for frame in frames[language]}
    assert queries("zurücksetzen", template=1.0, language="de") == {
        frame.replace("{query}", "zurücksetzen") for frame in frames["de"]
    }
    assert queries("nollställ", template=1.0, language="sv") == {"nollställ"}


def test_synonyms_stand_alone_and_keep_the_rest():
    assert queries("Buy it, buyer", synonyms=1.0) == {"purchase it, buyer"}
    assert queries("buy a car now", synonyms=1.0) == {"purchase a car now", "buy a automobile now"}
    assert queries("如何重置", synonyms=1.0) == {"怎么重置", "怎样重置", "如何复位"}
    assert queries("buy", synonyms=1.0, language="zh") == {"buy"}


@pytest.mark.parametrize(("name", "content"), [
    ("d.json", '{"Widget": ["gadget"], "buy": ["get"]}'), ("d.tsv", "Widget\tgadget\nbuy\tget\n"),
])  # fmt: skip
def test_the_users_dictionary_comes_first(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert queries("a widget", synonyms=1.0, dictionary=tmp_path / name) == {"a gadget"}
    assert queries("buy", synonyms=1.0, dictionary=str(tmp_path / name)) == {"get"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.json", "{", "is not JSON"),
        ("d.json", '{"a": "b"}', "words with their synonyms"),
        ("d.json", '{"a": []}', "words with their synonyms"),
        ("d.tsv", "a\tb\nc\n", "line 2"),
        ("none.tsv", None, "No such file"),
    ],
)
def test_a_bad_dictionary_is_named_at_once(tmp_path: Path, name: str, content: str | None, message: str):
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=message):
        Augmentation(dictionary=tmp_path / name)


def test_case_that_only_re_ignores_is_no_error():
    assert queries("ſhop", synonyms=1.0) <= {"ſhop", "store"}


def test_two_neighbouring_words_are_exchanged():
    assert queries("reset the Wi-Fi, please!", word_order=1.0) == {
        "the reset Wi-Fi, please!",
        "reset Wi-Fi the, please!",
        "reset the please, Wi-Fi!",
    }
    assert queries("特斯拉Model冬季续航", word_order=1.0) == {"Model特斯拉冬季续航", "特斯拉冬季续航Model"}
    assert queries("重置密码", word_order=1.0) == {"重置密码"}
    assert queries("สวัสดี ครับ", word_order=1.0) == {"ครับ สวัสดี"}


def test_chinese_and_english_mix():
    assert queries("重置路由器", mixed=1.0) == {"reset路由器", "重置router"}
    assert queries("reset my router", mixed=1.0) == {"重置 my router", "reset my 路由器"}
    assert queries("云计算", mixed=1.0) == {"cloud computing"}, "the longest term, not the cloud in it"
    assert queries("ルーターの密码", mixed=1.0) == {"ルーターの密码"}


def test_two_english_terms_side_by_side_are_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augment, "_REPLACED", 1.0)
    assert queries("重置路由器密码2次", mixed=1.0) == {"reset router password 2次"}


def test_a_generator_rewrites_and_an_empty_answer_is_not_taken():
    assert queries("reset", rewrite=1.0, generator=str.upper) == {"RESET"}
    assert queries("reset", rewrite=1.0, generator=lambda query: " ") == {"reset"}
    with pytest.raises(InvalidSetting, match="generator"):
        Augmentation(rewrite=0.1)


def test_shuffling_keeps_every_sentence():
    text = " One is first. Two follows!\nThree? 四。五。"
    sentences = ["One is first.", "Three?", "Two follows!", "五。", "四。"]
    shuffled = passages(text, shuffle=1.0)
    assert len(shuffled) > 50
    for after in shuffled:
        apart = after.replace("!", "!\n").replace(".", ".\n").replace("?", "?\n")
        assert sorted(apart[start:end] for start, end in sentence_spans(apart)) == sorted(sentences)
    assert passages("only one", shuffle=1.0) == {"only one"}


def test_truncation_keeps_at_least_the_first_half():
    assert passages("A b. C d. E f. G h. I j.", truncate=1.0) == {"A b. C d. E f.", "A b. C d. E f. G h."}
    assert passages("A b. C d.", truncate=1.0) == {"A b."}
    assert passages("only one", truncate=1.0) == {"only one"}


def test_the_teacher_goes_only_when_a_text_changes():
    example = Example("重置密码", ("a", "b"), (1.0, 0.0), (3.0, -3.0))
    rng = np.random.default_rng(0)
    assert Augmentation(word_order=1.0, shuffle=1.0)(example, rng) == example
    assert Augmentation(ocr=1.0)(replace(example, passages=("a0", "b0")), rng).teacher is None


@pytest.mark.parametrize("rate", [-0.1, 1.1, "often", None])
def test_a_rate_lies_between_0_and_1(rate: object):
    with pytest.raises(InvalidSetting, match=r"typos=.*between 0 and 1"):
        Augmentation(typos=rate)


def test_an_augmentation_can_be_recorded_as_json():
    assert json.loads(json.dumps(asdict(Augmentation(typos=0.5)))) == {
        **dict.fromkeys(("rewrite", *RATES), 0.0), "typos": 0.5, "dictionary": None, "generator": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "language"),
    [("重置", "zh"), ("再起動する", "ja"), ("재설정", "ko"), ("รีเซ็ต", "th"), ("сброс", "ru"), ("إعادة", "ar"),
     ("reset", "en"), ("123", "en")],
)  # fmt: skip
def test_scripts_tell_languages(text: str, language: str):
    assert guess_language(text) == language


def test_the_words_are_well_formed():
    frames, synonyms, glossary = (
        json.loads((WORDS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("templates", "synonyms", "glossary")
    )
    assert set(frames) >= {"ar", "de", "en", "es", "fr", "ja", "ko", "pt", "ru", "th", "vi", "zh"}
    assert all(frame.count("{query}") == 1 for texts in frames.values() for frame in texts)
    assert len(glossary) >= 150
    for side in zip(*glossary, strict=True):
        assert len(set(map(str.lower, side))) == len(glossary), "no term twice"
    for language, table in synonyms.items():
        assert len(table) > 70
        assert all(word == word.lower() and word not in others and others for word, others in table.items())
        assert {guess_language(word) for word in table} == {language}
