"""The training loop: transformers' Trainer over lists of passages, with a guard against collapse.

Adds what the Trainer lacks for rankers: lists padded in groups by length, losses over a whole list, the dev set's nDCG,
and stopping with an explanation when a model stops telling passages apart.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from finerank.errors import MissingExtra, TrainingCollapsed
from finerank.evaluation.measures import measure
from finerank.scoring.families import FAMILIES
from finerank.training.examples import Example
from finerank.training.lists import ListCollator, shuffle_passages

try:
    import torch
    from torch import Tensor
    from transformers import (
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

    from finerank.training.early_exit import ExitHead
    from finerank.training.losses import Loss
except ImportError as error:
    raise MissingExtra("training", "train") from error

Collator = Callable[[Sequence[Example]], dict[str, Any]]

DEV_MEASURES = ("nDCG@10", "RR@10")
DEV_LISTS_AT_ONCE = 32

EXIT_WEIGHT = 0.3
"""Of an early exit's loss: its gradient reaches the layers that it shares with the model."""


class ListScorer(torch.nn.Module):
    """A reranker and a loss as one module, so that several GPUs synchronise once a step.

    `teach` and `teach_weight` add a distillation loss over the lists that have a teacher; the weight is its part of
    the whole. An `early_exit` learns the same, beside the model's own head. `figures` holds what the log shows of the
    last batch.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        teach: Loss | None = None,
        teach_weight: float = 0.5,
        early_exit: ExitHead | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.early_exit = early_exit
        self.figures: dict[str, Tensor] = {}
        self._teach = teach
        self._teach_weight = teach_weight

    def forward(self, groups: Sequence[dict[str, Tensor]], **lists: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the logits as float32 [lists, passages], 0 where there is no passage."""
        if self.early_exit is None:
            return self.judge([self.model(**group).logits for group in self._looked_up(groups)], **lists)
        outputs = [self.model(**group, output_hidden_states=True) for group in self._looked_up(groups)]
        states = [output.hidden_states[self.early_exit.layers] for output in outputs]
        exit_loss, _ = self.judge([*map(self.early_exit, states, groups)], **lists)
        loss, scores = self.judge([output.logits for output in outputs], **lists)
        self.figures["exit_loss"] = exit_loss.detach()
        return loss + EXIT_WEIGHT * exit_loss, scores

    def _looked_up(self, groups: Sequence[dict[str, Tensor]]) -> Sequence[dict[str, Tensor]]:
        """The groups with their words' vectors, from one lookup: its gradient is as large as the vocabulary."""
        kind = getattr(getattr(self.model, "config", None), "model_type", "")
        if kind not in FAMILIES:  # a decoder finds the end of a pair by its ids
            return groups
        ids = [group["input_ids"] for group in groups]
        embeddings: Any = self.model.get_input_embeddings  # untyped in transformers
        vectors = embeddings()(torch.cat([of.flatten() for of in ids]))
        parts = vectors.split([of.numel() for of in ids])
        return [
            {name: tensor for name, tensor in group.items() if name != "input_ids"}
            | {"inputs_embeds": part.view(*of.shape, -1)}
            for group, of, part in zip(groups, ids, parts, strict=True)
        ]

    def judge(
        self,
        logits: Sequence[Tensor],
        *,
        places: Tensor,
        given: Tensor,
        grades: Tensor,
        teacher: Tensor,
        taught: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """What `forward` returns, from the logits of each group, [pairs, 1]."""
        flat = torch.cat(list(logits)).squeeze(1).float()
        scores = flat.new_zeros(given.numel()).index_copy(0, places, flat).view(given.shape)
        self.figures = {"spread": spread(scores.detach(), given)}
        loss = self.loss(scores, grades, given)
        if self._teach and taught.any():
            share = self._teach_weight * taught.float().mean()
            loss = (1 - share) * loss + share * self._teach(scores[taught], teacher[taught], given[taught])
        return loss, scores


class ListTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """Trains a `ListScorer`, or a module that has its `model`, `figures` and inputs; ranks `dev` at every evaluation.

    `collator` makes the batches of both, unless training has a `train_collator` of its own.
    """

    control: TrainerControl

    def __init__(
        self,
        scorer: torch.nn.Module,
        args: TrainingArguments,
        collator: ListCollator,
        train_set: torch.utils.data.Dataset[Example] | Sequence[Example] | None,
        dev: Sequence[Example],
        callbacks: Sequence[TrainerCallback] = (),
        train_collator: Collator | None = None,
        embeddings_rate: float = 1.0,
    ) -> None:
        super().__init__(
            model=scorer,
            args=args,
            data_collator=train_collator or collator,
            train_dataset=train_set,
            eval_dataset=[*dev] or None,
            callbacks=[_TellEpoch(), *callbacks],
        )
        self.pop_callback(PrinterCallback)  # prints dicts on standard output, which is the caller's
        self._collator = collator
        self._embeddings_rate = embeddings_rate
        self._dev = [shuffle_passages(example, np.random.default_rng(index)) for index, example in enumerate(dev)]
        self._figures: defaultdict[str, list[Tensor]] = defaultdict(list)

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: object
    ) -> Any:  # noqa: ANN401 - the Trainer's own signature
        loss, scores = model(**inputs)
        for name, value in self.model.figures.items():
            self._figures[name].append(value)
        return (loss, scores) if return_outputs else loss

    def create_optimizer(self, *args: Any) -> torch.optim.Optimizer:  # noqa: ANN401 - the Trainer's own signature
        """With word embeddings in a group of their own: a word is seen in few steps, and may need larger ones."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args)
        words = self.model.model.get_input_embeddings().weight
        for group in optimizer.param_groups:
            if any(parameter is words for parameter in group["params"]) and self._embeddings_rate != 1:
                group["params"] = [parameter for parameter in group["params"] if parameter is not words]
                rate = group["lr"] * self._embeddings_rate
                optimizer.add_param_group({**group, "params": [words], "lr": rate})
                break
        return optimizer

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Adds the scorer's figures, averaged, to what is logged of the training loss."""
        if "loss" in logs:
            logs |= {name: round(float(torch.stack(values).mean()), 4) for name, values in self._figures.items()}
            self._figures.clear()
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: object, metric_key_prefix: str = "eval", **__: object) -> dict[str, float]:
        """nDCG@10 and RR@10 of the dev lists; passages that score alike keep a random order."""
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.rank_dev().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def rank_dev(self) -> dict[str, float]:
        """The mean of every dev measure."""
        grades = {
            str(number): {str(place): math.ceil(label) for place, label in enumerate(example.labels)}
            for number, example in enumerate(self._dev)
        }
        logits = self.score_lists(self._dev)
        rankings = {
            str(number): [str(place) for place in np.argsort(-row, kind="stable")] for number, row in enumerate(logits)
        }
        values = measure(grades, rankings, DEV_MEASURES)
        return {name: float(np.mean([value[name] for value in values.values()])) for name in DEV_MEASURES}

    def score_lists(self, examples: Sequence[Example]) -> list[Any]:
        """The logits of every example's passages."""
        self.model.eval()
        rows: list[Any] = []
        for first in range(0, len(examples), DEV_LISTS_AT_ONCE):
            some = examples[first : first + DEV_LISTS_AT_ONCE]
            with torch.no_grad(), self.compute_loss_context_manager():
                _, scores = self.model(**self._prepare_inputs(self._collator(some)))
            rows += [row[: len(example.passages)].cpu().numpy() for row, example in zip(scores, some, strict=True)]
        self.model.train()
        return rows


