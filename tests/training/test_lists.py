"""Examples drawn, shuffled and laid into tensors."""

from itertools import product

import numpy as np
import pytest
import torch

from finerank.scoring.encode import PairEncoder
from finerank.testing import word_tokenizer
from finerank.training.augment import Augmentation
from finerank.training.examples import Example
from finerank.training.lists import ExampleSet, ListCollator, draw_passages, shuffle_passages

LONG = Example(
    "reset the router",
    tuple(f"passage number {number}. It is one of many." for number in range(9)),
    (0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    teacher=tuple(map(float, range(9))),
)
SHORT = Example("lamp", ("The lamp is green and it stands here.", "Dry."), (1.0, 0.0))


def columns(example: Example) -> set[tuple[object, ...]]:
    return set(zip(example.passages, example.labels, example.teacher or (None,) * 99, strict=False))


def test_a_draw_keeps_a_relevant_passage_and_what_belongs_to_each():
    relevant = set()
    for seed in range(40):
        drawn = draw_passages(LONG, 3, np.random.default_rng(seed))
        assert len(set(drawn.passages)) == 3
        assert columns(drawn) < columns(LONG)
        assert max(drawn.labels) > 0
        relevant |= {label for label in drawn.labels if label}
    assert relevant == {1.0, 2.0}


def test_a_short_list_is_taken_whole():
    assert draw_passages(SHORT, 2, np.random.default_rng(0)) is SHORT


def test_a_list_without_a_relevant_passage_is_drawn_too():
    nothing = Example("q", ("a", "b", "c"), (0.0, 0.0, 0.0))
    assert len(draw_passages(nothing, 2, np.random.default_rng(0)).passages) == 2


def test_shuffling_moves_what_belongs_together():
    shuffled = shuffle_passages(LONG, np.random.default_rng(0))
    assert shuffled.passages != LONG.passages
    assert columns(shuffled) == columns(LONG)


def test_an_epoch_draws_anew_and_a_resumed_one_the_same():
    def texts(epoch: int, seed: int = 0) -> list[Example]:
        lists = ExampleSet([LONG, SHORT], 3, Augmentation(shuffle=0.9, typos=0.9), seed)
        lists.set_epoch(epoch)
        return [lists[index] for index in range(len(lists))]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert texts(1) != texts(1, seed=5)


@pytest.mark.parametrize("tokens", [16, 64, 4096])
def test_every_pair_comes_to_its_place(tokens: int):
    encoder = PairEncoder(word_tokenizer(), 32)
    batch = ListCollator(encoder, 0, tokens)([LONG, SHORT])
    assert batch["given"].tolist() == [[True] * 9, [True] * 2 + [False] * 7]
    rows = [
        (ids[mask.bool()], types[mask.bool()])
        for group in batch["groups"]
        for ids, types, mask in zip(group["input_ids"], group["token_type_ids"], group["attention_mask"], strict=True)
    ]
    seen = dict(zip(batch["places"].tolist(), rows, strict=True))
    for number, example in enumerate([LONG, SHORT]):
        pairs = encoder.encode(encoder.encode_query(example.query), example.passages)
        for place, pair in enumerate(pairs):
            ids, types = seen.pop(number * 9 + place)
            assert ids.tolist() == pair.token_ids.tolist()
            assert types.tolist() == pair.type_ids.tolist()
    assert seen == {}
    assert all(len(group["input_ids"]) == 1 or group["input_ids"].numel() <= tokens for group in batch["groups"])


def test_labels_and_teacher_stand_where_their_passages_do():
    batch = ListCollator(PairEncoder(word_tokenizer(), 32), 0, 999)([SHORT, LONG])
    assert batch["grades"][1].tolist() == list(LONG.labels)
    assert batch["grades"][0].tolist() == [1.0] + [0.0] * 8
    assert batch["teacher"][1].tolist() == list(range(9))
    assert batch["taught"].tolist() == [False, True]
    assert batch["grades"].dtype == torch.float32


@pytest.mark.parametrize(("takes", "pad"), list(product([True, False], [0, 7])))
def test_a_model_gets_the_inputs_it_takes(takes: bool, pad: int):
    (group,) = ListCollator(PairEncoder(word_tokenizer(), 32), pad, 999, takes)([SHORT])["groups"]
    assert ("token_type_ids" in group) == takes
    assert group["input_ids"][1, -1] == pad
