"""What a backend is, and the table of those there are.

A backend turns token ids into logits and knows nothing else: tokenising, batching, activation and sorting exist once,
outside it, so that every backend gives the same score.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, Self, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from finerank.scoring.batch import Batch
from finerank.scoring.device import Device
from finerank.scoring.exits import Exit
from finerank.scoring.model_files import ModelFiles


class ScoringBackend(Protocol):
    """Runs a reranker. `padded` says what a batch costs: see `plan_batches`."""

    padded: bool

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """Logits [pairs]. Raises `OutOfMemory` when the batch does not fit; a smaller one may be tried then."""
        ...

    def close(self) -> None:
        """Release memory; the backend is not used again."""
        ...


@runtime_checkable
class Shortenable(ScoringBackend, Protocol):
    """A backend that can end a model early."""

    def shortened(self, early: Exit) -> Self:
        """The model up to its early exit. It shares the weights, which stay when it is closed."""
        ...


BACKENDS: Mapping[str, str] = {
    "native": "finerank.scoring.native_backend:NativeBackend",
    "torch": "finerank.scoring.torch_backend:TorchBackend",
    "transformers": "finerank.scoring.transformers_backend:TransformersBackend",
    "onnx": "finerank.scoring.onnx_backend:OnnxBackend",
}
"""Backend name to its class. A module is imported, and its extra needed, when it is chosen."""


def open_backend(
    files: ModelFiles, device: Device, threads: int | None = None, passage_cache_mb: int = 0
) -> ScoringBackend:
    """Load the model onto the device with the backend its files call for. Only the native one keeps passages."""
    module, name = BACKENDS[files.backend].split(":")
    options = {"passage_cache_mb": passage_cache_mb} if files.backend == "native" else {}
    return cast("ScoringBackend", getattr(import_module(module), name)(files, device, threads, **options))
