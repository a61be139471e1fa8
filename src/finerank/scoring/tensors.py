"""Named arrays in a safetensors file, memory-mapped, read as float32 whatever they are stored in.

Knows nothing about models. A row is widened when it is asked for: of a table of embeddings, the rows of the batch.
"""

import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel
from finerank.scoring.int8 import BLOCK, SCALE, ZERO

_STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8}


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """An array on disk; `tensor[rows]` is float32. `kind` is safetensors' name of its type, `scale` that of 8-bit
    blocks, or None."""

    stored: NDArray[Any]
    kind: str
    scale: NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> NDArray[np.float32]:
        stored = self.stored[rows]
        if self.kind == "BF16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        if self.scale is None:
            return np.ascontiguousarray(stored, np.float32)
        blocks = stored.reshape(*stored.shape[:-1], -1, BLOCK).astype(np.float32) - ZERO
        return (blocks * self.scale[rows][..., None]).reshape(stored.shape)


class Tensors:
    """The tensors of one file or of several shards, by name. Raises `BrokenModel` where a file is not whole."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._maps: list[mmap.mmap] = []
        for path in paths:
            self._open(path)
            self._folder = path.parent

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise BrokenModel(
                f"{self._folder}: has no weights named {name}. Is it a classifier that was saved whole? "
                "An encoder without its head cannot rank."
            )
        if tensor.kind != "U8":
            return tensor
        return Tensor(tensor.stored, tensor.kind, self[name + SCALE][:])

    def names(self) -> list[str]:
        """The tensors there are, but for scales."""
        return [name for name in self._tensors if not name.endswith(SCALE)]

    def let_go(self) -> None:
        """Give back the memory of the pages read so far; they are read again when they are needed."""
        for mapped in self._maps:
            if hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._maps.append(mapped)
        try:
            start = 8 + int.from_bytes(mapped[:8], "little")
            header = json.loads(mapped[8:start])
            header.pop("__metadata__", None)
            for name, entry in header.items():
                if entry["dtype"] in _STORED:
                    self._tensors[name] = _view(mapped, start, entry)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise BrokenModel(f"{path}: truncated or damaged: {error}. Download it again.") from error


def _view(mapped: mmap.mmap, start: int, entry: dict[str, Any]) -> Tensor:
    first, last = entry["data_offsets"]
    dtype = np.dtype(_STORED[entry["dtype"]])
    flat = np.frombuffer(mapped, dtype, (last - first) // dtype.itemsize, start + first)
    return Tensor(flat.reshape(entry["shape"]), entry["dtype"])
