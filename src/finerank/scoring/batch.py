"""Encoded pairs, ragged batches, and the one planner that groups pairs into batches by tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPair:
    """One query-passage pair as the model reads it: `token_ids` and `type_ids`, int32 [tokens], special tokens
    included. `truncated`: query or passage was cut to fit."""

    token_ids: Tokens
    type_ids: Tokens
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Pairs laid end to end: `token_ids` and `type_ids` int32 [tokens], `lengths` int32 [pairs]."""

    token_ids: Tokens
    type_ids: Tokens
    lengths: Tokens

    @classmethod
    def of(cls, pairs: Sequence[EncodedPair]) -> Self:
        return cls(
            np.concatenate([pair.token_ids for pair in pairs]),
            np.concatenate([pair.type_ids for pair in pairs]),
            np.array([len(pair) for pair in pairs], np.int32),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> Tokens:
        """Where each pair begins in `token_ids`, and the total at the end: int32 [pairs + 1]."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)

    @property
    def positions(self) -> Tokens:
        """Every token's place in its own pair, from 0: int32 [tokens]."""
        return (np.arange(len(self.token_ids)) - np.repeat(self.starts[:-1], self.lengths)).astype(np.int32)

    def texts(self) -> tuple[Self, Tokens]:
        """Queries and passages as sequences of their own, each different one once, and which two make each pair: int32
        [pairs, 2]. A passage begins with the first token of type 1."""
        ends = self.starts[1:]
        middles = ends - np.add.reduceat(self.type_ids, self.starts[:-1])
        places: dict[bytes, int] = {}
        spans: list[slice] = []
        pairs = []
        for first, middle, last in zip(self.starts[:-1], middles, ends, strict=True):
            for span in (slice(first, middle), slice(middle, last)):
                key = self.token_ids[span].tobytes() + self.type_ids[span].tobytes()
                if key not in places:
                    places[key] = len(spans)
                    spans.append(span)
                pairs.append(places[key])
        texts = type(self)(
            np.concatenate([self.token_ids[span] for span in spans]),
            np.concatenate([self.type_ids[span] for span in spans]),
            np.array([span.stop - span.start for span in spans], np.int32),
        )
        return texts, np.array(pairs, np.int32).reshape(-1, 2)

    def only(self, wanted: NDArray[np.bool_]) -> tuple[Self, NDArray[np.bool_]]:
        """Some of the pairs (`wanted`, bool [pairs]), and which tokens are theirs: bool [tokens]."""
        tokens = np.repeat(wanted, self.lengths)
        return type(self)(self.token_ids[tokens], self.type_ids[tokens], self.lengths[wanted]), tokens

    def padded(self, pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Token ids, type ids and attention mask as int64 [pairs, longest]."""
        mask = np.arange(self.lengths.max())[None, :] < self.lengths[:, None]
        ids = np.full(mask.shape, pad_id, np.int64)
        types = np.zeros(mask.shape, np.int64)
        ids[mask] = self.token_ids
        types[mask] = self.type_ids
        return ids, types, mask.astype(np.int64)


def plan_batches(lengths: Sequence[int], max_batch_tokens: int, *, padded: bool) -> list[list[int]]:
    """Group pairs (by position) into batches of at most `max_batch_tokens` tokens, the longest pairs first.

    A padded backend pays for the longest pair of a batch times its pairs; a packed one for the sum of the lengths.
    Sorting by length keeps the padding small, lets pairs of equal length share an attention call, and makes a lack
    of memory show in the first batch. A pair longer than the budget gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    cost = max_batch_tokens
    for index in order:
        longest = lengths[batches[-1][0]] if batches and padded else lengths[index]
        if batches and cost + longest <= max_batch_tokens:
            batches[-1].append(index)
            cost += longest
        else:
            batches.append([index])
            cost = lengths[index]
    return batches
