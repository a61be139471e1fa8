"""What late interaction made of the texts read last: read again, they cost nothing."""

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from finerank.scoring.batch import Batch

States = NDArray[np.float32]


class TextStates:
    """States [tokens, hidden] by text, at most so many megabytes (2^20 bytes): the texts used longest ago make room.
    Safe between threads."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self._states: dict[bytes, States] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def keep(self, texts: Batch, states: States) -> None:
        """Keep the states [tokens of all texts, hidden]."""
        with self._lock:
            for text, span in _spans(texts):
                self._drop(text)
                if states[span].nbytes > self.megabytes << 20:
                    continue
                self._states[text] = states[span].copy()
                self._bytes += self._states[text].nbytes
                while self._bytes > self.megabytes << 20:
                    self._drop(next(iter(self._states)))

    def fill(self, texts: Batch, states: States) -> NDArray[np.bool_]:
        """Put what is known into `states` [tokens of all texts, hidden], and say which texts are not: bool [texts]."""
        missing = np.zeros(len(texts), np.bool_)
        with self._lock:
            for place, (text, span) in enumerate(_spans(texts)):
                known = self._states.pop(text, None)
                if known is None:
                    missing[place] = True
                else:
                    states[span] = self._states[text] = known
        return missing

    def _drop(self, text: bytes) -> None:
        states = self._states.pop(text, None)
        self._bytes -= 0 if states is None else states.nbytes


def _spans(texts: Batch) -> Iterator[tuple[bytes, slice]]:
    for first, last in zip(texts.starts[:-1], texts.starts[1:], strict=True):
        span = slice(first, last)
        yield texts.token_ids[span].tobytes() + texts.type_ids[span].tobytes(), span
