"""An early exit for a late-interaction model: its first layers, one of its own, and a head, taught to follow the model.

    python recipes/finerank-mini/exit.py MODEL LISTS

MODEL is what late.py made, LISTS what examples.py made; which passage answers is not asked. The layer begins as a copy
of the model's next one and the head as the model's. They learn the order that each query of a step gives to each list's
passages and to all together (Kullback-Leibler divergence), and what the model compares tokens by (squared error, as a
part of the variance). Layers compute in bfloat16; the model's states of 9,190 lists take 6 GB of memory.
"""

import argparse
import copy
import time
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from late import LAST, LISTS_PER_STEP, Head, Texts, grouped, states_of
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BertModel

from finerank.training.examples import read_examples

SHARED = 3
RATE, WARM_UP, GRADIENT_NORM = 1e-3, 50, 1.0
EPOCHS = 3
LOGGED = 100


class Exit:
    """The layer and the head."""

    def __init__(self, folder: Path, follows: Head) -> None:
        encoder = BertModel.from_pretrained(folder, add_pooling_layer=False).encoder
        self.layer = copy.deepcopy(encoder.layer[SHARED])
        self.head = Head(*(tensor.clone().requires_grad_() for tensor in astuple(follows)))

    def parameters(self) -> list[Tensor]:
        return [*self.layer.parameters(), *vars(self.head).values()]

    def read(self, states: list[Tensor]) -> list[Tensor]:
        """The states [tokens, hidden] of texts that the layer makes of those of the layers before it."""
        found = [torch.empty(0)] * len(states)
        for group in grouped([len(of) for of in states]):
            rows = pad_sequence([states[place] for place in group], batch_first=True)
            lengths = torch.tensor([len(states[place]) for place in group])
            there = torch.arange(rows.shape[1]) < lengths[:, None]
            mask = torch.where(there, 0.0, torch.finfo(rows.dtype).min).to(rows.dtype)[:, None, None]
            with torch.autocast("cpu", torch.bfloat16):
                made = self.layer(rows, mask)
            for row, place in enumerate(group):
                found[place] = made[row, : len(states[place])].float()
        return found

    def save(self, path: Path) -> None:
        layer = {f"layer.0.{name}": tensor.detach().half() for name, tensor in self.layer.state_dict().items()}
        save_file({**layer, **self.head.tensors(), "layers": torch.tensor([float(SHARED)])}, path)


def loss(exit_: Exit, follows: Head, before: Texts, last: Texts, lists: list[int]) -> tuple[Tensor, Tensor]:
    """How far the exit's order is from the last head's, and what it compares tokens by from what that does."""
    queries, passages, own = before.take(lists)
    read = exit_.read(queries + passages)
    given = exit_.head.scores(read[: len(lists)], read[len(lists) :])
    queries, passages, _ = last.take(lists)
    with torch.no_grad():
        wanted = follows.scores(queries, passages)
        target = follows.vectors(torch.cat(queries + passages).float())
    spans = [(0, len(passages)), *own]
    order = torch.stack([divergence(given[:, a:b], wanted[:, a:b]) for a, b in spans]).sum() / len(lists)
    error = (exit_.head.vectors(torch.cat(read)) - target).square().sum(1).mean() / target.var(0).sum()
    return order, error


def divergence(scores: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler's over each row, added up."""
    given, target = torch.log_softmax(scores, -1), torch.log_softmax(wanted, -1)
    return torch.nn.functional.kl_div(given, target, log_target=True, reduction="sum")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "lists"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    weights = load_file(options.model / "model.safetensors")
    dense, dense_bias = (weights[f"bert.pooler.dense.{kind}"] for kind in ("weight", "bias"))
    follows = Head(dense, dense_bias, weights["classifier.weight"][0], weights["classifier.bias"])
    exit_ = Exit(options.model, follows)
    lists = list(read_examples(options.lists))
    texts = [text for of in lists for text in (of.query, *of.passages)]
    before, last = (Texts(lists, states) for states in states_of(options.model, texts, [SHARED, LAST]))
    steps = EPOCHS * (len(lists) // LISTS_PER_STEP)
    optimizer = torch.optim.AdamW(exit_.parameters(), lr=RATE, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM_UP) * (1 - step / steps)
    )
    rng, began, figures = np.random.default_rng(0), time.monotonic(), []
    for _ in range(EPOCHS):
        order = rng.permutation(len(lists)).tolist()
        for first, end in pairwise(range(0, len(order) + 1, LISTS_PER_STEP)):
            parts = loss(exit_, follows, before, last, order[first:end])
            optimizer.zero_grad()
            sum(parts).backward()
            torch.nn.utils.clip_grad_norm_(exit_.parameters(), GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            figures.append([part.item() for part in parts])
            if len(figures) % LOGGED == 0:
                lately, spent = np.mean(figures[-LOGGED:], 0), (time.monotonic() - began) / len(figures)
                print(f"{len(figures)} of {steps}: order {lately[0]:.3f}, vectors {lately[1]:.3f}, {spent:.2f} s each")
    exit_.save(options.model / "exit.safetensors")


if __name__ == "__main__":
    main()
