"""Where an early exit left the texts of late interaction, so that the whole model goes on from there."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from finerank.scoring.batch import Batch

States = NDArray[np.float32]

MOST_BYTES = 128 << 20
"""The states of 340 texts of 256 tokens at a hidden size of 384. The texts read first make room."""


class TextStates:
    """States [tokens, hidden] by text. Not for two threads at once."""

    def __init__(self) -> None:
        self._states: dict[bytes, States] = {}
        self._bytes = 0

    def keep(self, texts: Batch, states: States) -> None:
        """Keep the states [tokens of all texts, hidden]."""
        for text, span in _spans(texts):
            self._drop(text)
            self._states[text] = states[span].copy()
            self._bytes += self._states[text].nbytes
        while self._bytes > MOST_BYTES:
            self._drop(next(iter(self._states)))

    def find(self, texts: Batch) -> States | None:
        """The states [tokens of all texts, hidden], None if those of a text are gone."""
        found = [self._states.get(text) for text, _ in _spans(texts)]
        known = [states for states in found if states is not None]
        return np.concatenate(known) if known and len(known) == len(found) else None

    def _drop(self, text: bytes) -> None:
        states = self._states.pop(text, None)
        self._bytes -= 0 if states is None else states.nbytes


def _spans(texts: Batch) -> Iterator[tuple[bytes, slice]]:
    for first, last in zip(texts.starts[:-1], texts.starts[1:], strict=True):
        span = slice(first, last)
        yield texts.token_ids[span].tobytes() + texts.type_ids[span].tobytes(), span
