"""A multilingual cross-encoder grafted from two models: lower layers, a linear map, upper layers.

The lower layers are multilingual-e5-small's, which know the languages; the upper ones and the head are
ms-marco-MiniLM-L-12-v2's, which know relevance. Both have a hidden size of 384 and 12 layers. The map is fitted by
least squares to the states of words that both have read.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

HIDDEN, HEADS, INNER = 384, 12, 1536
LAYERS, GRAFTED_AT = 12, 6
WORD = "bert.embeddings.word_embeddings.weight"
PARTS = {  # of a layer: our module, and BERT's name
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
STEP = 8
"""Tokens that the length of a padded pair is a multiple of."""


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, INNER), nn.Linear(INNER, HIDDEN)
        self.attention_norm, self.norm = (nn.LayerNorm(HIDDEN, eps=1e-12) for _ in range(2))


class CrossEncoder(nn.Module):
    """Reads `<s> query </s> passage </s>` with token types 0 and 1. Word embeddings stay as they are."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.word, self.position = nn.Embedding(vocabulary, HIDDEN), nn.Embedding(512, HIDDEN)
        self.segment, self.embedding_norm = nn.Embedding(2, HIDDEN), nn.LayerNorm(HIDDEN, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.map, self.pool, self.head = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)
        self.word.weight.requires_grad = False

    def forward(self, batch: "Batch", dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """Logits, float32 [pairs], computed in `dtype` from float32 weights."""
        x = self.embed(batch).to(dtype)
        for index, layer in enumerate(self.layers[:-1]):
            if index == GRAFTED_AT:
                x = linear(x, self.map)
            x = layer_forward(x, layer, batch)
        x = layer_forward(x, self.layers[-1], batch, first_tokens=True).float()
        return self.head(torch.tanh(self.pool(x))).squeeze(-1)

    def embed(self, batch: "Batch") -> Tensor:
        ids, types, positions = batch.tokens
        return self.embedding_norm(self.word(ids) + self.position(positions) + self.segment(types))


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs laid end to end, those of equal padded length together.

    `tokens`: ids, types and positions, int64 [3, tokens]; `groups`: pairs, tokens of each, and an additive mask
    [pairs * heads, 1, tokens] or None; `order`: which pair is where.
    """

    tokens: Tensor
    groups: list[tuple[int, int, Tensor | None]]
    order: list[int]


Pair = tuple[list[int], list[int]]
"""Token ids and types."""


def batches(pairs: Sequence[Pair], max_tokens: int = 2048) -> Iterator[Batch]:
    """All pairs, the shortest first, in batches of about `max_tokens`."""
    chosen: list[int] = []
    size = 0
    for index in sorted(range(len(pairs)), key=lambda i: len(pairs[i][0])):
        if chosen and size + _padded(pairs[index]) > max_tokens:
            yield _pack(pairs, chosen)
            chosen, size = [], 0
        chosen.append(index)
        size += _padded(pairs[index])
    if chosen:
        yield _pack(pairs, chosen)


def _padded(pair: Pair) -> int:
    return -(-len(pair[0]) // STEP) * STEP


def _pack(pairs: Sequence[Pair], chosen: Sequence[int]) -> Batch:
    lengths = sorted({_padded(pairs[index]) for index in chosen})
    ids, types, positions, groups, order = [], [], [], [], []
    for length in lengths:
        of = [index for index in chosen if _padded(pairs[index]) == length]
        mask = torch.zeros(len(of), 1, 1, length, dtype=torch.bfloat16)
        for row, index in enumerate(of):
            token_ids, token_types = pairs[index]
            rest = length - len(token_ids)
            ids += token_ids + [1] * rest
            types += token_types + [0] * rest
            positions += range(length)
            mask[row, ..., len(token_ids) :] = -30000
        full = not bool(mask.any())
        groups.append((len(of), length, None if full else mask.expand(-1, HEADS, -1, -1).reshape(-1, 1, length)))
        order += of
    return Batch(torch.tensor([ids, types, positions]), groups, order)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, (HIDDEN,), layer.weight.to(x.dtype), layer.bias.to(x.dtype), layer.eps)


def layer_forward(x: Tensor, layer: Layer, batch: Batch, first_tokens: bool = False) -> Tensor:
    """One layer over packed rows [tokens, hidden]; with `first_tokens` its output for each pair's first token."""
    qkv, rows, attended = linear(x, layer.qkv), [], []
    start = 0
    for pairs, length, mask in batch.groups:
        group = qkv[start : start + pairs * length].view(pairs, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k, v = group.reshape(3, pairs * HEADS, length, -1).unbind(0)
        q = q[:, :1] if first_tokens else q
        weights = torch.bmm(q * (1 / math.sqrt(q.shape[-1])), k.transpose(1, 2))
        weights = weights if mask is None else weights + mask.to(weights.dtype)
        found = torch.bmm(torch.softmax(weights, -1), v).view(pairs, HEADS, q.shape[1], -1)
        attended.append(found.transpose(1, 2).reshape(pairs * q.shape[1], HIDDEN))
        rows.append(torch.arange(start, start + pairs * length, length if first_tokens else 1))
        start += pairs * length
    x = x[torch.cat(rows)] if first_tokens else x
    x = _norm(x + linear(torch.cat(attended), layer.out), layer.attention_norm)
    return _norm(x + linear(F.gelu(linear(x, layer.up)), layer.down), layer.norm)


class Texts:
    """Texts to pairs of at most `length` tokens; the query has at most half of them."""

    def __init__(self, tokenizer: Path, length: int = 192) -> None:
        self.tokenizer, self.length = Tokenizer.from_file(str(tokenizer)), length
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def pairs(self, query: str, passages: Sequence[str]) -> list[Pair]:
        asked, *read = (
            encoding.ids for encoding in self.tokenizer.encode_batch_fast([query, *passages], add_special_tokens=False)
        )
        asked = asked[: self.length // 2]
        read = [ids[: self.length - len(asked) - 3] for ids in read]
        return [([0, *asked, 2, *ids, 2], [0] * (len(asked) + 2) + [1] * (len(ids) + 1)) for ids in read]


def graft(lower: Path, upper: Path) -> CrossEncoder:
    """The untrained graft; its map is still to be fitted."""
    e5, minilm = _weights(lower), _weights(upper)
    model = CrossEncoder(len(e5[WORD]))
    _fill_embeddings(model, e5)
    for index, layer in enumerate(model.layers):
        _fill_layer(layer, e5 if index < GRAFTED_AT else minilm, index)
    for module, name in ((model.pool, "bert.pooler.dense"), (model.head, "classifier")):
        module.weight.data, module.bias.data = minilm[f"{name}.weight"], minilm[f"{name}.bias"]
    return model


def save(model: CrossEncoder, path: Path) -> None:
    """The weights under BERT's names, without the word embeddings, which are the first stage's."""
    tensors = {
        "bert.embeddings.position_embeddings.weight": model.position.weight,
        "bert.embeddings.token_type_embeddings.weight": model.segment.weight,
    }
    modules = {
        "bert.embeddings.LayerNorm": model.embedding_norm,
        "bert.encoder.map": model.map,
        "bert.pooler.dense": model.pool,
        "classifier": model.head,
    }
    for index, layer in enumerate(model.layers):
        name = f"bert.encoder.layer.{index}"
        modules |= {f"{name}.{there}": getattr(layer, here) for here, there in PARTS.items()}
        for place, part in enumerate(("query", "key", "value")):
            rows = slice(place * HIDDEN, (place + 1) * HIDDEN)
            tensors[f"{name}.attention.self.{part}.weight"] = layer.qkv.weight[rows]
            tensors[f"{name}.attention.self.{part}.bias"] = layer.qkv.bias[rows]
    tensors |= {
        f"{name}.{part}": getattr(module, part) for name, module in modules.items() for part in ("weight", "bias")
    }
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})


@torch.no_grad()
def fit_map(model: CrossEncoder, tokenizer: Path, upper: Path, texts: Sequence[tuple[str, str]]) -> float:
    """Fit the map to English (query, passage) texts by the first token of each word; returns R2."""
    weights = _weights(upper)
    other = CrossEncoder(len(weights[WORD]))
    _fill_embeddings(other, weights)
    for index, layer in enumerate(other.layers):
        _fill_layer(layer, weights, index)
    ours, theirs = Tokenizer.from_file(str(tokenizer)), Tokenizer.from_file(str(upper / "tokenizer.json"))
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for query, passage in texts:
        words = query.split(), passage.split()[:60]
        states, places = [], []
        for vocabulary, module, cls, sep in ((ours, model, 0, 2), (theirs, other, 101, 102)):
            vocabulary.no_truncation()
            vocabulary.no_padding()
            q, p = (vocabulary.encode(text, is_pretokenized=True, add_special_tokens=False) for text in words)
            place = {"cls": 0, "middle": len(q.ids) + 1, "end": len(q.ids) + len(p.ids) + 2}
            for kind, encoding, first in (("q", q, 1), ("p", p, len(q.ids) + 2)):
                for position, word in enumerate(encoding.word_ids):
                    place.setdefault((kind, word), position + first)
            ids = [cls, *q.ids, sep, *p.ids, sep]
            types = [0] * (len(q.ids) + 2) + [1] * (len(p.ids) + 1)
            tokens = torch.tensor([ids, types, list(range(len(ids)))])
            batch = Batch(tokens, [(1, len(ids), None)], [0])
            x = module.embed(batch)
            for layer in module.layers[:GRAFTED_AT]:
                x = layer_forward(x, layer, batch)
            states.append(x)
            places.append(place)
        shared = [key for key in places[0] if key in places[1]]
        for kept, x, place in zip(found, states, places, strict=True):
            kept.append(x[[place[key] for key in shared]])
    x, y = (torch.cat(states) for states in found)
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    solution = torch.linalg.lstsq(x, y).solution
    model.map.weight.data, model.map.bias.data = solution[:-1].T.contiguous(), solution[-1].clone()
    return float(1 - ((x @ solution - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum())


def english(rows: Sequence[dict], count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Texts for `fit_map` out of lists."""
    rng = random.Random(seed)
    return [(row["query"], rng.choice(row["passages"])) for row in rows if row["language"] == "en"][:count]


def _weights(folder: Path) -> dict[str, Tensor]:
    """Float32 weights under BERT's names, with the prefix `bert.`."""
    loaded = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    return {
        name if name.startswith(("bert.", "classifier.")) else f"bert.{name}": tensor for name, tensor in loaded.items()
    }


def _fill_embeddings(model: CrossEncoder, weights: dict[str, Tensor]) -> None:
    for module, name in ((model.word, "word"), (model.position, "position"), (model.segment, "token_type")):
        module.weight.data = weights[f"bert.embeddings.{name}_embeddings.weight"][: len(module.weight)].clone()
    for part in ("weight", "bias"):
        getattr(model.embedding_norm, part).data = weights[f"bert.embeddings.LayerNorm.{part}"].clone()


def _fill_layer(layer: Layer, weights: dict[str, Tensor], index: int) -> None:
    name = f"bert.encoder.layer.{index}"
    for part in ("weight", "bias"):
        attention = [weights[f"{name}.attention.self.{kind}.{part}"] for kind in ("query", "key", "value")]
        getattr(layer.qkv, part).data = torch.cat(attention)
        for here, there in PARTS.items():
            getattr(getattr(layer, here), part).data = weights[f"{name}.{there}.{part}"].clone()
