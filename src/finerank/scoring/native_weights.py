"""Weights as the native engine reads them: padded, in panels of 32 outputs, in int16 with scales or in float32.

They are made once and kept in the cache folder, one file a model and precision, which processes map and share. An image
or a volume can hold that file beside the model instead: see `file_beside`. What the layout means is in
src/native/model.h.
"""

import hashlib
import json
import logging
import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel
from finerank.paths import cache_dir
from finerank.scoring.exits import Exit
from finerank.scoring.families import FAMILIES
from finerank.scoring.model_files import ModelFiles
from finerank.scoring.tensors import Tensors

logger = logging.getLogger("finerank")

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]

PANEL = 32
LARGEST, NORM = 32000, 46000
"""Of a row of int16 weights: see src/native/gemm.h for why no sum overflows."""

_INNER_CHUNK = 512
_VERSION = 2
"""Of the layout; part of the key, so that another version makes its own file."""

_BESIDE = "packed-"
_ALIGNMENT = 64
_PAGE = 4096
_END = b"finerank"

_LEFT_AFTER_S = 24 * 3600
_KEPT_S = 30 * 24 * 3600
_KEPT_BYTES = 8 * 10**9


def padded(size: int) -> int:
    """The next multiple of a panel."""
    return -(-size // PANEL) * PANEL


def inner_chunk(inner: int) -> int:
    """Inputs of the second feed-forward product that share a scale: even parts of at most 512."""
    parts = -(-padded(inner) // _INNER_CHUNK)
    return padded(-(-inner // parts))


def packed_weights(files: ModelFiles, config: Mapping[str, Any], tensors: Tensors, *, int16: bool) -> Arrays:
    """The packed arrays of a model: mapped from the cache or from beside the model, made first if in neither."""
    path = cache_file(files, int16=int16)
    try:
        arrays = _mapped(path)
    except (OSError, ValueError):  # not there, or damaged
        pass
    else:
        with suppress(OSError):  # a folder that may only be read
            os.utime(path)  # `_remove_unused` goes by it; access times are seldom kept
        return arrays
    if any(files.folder.glob(f"{_BESIDE}*")):  # else its name need not be known: that takes reading the weights
        with suppress(OSError, ValueError):
            return _mapped(file_beside(files, int16=int16))
    try:
        _write(path, _pack(files, config, tensors, int16))
        return _mapped(path)
    except OSError as error:
        logger.warning("packed weights are not kept: %s", error)
        return dict(_pack(files, config, tensors, int16))


def cache_file(files: ModelFiles, *, int16: bool) -> Path:
    """Where this machine keeps the packed weights of a model."""
    return cache_dir() / "native" / f"{_key(files, int16)}.bin"


def file_beside(files: ModelFiles, *, int16: bool) -> Path:
    """Where packed weights that travel with the model lie: a copy of its `cache_file`, under a name that holds what is
    in the model's files. Copying a folder, into an image for instance, changes the inodes and times that the cache
    goes by, and this name not."""
    seen = json.dumps([_VERSION, int16, files.fingerprint()])
    return files.folder / f"{_BESIDE}{hashlib.sha256(seen.encode()).hexdigest()[:32]}.bin"


def _key(files: ModelFiles, int16: bool) -> str:
    """Names the weights by path, size and times of change: hashing their content takes longer than packing it.

    Nobody sets a file's ctime, so that new content under an old date is seen too.
    """
    stats = [(path.resolve(), path.stat()) for path in (files.folder / "config.json", *files.weights)]
    seen = [(str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats]
    return hashlib.sha256(json.dumps([_VERSION, int16, seen]).encode()).hexdigest()[:32]


def _pack(files: ModelFiles, config: Mapping[str, Any], tensors: Tensors, int16: bool) -> Iterator[tuple[str, Any]]:
    family, hidden = FAMILIES[config["model_type"]], config["hidden_size"]
    width, source = padded(hidden), _Source(files.name, tensors)
    embeddings = f"{family.prefix}embeddings"
    yield from source.norm("embeddings", f"{embeddings}.LayerNorm", hidden)
    positions = tensors[f"{embeddings}.position_embeddings.weight"][files.first_position :]
    yield "positions", _widened(positions[: files.usable_length], width, 1)
    yield "types", _widened(tensors[f"{embeddings}.token_type_embeddings.weight"][:], width, 1)
    for index in range(config["num_hidden_layers"]):
        yield from _layer(f"layer.{index}", source, f"{family.prefix}encoder.layer.{index}", config, int16)
        tensors.let_go()
    yield from _head(source, family.dense, family.out, hidden)


def packed_exit(config: Mapping[str, Any], early: Exit, *, int16: bool) -> Arrays:
    """The arrays that an early exit has in place of the model's: its own layers, which follow the shared ones, and its
    head."""
    source = _Source(str(early.path), Tensors([early.path]))
    layers = (
        _layer(f"layer.{early.shared + index}", source, f"layer.{index}", config, int16) for index in range(early.own)
    )
    return dict(chain(*layers, _head(source, "dense", "out", config["hidden_size"])))


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the weights called `name` in an error come from."""

    name: str
    tensors: Tensors

    def read(self, name: str, *shape: int) -> Floats:
        values = self.tensors[name][:]
        if values.shape != shape:
            raise BrokenModel(f"{self.name}: {name} is {list(values.shape)}, and config.json says {list(shape)}.")
        if not np.isfinite(values).all():
            raise BrokenModel(f"{self.name}: {name} holds NaN or infinity; download it again.")
        return values

    def norm(self, name: str, source: str, size: int) -> Iterator[tuple[str, Floats]]:
        for part in ("weight", "bias"):
            yield f"{name}.{part}", _widened(self.read(f"{source}.{part}", size), padded(size))


def _layer(
    name: str, source: _Source, there: str, config: Mapping[str, Any], int16: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of the layer that the source calls `there`."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    width, read = padded(hidden), source.read

    def by_head(values: Floats) -> Floats:
        """The first axis, heads of `hidden / heads`, with every head padded."""
        split = values.reshape(heads, hidden // heads, *values.shape[1:])
        return _widened(split, padded(hidden // heads), 1).reshape(-1, *values.shape[1:])

    parts = [f"{there}.attention.self.{part}" for part in ("query", "key", "value")]
    weight = np.concatenate([by_head(read(f"{part}.weight", hidden, hidden)) for part in parts])
    bias = np.concatenate([by_head(read(f"{part}.bias", hidden)) for part in parts])
    yield from _linear(f"{name}.qkv", weight, bias, width, width, int16)
    weight = by_head(np.ascontiguousarray(read(f"{there}.attention.output.dense.weight", hidden, hidden).T)).T
    bias = read(f"{there}.attention.output.dense.bias", hidden)
    yield from _linear(f"{name}.out", weight, bias, weight.shape[1], weight.shape[1], int16)
    weight = read(f"{there}.intermediate.dense.weight", inner, hidden)
    yield from _linear(f"{name}.up", weight, read(f"{there}.intermediate.dense.bias", inner), width, width, int16)
    weight = read(f"{there}.output.dense.weight", hidden, inner)
    bias = read(f"{there}.output.dense.bias", hidden)
    yield from _linear(f"{name}.down", weight, bias, padded(inner), inner_chunk(inner), int16)
    yield from source.norm(f"{name}.attention_norm", f"{there}.attention.output.LayerNorm", hidden)
    yield from source.norm(f"{name}.norm", f"{there}.output.LayerNorm", hidden)


def _head(source: _Source, dense: str, out: str, hidden: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of the scoring head that the source calls `dense` and `out`."""
    width = padded(hidden)
    weight, bias = source.read(f"{dense}.weight", hidden, hidden), source.read(f"{dense}.bias", hidden)
    yield from _linear("dense", weight, bias, width, width, int16=False)
    yield "out.weight", _widened(source.read(f"{out}.weight", 1, hidden)[0], width)
    yield "out.bias", source.read(f"{out}.bias", 1)


def _widened(values: Floats, size: int, axis: int = 0) -> Floats:
    """With zeros up to `size` along an axis."""
    room = [(0, size - length if place == axis else 0) for place, length in enumerate(values.shape)]
    return np.pad(values, room)


def _linear(
    name: str, weight: Floats, bias: Floats, width: int, chunk: int, int16: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of one Linear of `width` inputs, which are taken `chunk` at a time."""
    weight = _widened(_widened(weight, padded(len(weight))), width, 1)
    yield f"{name}.bias", _widened(bias, len(weight))
    parts = [weight[:, start : start + chunk] for start in range(0, width, chunk)]
    if int16:
        narrow, scales = zip(*map(_narrow, parts), strict=True)
        yield f"{name}.scale", np.concatenate(scales)
        parts = list(narrow)
    step = 2 if int16 else 1
    panels = [part.reshape(len(weight) // PANEL, PANEL, -1, step).transpose(0, 2, 1, 3).ravel() for part in parts]
    yield f"{name}.weight", np.concatenate(panels)


def _narrow(weight: Floats) -> tuple[NDArray[np.int16], Floats]:
    """Rows as int16, and what a unit of each is worth."""
    largest = np.maximum(np.abs(weight).max(1), 1e-30)
    norm = np.maximum(np.sqrt(np.square(weight, dtype=np.float64).sum(1)), 1e-30)
    rate = np.minimum(LARGEST / largest.astype(np.float64), NORM / norm)
    return np.rint(weight * rate[:, None]).astype(np.int16), (1 / rate).astype(np.float32)


def _write(path: Path, arrays: Iterator[tuple[str, NDArray[Any]]]) -> None:
    """Write the arrays and an index behind them, whole or not at all; of two processes the later one's file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    _remove_unused(path.parent)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="part-", delete=False) as file:
        try:
            index = {}
            for name, array in arrays:
                file.write(bytes(-file.tell() % _ALIGNMENT))
                index[name] = [array.dtype.str, list(array.shape), file.tell()]
                array.tofile(file) if array.flags.c_contiguous else file.write(array.tobytes())
            text = json.dumps(index).encode()
            file.write(text + len(text).to_bytes(8, "little"))
            file.flush()
            file.write(_checksum(memoryview(_content(file))) + _END)
            file.flush()
            os.fsync(file.fileno())  # else a crash may leave the name and lose pages
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _remove_leftovers(folder: Path) -> None:
    """Unfinished files of processes that were killed."""
    for part in folder.glob("part-*"):
        with suppress(FileNotFoundError):  # another process was quicker
            if time.time() - part.stat().st_mtime > _LEFT_AFTER_S:
                part.unlink()


def _remove_unused(folder: Path) -> None:
    """Weights not opened for 30 days, and beyond 8 GB those opened longest ago. A process that has one mapped keeps it;
    one that comes too late makes it anew."""
    room = _KEPT_BYTES
    for opened, size, path in sorted(_opened(folder), reverse=True):
        room -= size
        if room < 0 or time.time() - opened > _KEPT_S:
            with suppress(OSError):  # another process was quicker, or the system keeps mapped files
                path.unlink()


def _opened(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file of weights was opened last, its bytes, and its path."""
    for path in folder.glob("*.bin"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            yield stat.st_mtime, stat.st_size, path


def _mapped(path: Path) -> Arrays:
    """The arrays of a file that `_write` wrote. Raises `OSError` or `ValueError` if it is missing or damaged."""
    with path.open("rb") as file:
        content = memoryview(_content(file))
    whole, checksum, end = content[:-12], content[-12:-8], content[-8:]
    if end != _END or checksum != _checksum(whole):
        raise ValueError(f"{path}: not whole, or damaged")
    index = json.loads(bytes(whole[-8 - int.from_bytes(whole[-8:], "little") : -8]))
    return {
        name: np.frombuffer(content, dtype, int(np.prod(shape)), place).reshape(shape)
        for name, (dtype, shape, place) in index.items()
    }


def _content(file: IO[bytes]) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _checksum(content: memoryview) -> bytes:
    """CRC-32 over the sums of the pages: lost, swapped and rotten pages show. For finerank-mini's 43 MB it takes
    1.5 ms, where a CRC of every byte takes 7 and BLAKE2 48."""
    tail = len(content) // _PAGE * _PAGE
    sums = np.add.reduce(np.frombuffer(content[:tail], "<u8").reshape(-1, _PAGE // 8), 1)
    return zlib.crc32(content[tail:], zlib.crc32(sums.tobytes())).to_bytes(4, "little")
