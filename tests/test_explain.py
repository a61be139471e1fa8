from collections.abc import Sequence

import pytest

from finerank import Explanation
from finerank.explain import MAX_PIECES, explain
from finerank.testing import stub_reranker, word_tokenizer

MANUAL = "The lamp is green. Hold the reset button. The box is heavy."


def best_words(explanation: Explanation) -> set[str]:
    return {word.text for word in explanation.words if word.drop > 0.1}


def check_offsets(explanation: Explanation, document: str) -> None:
    for piece in (*explanation.sentences, *explanation.words):
        assert document[slice(*piece.span)] == piece.text
    assert list(explanation.sentences) == sorted(explanation.sentences, key=lambda piece: piece.span)
    assert list(explanation.words) == sorted(explanation.words, key=lambda piece: piece.span)


def test_the_sentence_and_words_of_the_query_carry_the_score() -> None:
    explanation = stub_reranker().explain("reset button", MANUAL)
    assert explanation.best_sentence.text == "Hold the reset button."
    assert [word.text for word in explanation.words] == ["Hold", "the", "reset", "button"]
    assert best_words(explanation) == {"reset", "button"}
    check_offsets(explanation, MANUAL)


def test_wrapped_lines_are_explained_as_one_sentence() -> None:
    text = "The lamp is green. Hold the reset\nbutton for ten seconds.\nThe box is heavy."
    explanation = stub_reranker().explain("reset button", text)
    assert [piece.text for piece in explanation.sentences] == [
        "The lamp is green.",
        "Hold the reset\nbutton for ten seconds.",
        "The box is heavy.",
    ]
    check_offsets(explanation, text)


def test_faithfulness_compares_the_best_sentence_with_another() -> None:
    drops = {"One.": 1.0, "Two.": 5.0, "Three.": 3.0}
    text = " ".join(drops)

    def score(texts: Sequence[str]) -> list[float]:
        return [sum(drop for sentence, drop in drops.items() if sentence in text) for text in texts]

    explanation = explain(text, score, lambda _: [])
    assert explanation.logit == 9.0
    assert [piece.drop for piece in explanation.sentences] == [1.0, 5.0, 3.0]
    assert (explanation.top_drop, explanation.random_drop) == (5.0, 2.0)
    assert [(word.text, word.drop) for word in explanation.words] == [("Two", 5.0)]


@pytest.mark.parametrize("text", ["Hold the reset button", "", " \n"])
def test_one_sentence_has_nothing_to_compare_with(text: str) -> None:
    explanation = stub_reranker().explain("reset button", text)
    assert [piece.text for piece in explanation.sentences] == [text]
    assert explanation.random_drop is None
    check_offsets(explanation, text)


def test_where_there_are_no_spaces_the_tokens_are_the_words() -> None:
    document = "灯是绿色的。按住重置按钮，十秒！盒子很大。"
    explanation = stub_reranker().explain("重置按钮", document)
    assert explanation.best_sentence.text == "按住重置按钮，十秒！"
    assert "".join(word.text for word in explanation.words) == "按住重置按钮十秒"
    assert best_words(explanation) == {"重", "置", "钮"}
    check_offsets(explanation, document)


def test_mixed_scripts_are_split_once() -> None:
    document = "按住reset键"
    words = explain(
        document,
        lambda texts: [0.0] * len(texts),
        lambda text: word_tokenizer().encode(text, add_special_tokens=False).offsets,
    ).words
    assert [word.text for word in words] == ["按", "住", "reset", "键"]


def test_many_sentences_are_explained_in_runs() -> None:
    document = " ".join(f"Sentence {number}." for number in range(300))
    explanation = stub_reranker(max_length=1500).explain("sentence 200", document)
    assert len(explanation.sentences) <= MAX_PIECES
    assert "".join(piece.text for piece in explanation.sentences).count("Sentence") == 300
    assert "200" in explanation.best_sentence.text
    check_offsets(explanation, document)


def test_of_a_chunked_document_its_best_passage_is_explained() -> None:
    document = "The lamp is on. It is green. " * 20 + MANUAL
    reranker = stub_reranker(long_documents="chunk", max_length=32)
    explanation = reranker.explain("reset button", document)
    (ranked,) = reranker.rank("reset button", [document])
    assert explanation.best_sentence.text == "Hold the reset button."
    assert explanation.logit == ranked.logit
    assert explanation.sentences[0].span[0] == ranked.best_span[0] > 500
    check_offsets(explanation, document)


def test_of_a_cut_document_the_part_that_was_read_is_explained() -> None:
    document = MANUAL + " Unread." * 1000
    reranker = stub_reranker(max_length=16)
    explanation = reranker.explain("reset button", document)
    assert [piece.text for piece in explanation.sentences] == [
        "The lamp is green.",
        "Hold the reset button.",
        "The",
    ]
    assert explanation.logit == reranker.rank("reset button", [document])[0].logit
    check_offsets(explanation, document)


@pytest.mark.parametrize("long_documents", ["truncate", "chunk"])
def test_of_a_cleaned_document_the_text_is_explained_in_places_of_the_original(long_documents: str) -> None:
    document = "<p>The lamp is green.</p><p>Hold the <b class='reset'>red</b> button &quot;R&quot;.</p>" * 2
    reranker = stub_reranker(clean=True, long_documents=long_documents, max_length=20)
    explanation = reranker.explain("red button", document)
    assert explanation.best_sentence.text == 'Hold the red button "R".'
    assert document[slice(*explanation.best_sentence.span)].startswith("Hold the <b class='reset'>red</b> button")
    assert {document[slice(*word.span)] for word in explanation.words if word.drop > 0.1} == {"red", "button"}
    assert explanation.logit == reranker.rank("red button", [document])[0].logit


def test_the_same_query_template_is_used() -> None:
    plain, templated = (stub_reranker(template=template) for template in ("{query}", "lamp: {query}"))
    assert plain.explain("reset", MANUAL).best_sentence.text == "Hold the reset button."
    assert templated.explain("green", MANUAL).best_sentence.text == "The lamp is green."
    assert templated.explain("green", MANUAL).logit == templated.rank("green", [MANUAL])[0].logit
