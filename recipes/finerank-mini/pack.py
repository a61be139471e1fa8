"""Start and lists in about 50 MB, to take to a machine with a GPU and no network; and back to folders there.

    python recipes/finerank-mini/pack.py pack START LISTS OUT
    python recipes/finerank-mini/pack.py unpack OUT START LISTS

Matrices are kept in 4 bits, in blocks of 32 with a scale each. That loses nothing where the start was in 4 bits already
(each block's own step is found again), and is a small error otherwise.
"""

import argparse
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

BLOCK = 32
LEVEL = 19
PLAIN = ("config.json", "tokenizer.json")


def to_four_bits(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Two values a byte, and the steps, of either sign (values go from -8 to 7); the largest of a block lies 1 to 8
    steps from 0, whichever fits best."""
    blocks = weight.reshape(-1, BLOCK)
    largest = np.abs(blocks).max(1, keepdims=True)
    best = np.full((len(blocks), 1), np.inf)
    values, steps = np.zeros_like(blocks), np.zeros((len(blocks), 1), np.float16)
    for count in (sign * size for size in range(8, 0, -1) for sign in (1, -1)):
        step = (largest / count).astype(np.float16)
        wide = np.where(step != 0, step, 1).astype(np.float32)
        rounded = np.clip(np.rint(blocks / wide), -8, 7)
        error = np.abs(rounded * wide - blocks).max(1, keepdims=True)
        better = error < 0.999 * best
        best, steps = np.where(better, error, best), np.where(better, step, steps)
        values = np.where(better, rounded, values)
    nibbles = (values + 8).astype(np.uint8)
    return nibbles[:, 0::2] | nibbles[:, 1::2] << 4, steps


def from_four_bits(packed: NDArray[np.uint8], steps: NDArray[np.float16]) -> NDArray[np.float32]:
    """The blocks, [blocks, 32]."""
    values = np.stack([packed & 15, packed >> 4], axis=2).reshape(len(packed), BLOCK).astype(np.float32) - 8
    return values * steps.astype(np.float32)


def pack(start: Path, lists: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    kept: dict[str, NDArray[np.generic]] = {}
    for name, weight in load_file(start / "model.safetensors").items():
        if weight.ndim == 2 and weight.shape[1] % BLOCK == 0 and ("word_embeddings" in name or ".layer." in name):
            kept[f"{name}/values"], kept[f"{name}/steps"] = to_four_bits(weight)
            kept[f"{name}/shape"] = np.array(weight.shape)
        else:
            kept[name] = weight
    with io.BytesIO() as file:
        np.savez(file, **kept)
        (out / "start.npz.zst").write_bytes(_compressor().compress(file.getvalue()))
    for name in PLAIN:
        (out / f"{name}.zst").write_bytes(_compressor().compress((start / name).read_bytes()))
    with lists.open("rb") as source, (out / "lists.jsonl.zst").open("wb") as target:
        _compressor().copy_stream(source, target)
    print(f"{sum(file.stat().st_size for file in out.iterdir()) / 1e6:.1f} MB in {out}")


def unpack(folder: Path, start: Path, lists: Path) -> None:
    start.mkdir(parents=True, exist_ok=True)
    content = zstandard.ZstdDecompressor().decompress((folder / "start.npz.zst").read_bytes(), max_output_size=1 << 30)
    with np.load(io.BytesIO(content)) as kept:
        weights = {name: kept[name] for name in kept if "/" not in name}
        for name in (name.removesuffix("/values") for name in kept if name.endswith("/values")):
            blocks = from_four_bits(kept[f"{name}/values"], kept[f"{name}/steps"])
            weights[name] = blocks.reshape(kept[f"{name}/shape"])
    save_file(weights, start / "model.safetensors", {"format": "pt"})
    for name in PLAIN:
        _copy(folder / f"{name}.zst", start / name)
    _copy(folder / "lists.jsonl.zst", lists)


def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, threads=-1)


def _copy(packed: Path, plain: Path) -> None:
    with packed.open("rb") as source, plain.open("wb") as target:
        shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(source), target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("paths", type=Path, nargs=3)
    options = parser.parse_args()
    actions: dict[str, Callable[[Path, Path, Path], None]] = {"pack": pack, "unpack": unpack}
    actions[options.what](*options.paths)