def spread(scores: Tensor, given: Tensor) -> Tensor:
    """The standard deviation of logits within a list, averaged over lists of two passages and more."""
    counts = given.sum(1)
    means = (scores * given).sum(1) / counts.clamp_min(1)
    squares = ((scores - means[:, None]) ** 2 * given).sum(1) / counts.clamp_min(1)
    lists = counts > 1
    return squares[lists].sqrt().mean() if lists.any() else scores.new_zeros(())


class _TellEpoch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Tells the data which epoch it is: accelerate's loader does not in an epoch that a resumed run enters midway, nor
    with several processes (`DataLoaderShard.set_epoch` tells the sampler inside a batch sampler, or else the data)."""

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,  # noqa: ANN401 - accelerate is untyped
        **_: object,
    ) -> None:
        train_dataloader.dataset.set_epoch(int(state.epoch or 0))


class CollapseGuard(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Stops a run that no longer learns to rank, with `TrainingCollapsed` saying what was seen and what to change.

    Three things are watched: a loss that is NaN or infinite; logits that became alike (`flat_logs` records in a row
    with a spread under 2% of the largest seen, or under 1e-4); a dev nDCG@10 more than `drop` under its best in
    `bad_evaluations` evaluations in a row.
    """

    def __init__(self, drop: float = 0.05, bad_evaluations: int = 3, flat_logs: int = 5) -> None:
        self._drop, self._bad_evaluations, self._flat_logs = drop, bad_evaluations, flat_logs
        self._widest = 0.0
        self._flat = self._bad = 0
        self._best = -math.inf

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.best_metric is not None:  # of the part of the run before it was cut off
            self._best = state.best_metric

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainingCollapsed(
                f"step {state.global_step}: the loss is {logs['loss']}. Lower learning_rate, or set precision='fp32' "
                "(fp16 overflows; bf16 does not)."
            )
        self._widest = max(self._widest, logs["spread"])
        flat = logs["spread"] < max(1e-4, 0.02 * self._widest)
        self._flat = self._flat + 1 if flat else 0
        if self._flat >= self._flat_logs:
            raise TrainingCollapsed(
                f"step {state.global_step}: the model gives all passages of a list the same score (spread "
                f"{logs['spread']:.2g} logits, {self._widest:.2g} before). Lower learning_rate (a tenth is a good "
                "try), raise warmup, and check that every list has passages that are relevant and some that are not."
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        value = (metrics or {}).get(f"eval_{DEV_MEASURES[0]}")
        if value is None:
            return
        self._best = max(self._best, value)
        self._bad = self._bad + 1 if value < self._best - self._drop else 0
        if self._bad >= self._bad_evaluations:
            raise TrainingCollapsed(
                f"step {state.global_step}: nDCG@10 on the dev lists is {value:.3f}, {self._best - value:.3f} under "
                f"its best, for {self._bad} evaluations. Lower learning_rate, train fewer epochs, or look for labels "
                "that contradict the dev set."
            )
