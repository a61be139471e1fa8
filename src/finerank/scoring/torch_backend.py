"""BERT, RoBERTa, XLM-RoBERTa and CamemBERT rerankers on torch: our own forward pass over packed pairs.

Pairs lie end to end without padding, so that every row of every matrix product is a real token. Attention runs per
pair: on a GPU in half precision with torch's variable-length kernel, elsewhere once per run of equal lengths. A
cross-encoder's last layer computes only what the score reads, the first token. For late interaction texts are packed
and not pairs, each once. Needs the extra `torch`; never imports transformers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from traceback import clear_frames
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel, MissingExtra, OutOfMemory, UnsupportedModel
from finerank.scoring.batch import Batch
from finerank.scoring.device import Device
from finerank.scoring.exits import Exit
from finerank.scoring.families import ACTIVATIONS, FAMILIES, MAP_AFTER, checked_config, is_late
from finerank.scoring.forks import ForkCheck
from finerank.scoring.int8 import BLOCK, SCALE, ZERO
from finerank.scoring.model_files import ModelFiles

try:
    import torch
    from safetensors import SafetensorError, safe_open
    from torch import Tensor
    from torch.nn import functional as F  # noqa: N812 - torch's own convention
except ImportError as error:
    raise MissingExtra("the torch backend", "torch") from error

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None  # type: ignore[assignment]

_forks = ForkCheck("torch")

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """A reranker read from safetensors."""

    padded = False

    def __init__(self, files: ModelFiles, device: Device, threads: int | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device(device.name)
        check_not_forked(self._device)
        self._late = is_late(files.config)
        with out_of_memory_reported():
            self._model = Encoder.load(files, self._device, DTYPES[device.precision])

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        check_not_forked(self._device)
        with out_of_memory_reported(), torch.inference_mode():
            if self._late:
                texts, pairs = batch.texts()
                logits = self._model.compare(*self._placed(texts), pairs)
            else:
                logits = self._model.score(*self._placed(batch))
            return logits.float().cpu().numpy()

    def _placed(self, batch: Batch) -> "tuple[Tensor, Layout]":
        tokens = torch.from_numpy(np.stack([batch.token_ids, batch.type_ids, batch.positions])).to(self._device)
        return tokens, Layout.of(batch, self._device)

    def shortened(self, early: Exit) -> Self:
        """The model up to its early exit; the weights are shared."""
        short = copy(self)
        short._model = self._model.shortened(early)
        return short

    def close(self) -> None:
        del self._model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def check_not_forked(device: "torch.device | None" = None) -> None:
    """Raises `LostThreads` in a child that was forked after torch was used; to be called before each use."""
    _forks.use(threaded=torch.get_num_threads() > 1 or (device is not None and device.type != "cpu"))


_OUT_OF_MEMORY = ("ALLOC_FAILED", "out of memory", "can't allocate memory", "not enough memory")
"""What a GPU's libraries say, Linux, and Windows."""


@contextmanager
def out_of_memory_reported() -> Iterator[None]:
    """Turns torch's several ways of saying "out of memory" into `OutOfMemory`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error) or type(error).__name__
        if not (
            isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text for words in _OUT_OF_MEMORY)
        ):
            raise
        clear_frames(error.__traceback__)  # they hold the activations
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(text.partition("\n")[0]) from error


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the pairs of a packed batch lie: `lengths` on the host, `starts` int32 [pairs + 1] on the device."""

    lengths: list[int]
    starts: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Self:
        return cls(batch.lengths.tolist(), torch.from_numpy(batch.starts).to(device))

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(first pair, pairs, tokens of each) for neighbours of equal length."""
        first = 0
        for length, group in groupby(self.lengths):
            pairs = len(list(group))
            yield first, pairs, length
            first += pairs


@cache
def has_varlen(device: torch.device) -> bool:
    """Whether torch's variable-length attention runs there, by trying it. Its kernels need an NVIDIA GPU of compute
    capability 8.0 (Ampere, 2020) or newer and a torch built with them; a T4 or a V100 takes the other path."""
    if varlen_attn is None or device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    rows = torch.zeros(2, 1, 32, device=device, dtype=torch.float16)
    starts = torch.tensor([0, 2], device=device, dtype=torch.int32)
    try:
        varlen_attn(rows, rows, rows, starts, starts, 2, 2)
    except RuntimeError:
        return False
    return True


def attend(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Softmax attention inside each pair, over packed rows.

    `key` and `value` are [tokens, heads, head size]; `query` too, or [pairs, heads, head size] for one row a pair.
    Returns the shape of `query`.
    """
    one_row = len(query) == len(layout.lengths) < len(key)
    if query.dtype != torch.float32 and query.shape[-1] % 8 == 0 and has_varlen(query.device):
        longest = max(layout.lengths)
        starts = torch.arange(len(query) + 1, device=query.device, dtype=torch.int32) if one_row else layout.starts
        attended = varlen_attn(query, key, value, starts, layout.starts, 1 if one_row else longest, longest)
        return attended if isinstance(attended, Tensor) else attended[0]
    attended = torch.empty_like(query)
    row = token = 0
    for _, pairs, length in layout.runs():
        rows, tokens = pairs if one_row else pairs * length, pairs * length
        q, k, v = (
            tensor.unflatten(0, (pairs, -1)).transpose(1, 2)
            for tensor in (
                query[row : row + rows],
                key[token : token + tokens],
                value[token : token + tokens],
            )
        )
        attended[row : row + rows] = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)
        row, token = row + rows, token + tokens
    return attended


