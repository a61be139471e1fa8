"""How far a run is, on standard error: one line that is redrawn, and one more after every evaluation."""

import sys
from collections.abc import Mapping
from typing import Any

from finerank.errors import MissingExtra

try:
    from tqdm.auto import tqdm
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise MissingExtra("training", "train") from error


class TrainingBar(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Steps, time left, the loss and the dev nDCG@10 as last seen. Where there is no terminal, the evaluations only."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._seen: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.is_world_process_zero:
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="training",
                unit="step",
                dynamic_ncols=True,
                disable=None,  # off where standard error is no terminal
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self._bar is not None:
            self._bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        if self._bar is not None and "loss" in (logs or {}):
            self._see("loss", (logs or {})["loss"])

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        if self._bar is None:
            return
        for name, value in (metrics or {}).items():
            if name.startswith("eval_"):
                self._see(f"dev {name.removeprefix('eval_')}", value)
        figures = ", ".join(f"{name} {value:.4f}" for name, value in self._seen.items())
        tqdm.write(f"step {state.global_step} of {state.max_steps}: {figures}", file=sys.stderr)

    def close(self) -> None:
        """Leave the line as it is."""
        if self._bar is not None:
            self._bar.close()

    def _see(self, name: str, value: float) -> None:
        self._seen[name] = value
        shown = {name: f"{value:.4f}" for name, value in self._seen.items() if not name.startswith("dev RR")}
        self._bar.set_postfix(shown)
