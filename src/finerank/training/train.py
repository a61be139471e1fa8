"""Fine-tuning a reranker: examples in, a run's folder out.

train("bge-reranker-base", examples, Path("runs/mine"), dev=dev, settings=TrainSettings(loss="infonce"))
Reranker.from_pretrained("runs/mine/model")
"""

import copy
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finerank.errors import InvalidInput, MissingExtra
from finerank.training.examples import Example, read_examples, write_examples
from finerank.training.lists import ExampleSet
from finerank.training.options import TrainSettings as TrainSettings
from finerank.training.run import Plan, Start, execute, fingerprint, save_model

try:
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from finerank.training.early_exit import ExitHead, check_exit
    from finerank.training.losses import DISTILLATIONS, make_loss
    from finerank.training.trainer import ListScorer
except ImportError as error:
    raise MissingExtra("training", "train") from error

Refresh = Callable[[Path, Sequence[Example]], Sequence[Example]]
"""Between epochs: the folder of the model as it is now, and the examples; returns those of the next epoch."""


def train(
    model: str,
    examples: Sequence[Example],
    out: Path,
    *,
    dev: Sequence[Example] = (),
    settings: TrainSettings | None = None,
    refresh: Refresh | None = None,
    refresh_from: str = "",
    callbacks: Iterable[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train `model` (a reranker, or an encoder that gets a new head) into the folder `out`; returns what run.json says.

    If `out` holds a run with the same data and settings that was cut off, it goes on from its last checkpoint; another
    run there is an `InvalidSetting`. `refresh_from` is a fingerprint of what `refresh` draws on, part of the data.
    Raises `TrainingCollapsed` with an explanation when the model stops learning.
    """
    settings = settings or TrainSettings()
    _check_examples(examples, settings)
    start = Start.find(model, settings.max_length)
    _check_queries([*examples, *dev], start)
    if settings.exit_layers:
        check_exit(start.files, settings.exit_layers)
    top_grade = max(label for example in examples for label in example.labels)
    plan = Plan(
        start=start,
        data=ExampleSet(examples, settings.passages, settings.augment, settings.seed),
        examples=len(examples),
        sha256=fingerprint(examples),
        dev=dev,
        settings=settings,
        described=asdict(settings),
        scorer=lambda cross_encoder: make_scorer(cross_encoder, top_grade, settings, start),
        refresh_from=refresh_from,
        languages=sorted({example.language for example in examples} - {""}),
        callbacks=[*callbacks, *([_Refresh(refresh, start, out)] if refresh else [])],
    )
    return execute(plan, out)


def make_scorer(model: torch.nn.Module, top_grade: float, settings: TrainSettings, start: Start) -> ListScorer:
    """The model with the losses that the settings name, for data with grades up to `top_grade`."""
    teach = DISTILLATIONS[settings.distill] if settings.distill else None
    early_exit = ExitHead.begin(model, settings.exit_layers, start.files) if settings.exit_layers else None
    return ListScorer(model, make_loss(settings.loss, top_grade), teach, settings.distill_weight, early_exit)


def _check_examples(examples: Sequence[Example], settings: TrainSettings) -> None:
    if not examples:
        raise InvalidInput("there are no training examples")
    if not any(len(set(example.labels)) > 1 for example in examples):
        raise InvalidInput(
            "no example has both a passage that is relevant (label above 0) and one that is not: there is nothing to "
            "learn an order from. `finerank mine` finds passages that are not."
        )
    if settings.distill and not any(example.teacher for example in examples):
        raise InvalidInput(
            f"distill={settings.distill!r}: no example has a teacher's scores; `finerank mine --teacher` adds them"
        )


def _check_queries(examples: Sequence[Example], start: Start) -> None:
    for query in {example.query: None for example in examples}:
        try:
            start.encoder.check_query(query)
        except InvalidInput as error:
            raise InvalidInput(f"the query {query[:50]!r}: {error}; or leave its line out") from error


class _Refresh(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Asks for new examples before every epoch but the first, and keeps them for a resume."""

    def __init__(self, refresh: Refresh, start: Start, out: Path) -> None:
        self._refresh, self._start, self._out = refresh, start, out

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,  # noqa: ANN401 - transformers is untyped
        train_dataloader: Any = None,  # noqa: ANN401
        **_: object,
    ) -> None:
        epoch = int(state.epoch or 0)
        if not epoch:
            return
        kept, examples = self._out / f"examples-{epoch}.jsonl", train_dataloader.dataset.examples
        with args.main_process_first(local=False):
            if not kept.is_file():
                self._write(kept, model.model, examples)
        fresh = list(read_examples(kept))
        if len(fresh) != len(examples):
            raise InvalidInput(f"refresh gave {len(fresh)} examples for {len(examples)}; it must keep their number")
        train_dataloader.dataset.examples = fresh

    def _write(self, kept: Path, model: Any, examples: Sequence[Example]) -> None:  # noqa: ANN401
        now = self._out / "now"
        save_model(copy.deepcopy(model), self._start, now)
        write_examples(kept, self._refresh(now, examples))
        shutil.rmtree(now)
