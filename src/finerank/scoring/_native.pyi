from collections.abc import Mapping
from typing import Any

from numpy import float32, int32
from numpy.typing import NDArray

def instruction_sets() -> list[str]: ...
def peak(instruction_set: str, *, int16: bool) -> float: ...

class Engine:
    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        instruction_set: str,
        *,
        int16: bool,
        hidden: int,
        heads: int,
        inner: int,
        first: int,
        layers: int,
        chunk: int,
        eps: float,
        tanh: bool,
        late: bool,
    ) -> None: ...
    def forward(
        self,
        words: NDArray[float32],
        types: NDArray[int32],
        lengths: NDArray[int32],
        matches: NDArray[int32],
        logits: NDArray[float32],
        threads: int,
        states: NDArray[float32] | None = None,
    ) -> None: ...
    def profile(self) -> dict[str, float]: ...
