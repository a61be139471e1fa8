from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.scoring.batch import Batch, EncodedPair, plan_batches

LENGTHS = st.lists(st.integers(1, 30), max_size=40)


def pair(*token_ids: int) -> EncodedPair:
    ids = np.array(token_ids, np.int32)
    return EncodedPair(ids, ids % 2)


@given(LENGTHS, st.integers(1, 100), st.booleans())
@settings(deadline=None)
def test_a_plan_holds_every_pair_once_within_the_budget_longest_first(
    lengths: list[int], budget: int, padded: bool
) -> None:
    plan = plan_batches(lengths, budget, padded=padded)
    assert sorted(index for group in plan for index in group) == list(range(len(lengths)))
    in_order = [lengths[index] for group in plan for index in group]
    assert in_order == sorted(lengths, reverse=True)
    for group in plan:
        sizes = [lengths[index] for index in group]
        cost = max(sizes) * len(sizes) if padded else sum(sizes)
        assert cost <= budget or len(group) == 1


@given(LENGTHS, st.integers(1, 100), st.booleans())
@settings(deadline=None)
def test_a_batch_is_full_before_the_next_begins(lengths: list[int], budget: int, padded: bool) -> None:
    plan = plan_batches(lengths, budget, padded=padded)
    for group, (following, *_) in pairwise(plan):
        sizes = [lengths[index] for index in [*group, following]]
        assert (max(sizes) * len(sizes) if padded else sum(sizes)) > budget


def test_padding_costs() -> None:
    assert plan_batches([2, 6, 3, 1], 12, padded=True) == [[1, 2], [0, 3]]
    assert plan_batches([2, 6, 3, 1], 12, padded=False) == [[1, 2, 0, 3]]


def test_pairs_of_equal_length_keep_their_order() -> None:
    assert plan_batches([5, 5, 5], 10, padded=True) == [[0, 1], [2]]


def test_a_batch_lays_pairs_end_to_end() -> None:
    batch = Batch.of([pair(5, 6, 7), pair(8), pair(9, 10)])
    assert len(batch) == 3
    assert batch.token_ids.tolist() == [5, 6, 7, 8, 9, 10]
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.starts.tolist() == [0, 3, 4, 6]
    assert batch.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert {values.dtype for values in (batch.token_ids, batch.lengths, batch.starts, batch.positions)} == {
        np.dtype(np.int32)
    }


def test_a_padded_batch_masks_its_padding() -> None:
    ids, types, mask = Batch.of([pair(5, 6, 7), pair(8)]).padded(pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert types.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == types.dtype == mask.dtype == np.int64
