"""Pseudo pairs from raw text."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from finerank.errors import InvalidInput, UnreadableFile
from finerank.text.chunk import sentence_spans
from finerank.training.augment import Augmentation
from finerank.training.examples import Example
from finerank.training.pseudo import (
    Passage,
    PseudoLists,
    Section,
    cut_passages,
    read_documents,
    take_sentence,
)

MARKDOWN = """Before all headings.

# The router

It is black. It is heavy.

## How to reset it ##

Hold the button. Wait ten seconds.
"""


def text_of(document: int, section: int) -> str:
    return " ".join(f"Sentence {n} of section {section} in document {document}." for n in range(4))


@pytest.fixture
def passages() -> list[Passage]:
    return [
        Passage(document, f"Title {document} {section}" if section else "", text_of(document, section))
        for document in range(5)
        for section in range(4)
    ]


def every(lists: PseudoLists, epochs: int = 20) -> list[Example]:
    examples = []
    for epoch in range(epochs):
        lists.set_epoch(epoch)
        examples += [lists[index] for index in range(len(lists))]
    return examples


def test_a_folder_is_read_with_titles_and_headings(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.md").write_text(MARKDOWN, encoding="utf-8")
    (tmp_path / "b.txt").write_text("The warranty\n\nTwo years. No more.", encoding="utf-8")
    (tmp_path / "c.txt").write_text("No title here.\n\nOnly text.", encoding="utf-8")
    (tmp_path / "d.jsonl").write_text('{"text": "One."}\n{"title": "T", "text": "Two."}\n', encoding="utf-8")
    with gzip.open(tmp_path / "e.jsonl.gz", "wt") as file:
        file.write('{"text": "Three."}\n')
    (tmp_path / "ignored.pdf").write_bytes(b"\xff")
    assert list(read_documents(tmp_path)) == [
        [Section("The warranty", "Two years. No more.")],
        [Section("", "No title here.\n\nOnly text.")],
        [Section("", "One.")],
        [Section("T", "Two.")],
        [
            Section("", "Before all headings."),
            Section("The router", "It is black. It is heavy."),
            Section("How to reset it", "Hold the button. Wait ten seconds."),
        ],
        [Section("", "Three.")],
    ]


def test_a_single_file_is_read(tmp_path: Path):
    path = tmp_path / "one.jsonl"
    path.write_text('{"text": "One."}\n')
    assert list(read_documents(path)) == [[Section("", "One.")]]


def test_bad_input_is_named(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"holds no \.txt, \.md or \.jsonl"):
        list(read_documents(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(InvalidInput, match=r"a\.jsonl, line 1: must have a text; its fields are body"):
        list(read_documents(tmp_path))
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "a.txt").write_bytes(b"a\0b\1\2")
    with pytest.raises(UnreadableFile, match=r"a\.txt: is binary"):
        list(read_documents(tmp_path))


def test_passages_fit_and_know_where_they_come_from():
    documents = [[Section("A", text_of(0, 0)), Section("", "")], [Section("B", "Short.")]]
    cut = cut_passages(documents, 100)
    assert [(passage.document, passage.title) for passage in cut] == [(0, "A"), (0, "A"), (1, "B")]
    assert all(len(passage.text) <= 100 for passage in cut)
    assert " ".join(passage.text for passage in cut[:2]) == text_of(0, 0)


def test_queries_are_titles_sentences_and_halves(passages: list[Passage]):
    kinds = {"title": 0, "sentence": 0, "half": 0}
    for example in every(PseudoLists(passages, 4, 0)):
        query = example.query
        kinds["title" if query.startswith("Title") else "half" if query.count("Sentence") > 1 else "sentence"] += 1
        if query.count("Sentence") > 1:
            assert query.count("Sentence") == example.passages[0].count("Sentence") == 2
    assert min(kinds.values()) > 80


def test_no_query_is_in_a_negative_and_no_positive_is_one(passages: list[Passage]):
    doubled = [*passages, Passage(9, "", text_of(0, 0)), Passage(9, "", f"{text_of(1, 1)} And more of it.")]
    for example in every(PseudoLists(doubled, 6, 0)):
        assert example.labels == (1.0, *[0.0] * (len(example.passages) - 1))
        positive, *negatives = example.passages
        assert len(set(example.passages)) == len(example.passages) > 3
        for negative in negatives:
            assert example.query not in negative
            assert positive not in negative


def test_other_sections_of_a_title_are_no_negatives_to_it():
    passages = [Passage(0, "Reset", text_of(0, 0)), Passage(0, "Reset", text_of(0, 1)), Passage(1, "", text_of(1, 0))]
    titled = [example for example in every(PseudoLists(passages, 3, 0)) if example.query == "Reset"]
    assert titled
    assert all(example.passages[1:] == (text_of(1, 0),) for example in titled)


def test_half_of_the_negatives_come_from_the_same_document(passages: list[Passage]):
    same = [
        f"document {example.passages[0].split('document ')[1][0]}" in negative
        for example in every(PseudoLists(passages, 5, 0))
        for negative in example.passages[1:]
    ]
    assert 0.5 < np.mean(same) < 0.85


def test_a_sentence_is_mostly_taken_out_of_its_passage():
    text = text_of(0, 0)
    rng = np.random.default_rng(0)
    taken = [take_sentence(text, sentence_spans(text), rng) for _ in range(2000)]
    assert {query for query, _ in taken} == {text[start:end] for start, end in sentence_spans(text)}
    removed = [query not in rest for query, rest in taken]
    assert np.mean(removed) == pytest.approx(0.9, abs=0.02)
    assert all(rest == text for (_, rest), gone in zip(taken, removed, strict=True) if not gone)
    assert all(
        rest.count("Sentence") == 3 and "  " not in rest
        for rest in (r for (_, r), gone in zip(taken, removed, strict=True) if gone)
    )


def test_short_sentences_are_no_queries():
    text = "Yes. The router has a button. No."
    assert {take_sentence(text, sentence_spans(text), np.random.default_rng(seed))[0] for seed in range(20)} == {
        "The router has a button."
    }


def test_the_same_seed_and_epoch_give_the_same_lists(passages: list[Passage]):
    assert every(PseudoLists(passages, 4, 0), 2) == every(PseudoLists(passages, 4, 0), 2)
    assert every(PseudoLists(passages, 4, 0), 2) != every(PseudoLists(passages, 4, 1), 2)
    lists = PseudoLists(passages, 4, 0)
    before = lists[0]
    assert [lists[index] for index in range(5)] == [lists[index] for index in range(5)]
    lists.set_epoch(1)
    assert lists[0] != before


def test_augmentation_is_made_of_pseudo_lists_too(passages: list[Passage]):
    plain, varied = (PseudoLists(passages, 4, 0, change) for change in (None, Augmentation(typos=1.0)))
    assert plain[0].query != varied[0].query
    assert plain[0].passages == varied[0].passages


def test_passages_that_give_no_pair_are_negatives_only():
    passages = [Passage(0, "", "One sentence alone."), Passage(1, "T", "Another one."), Passage(2, "", "A third one.")]
    lists = PseudoLists(passages, 3, 0)
    assert len(lists) == 1
    assert set(lists[0].passages) == {passage.text for passage in passages}
    with pytest.raises(InvalidInput, match="too little text"):
        PseudoLists([passages[0], passages[2]], 3, 0)
