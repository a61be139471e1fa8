"""Trains finerank-mini's second stage: a cross-encoder that corrects the first one.

    python recipes/finerank-mini/cross.py ENCODER MINILM RUN

RUN holds what `teach.py` made: taught.jsonl, judged.jsonl and written.jsonl, of which every step takes some. A list's
loss has three parts: the cross-encoder alone follows the teachers (Kullback-Leibler divergence) and the answer
(cross-entropy), and so does its sum with the first stage, which is what will rank. Weights are averaged over the last
steps. State goes to RUN/state.pt every ten minutes; run again, the training goes on exactly there. With `--cooldown
STEPS` the learning rate falls to 0 and it ends.
"""

import argparse
import random
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from graft import CrossEncoder, Texts, batches, english, fit_map, graft, save
from torch import Tensor

from finerank.io.jsonl import read_objects

LISTS, JUDGED, WRITTEN = 16, 3, 1
"""Lists of a step, and how many of them are judged and written ones."""

RATE, DECAY, WARMUP = 8e-5, 0.01, 20
AVERAGED = 0.995
LABEL = 1.5
"""What the answer gains over the first stage's logit in a target."""

SUM = 0.6
"""The weight of the cross-encoder in the sum that is trained."""

EASY, KEPT_EASY = 1.5, 40
"""Of lists that the first stage already orders by this margin, so many in 100 are kept."""

SAVE_S, LOG_STEPS = 600, 20

Row = dict[str, Any]


def taught_lists(run: Path) -> list[Row]:
    rows = _read(run / "taught.jsonl")
    return [row for row in rows if is_hard(row) or zlib.crc32(row["query"].encode()) % 100 < KEPT_EASY]


def is_hard(row: Row) -> bool:
    return float(row["late"][0] - max(row["late"][1:])) <= EASY


def graded_lists(path: Path) -> list[Row]:
    """Judged or written lists that tell passages apart."""
    return [row for row in _read(path) if max(row["grades"]) >= 2 and len(set(row["grades"])) > 1]


def _read(path: Path) -> list[Row]:
    return [dict(value) for _, value in read_objects(path)] if path.exists() else []


def list_loss(row: Row, logits: Tensor) -> Tensor:
    """The loss of one list from its logits [passages]."""
    late = torch.tensor(row["late"])
    together = late + SUM * logits
    if "grades" in row:
        gain = 2 ** torch.tensor(row["grades"], dtype=torch.float) - 1
        return _cross_entropy(logits, gain) + 0.7 * _cross_entropy(together, gain)
    label = torch.tensor(row["labels"])
    target = late + LABEL * label
    if "minilm" in row:
        target = 0.4 * target + 0.6 * torch.tensor(row["minilm"]) / 1.5
    followed = F.kl_div(F.log_softmax(logits, 0), F.softmax(target, 0), reduction="sum")
    return followed + 0.3 * _cross_entropy(logits, label) + 0.7 * _cross_entropy(together, label)


def _cross_entropy(logits: Tensor, gain: Tensor) -> Tensor:
    return -(gain / gain.sum() * F.log_softmax(logits, 0)).sum()


class Run:
    """The training's state: all that decides how it goes on."""

    def __init__(self, model: CrossEncoder, folder: Path, rate: float) -> None:
        self.model, self.folder = model, folder
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.average = {name: weight.detach().clone() for name, weight in self.trained.items()}
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=rate, weight_decay=DECAY, fused=True)
        self.step = self.pairs = 0

    def update(self, loss: Tensor, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        share = 1 - min(AVERAGED, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.trained.values()), share)

    def save(self) -> None:
        """The state, and the averaged weights as second.safetensors; each whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight for name, weight in self.model.state_dict().items() if name != "word.weight"}
        state = {"model": weights, "average": self.average, "optimizer": self.optimizer.state_dict()}
        torch.save({**state, "step": self.step, "pairs": self.pairs}, self.folder / "state.part")
        (self.folder / "state.part").replace(self.folder / "state.pt")
        kept = {name: weight.detach().clone() for name, weight in self.trained.items()}
        self._put(self.average)
        save(self.model, self.folder / "second.part")
        (self.folder / "second.part").replace(self.folder / "second.safetensors")
        self._put(kept)

    def resume(self) -> bool:
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"], strict=False)
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.pairs = state["step"], state["pairs"]
        return True

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, weight in weights.items():
            self.trained[name].copy_(weight)


def draw(step: int, taught: Sequence[Row], judged: Sequence[Row], written: Sequence[Row]) -> list[Row]:
    """The lists of a step; the same again after a resume."""
    rng = random.Random(step)
    other = [*(rng.choice(judged) for _ in range(JUDGED if judged else 0))]
    other += [rng.choice(written) for _ in range(WRITTEN if written else 0)]
    count = LISTS - len(other)
    return [taught[(step * count + place) % len(taught)] for place in range(count)] + other


def scored(model: CrossEncoder, texts: Texts, rows: Sequence[Row]) -> list[Tensor]:
    """The logits of every list's passages."""
    pairs = [pair for row in rows for pair in texts.pairs(row["query"], row["passages"])]
    parts = [(batch.order, model(batch)) for batch in batches(pairs)]
    places = torch.tensor([index for order, _ in parts for index in order])
    logits = torch.zeros(len(pairs)).index_copy(0, places, torch.cat([values for _, values in parts]))
    return list(logits.split([len(row["passages"]) for row in rows]))


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    taught = taught_lists(options.run)
    judged, written = (graded_lists(options.run / f"{name}.jsonl") for name in ("judged", "written"))
    print(f"{len(taught)} taught lists, {len(judged)} judged, {len(written)} written")
    texts = Texts(options.encoder / "tokenizer.json")
    run = Run(graft(options.encoder, options.minilm), options.run, RATE)
    if not run.resume():
        fit = fit_map(run.model, options.encoder / "tokenizer.json", options.minilm, english(taught, 500))
        print(f"the map explains {fit:.2f} of the variance")
    first, saved, losses = run.step, time.monotonic(), []
    while not options.cooldown or run.step < first + options.cooldown:
        if options.max_steps and run.step >= options.max_steps:
            break
        rows = draw(run.step, taught, judged, written)
        logits = scored(run.model, texts, rows)
        loss = torch.stack([list_loss(row, values) for row, values in zip(rows, logits, strict=True)]).mean()
        rate = RATE * min(1, (run.step + 1) / WARMUP)
        if options.cooldown:
            rate *= 1 - (run.step - first) / options.cooldown
        run.update(loss, rate)
        run.pairs += sum(len(values) for values in logits)
        losses.append(float(loss.detach()))
        if run.step % LOG_STEPS == 0:
            print(f"step {run.step}, {run.pairs} pairs: loss {sum(losses) / len(losses):.3f}", flush=True)
            losses.clear()
        if time.monotonic() - saved > SAVE_S:
            run.save()
            saved = time.monotonic()
    run.save()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("encoder", "minilm", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--cooldown", type=int, default=0)
    parser.add_argument("--max-steps", type=int, default=0)
    main(parser.parse_args())