class Weights:
    """Reads named tensors from safetensors shards onto a device, in a precision; 8-bit ones are widened."""

    def __init__(self, paths: tuple[Path, ...], device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._folder = paths[0].parent
        self._files: dict[str, Any] = {}
        for path in paths:
            try:
                file = safe_open(str(path), framework="pt")
            except (SafetensorError, OSError) as error:
                raise BrokenModel(f"{path}: truncated or damaged: {error}. Download it again.") from error
            self._files.update(dict.fromkeys(file.keys(), file))

    def __call__(self, *names: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, or several laid one under the other."""
        missing = [name for name in names if name not in self._files]
        if missing:
            raise BrokenModel(
                f"{self._folder}: has no weights named {missing[0]}. Is it a classifier that was saved whole? "
                "An encoder without its head cannot rank."
            )
        parts = [self._read(name) for name in names]
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).to(self._device, dtype or self._dtype)

    def names(self) -> list[str]:
        """The weights there are."""
        return [name for name in self._files if not name.endswith(SCALE)]

    def _read(self, name: str) -> Tensor:
        tensor: Tensor = self._files[name].get_tensor(name)
        if name + SCALE not in self._files:
            return tensor
        scale: Tensor = self._files[name + SCALE].get_tensor(name + SCALE)
        blocks: Tensor = (tensor.unflatten(1, (-1, BLOCK)).float() - ZERO) * scale[..., None]
        return blocks.flatten(1)


@dataclass(frozen=True, slots=True)
class Linear:
    weight: Tensor
    bias: Tensor

    @classmethod
    def load(cls, weights: Weights, *names: str, dtype: torch.dtype | None = None) -> Self:
        return cls(
            weights(*(f"{name}.weight" for name in names), dtype=dtype),
            weights(*(f"{name}.bias" for name in names), dtype=dtype),
        )

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def load(cls, weights: Weights, name: str, eps: float) -> Self:
        return cls(weights(f"{name}.weight"), weights(f"{name}.bias"), eps)

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer, LayerNorm after each residual, over packed rows [tokens, hidden]."""

    qkv: Linear
    attention_out: Linear
    attention_norm: LayerNorm
    up: Linear
    down: Linear
    norm: LayerNorm
    heads: int
    gelu: str

    @classmethod
    def load(cls, weights: Weights, name: str, config: dict[str, Any]) -> Self:
        eps = float(config["layer_norm_eps"])
        return cls(
            qkv=Linear.load(weights, *(f"{name}.attention.self.{part}" for part in ("query", "key", "value"))),
            attention_out=Linear.load(weights, f"{name}.attention.output.dense"),
            attention_norm=LayerNorm.load(weights, f"{name}.attention.output.LayerNorm", eps),
            up=Linear.load(weights, f"{name}.intermediate.dense"),
            down=Linear.load(weights, f"{name}.output.dense"),
            norm=LayerNorm.load(weights, f"{name}.output.LayerNorm", eps),
            heads=int(config["num_attention_heads"]),
            gelu=ACTIVATIONS[config["hidden_act"]],
        )

    def __call__(self, x: Tensor, layout: Layout) -> Tensor:
        q, k, v = self.qkv(x).unflatten(1, (3, self.heads, -1)).unbind(1)
        return self._after_attention(x, attend(q, k, v, layout))

    def first_tokens(self, x: Tensor, layout: Layout) -> Tensor:
        """The layer's output for the first token of each pair only: [pairs, hidden]."""
        hidden = x.shape[1]
        k, v = F.linear(x, self.qkv.weight[hidden:], self.qkv.bias[hidden:]).unflatten(1, (2, self.heads, -1)).unbind(1)
        x = x[layout.starts[:-1]]
        q = F.linear(x, self.qkv.weight[:hidden], self.qkv.bias[:hidden]).unflatten(1, (self.heads, -1))
        return self._after_attention(x, attend(q, k, v, layout))

    def _after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.attention_norm(self.attention_out(attended.flatten(1)).add_(x))
        return self.norm(self.down(F.gelu(self.up(x), approximate=self.gelu)).add_(x))


@dataclass(frozen=True, slots=True)
class Encoder:
    """Packed tokens to logits. The head runs in float32: half precision would round logits into ties."""

    config: dict[str, Any]
    words: Tensor
    types: Tensor
    positions: Tensor
    norm: LayerNorm
    layers: list[Layer]
    dense: Linear
    out: Linear
    map: Linear | None = None

    @classmethod
    def load(cls, files: ModelFiles, device: torch.device, dtype: torch.dtype) -> Self:
        config = checked_config(files.name, files.config)
        family = FAMILIES[config["model_type"]]
        weights = Weights(files.weights, device, dtype)
        encoder, embeddings = f"{family.prefix}encoder", f"{family.prefix}embeddings"
        out = Linear.load(weights, family.out, dtype=torch.float32)
        if len(out.weight) != 1:
            raise UnsupportedModel(f"{files.name}: has {len(out.weight)} labels; a reranker has one.")
        words = weights(f"{embeddings}.word_embeddings.weight")
        positions = weights(f"{embeddings}.position_embeddings.weight")[files.first_position :]
        _check_sizes(files, words, positions)
        return cls(
            config=config,
            words=words,
            types=weights(f"{embeddings}.token_type_embeddings.weight"),
            positions=positions,
            norm=LayerNorm.load(weights, f"{embeddings}.LayerNorm", float(config["layer_norm_eps"])),
            layers=[
                Layer.load(weights, f"{encoder}.layer.{index}", config) for index in range(config["num_hidden_layers"])
            ],
            dense=Linear.load(weights, family.dense, dtype=torch.float32),
            out=out,
            map=Linear.load(weights, f"{encoder}.map") if config.get(MAP_AFTER) else None,
        )

    def shortened(self, early: Exit) -> Self:
        """The first layers, with those and the head of the exit."""
        weights = Weights((early.path,), self.words.device, self.words.dtype)
        own = [Layer.load(weights, f"layer.{index}", self.config) for index in range(early.own)]
        dense, out = (Linear.load(weights, name, dtype=torch.float32) for name in ("dense", "out"))
        return replace(self, layers=[*self.layers[: early.shared], *own], dense=dense, out=out)

    def score(self, tokens: Tensor, layout: Layout) -> Tensor:
        """A cross-encoder's logits, float32 [pairs], of `tokens`: ids, types and positions, int32 [3, tokens]."""
        x = self._embedded(tokens)
        for index, layer in enumerate(self.layers[:-1]):
            if self.map and index == self.config[MAP_AFTER]:
                x = self.map(x)
            x = layer(x, layout)
        first = self.layers[-1].first_tokens(x, layout)
        return self.out(torch.tanh(self.dense(first.float()))).squeeze(1)

    def compare(self, tokens: Tensor, layout: Layout, pairs: NDArray[np.int32]) -> Tensor:
        """Late interaction's logits, float32 [pairs], of texts and which two of them make a pair."""
        x = self._embedded(tokens)
        for layer in self.layers:
            x = layer(x, layout)
        x = x.float()
        vectors, weights = self.dense(x).split(layout.lengths), (x @ self.out.weight[0]).split(layout.lengths)
        logits = self.out.bias.expand(len(pairs)).clone()
        for query in np.unique(pairs[:, 0]):
            of_query = np.flatnonzero(pairs[:, 0] == query)
            passages = [vectors[passage] for passage in pairs[of_query, 1]]
            products = (torch.cat(passages) @ vectors[query].T).split([len(passage) for passage in passages])
            best = torch.stack([of_passage.amax(0) for of_passage in products])
            logits[torch.from_numpy(of_query)] += best @ torch.softmax(weights[query], 0)
        return logits

    def _embedded(self, tokens: Tensor) -> Tensor:
        ids, types, positions = tokens
        x = F.embedding(ids, self.words) + F.embedding(types, self.types) + F.embedding(positions, self.positions)
        return self.norm(x)


def _check_sizes(files: ModelFiles, words: Tensor, positions: Tensor) -> None:
    """Raise `BrokenModel` where an embedding is smaller than config.json says: on a GPU a look-up beyond its end would
    take the whole process's CUDA context down."""
    vocabulary = int(files.config.get("vocab_size", 0))
    if len(words) < vocabulary or len(positions) < files.usable_length:
        raise BrokenModel(
            f"{files.name}: weights for {len(words)} token ids and {len(positions)} positions, and config.json says "
            f"{vocabulary} and {files.usable_length}. They belong to different models; download both again."
        )
