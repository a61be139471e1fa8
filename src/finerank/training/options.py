"""Every training option once: name, default, allowed values, help."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, Literal, Self, get_args, get_origin

from finerank.errors import InvalidSetting
from finerank.settings import nearest
from finerank.training.augment import Augmentation
from finerank.training.losses import DISTILLATIONS, LOSS_NAMES


def option(default: Any, help: str) -> Any:  # noqa: ANN401 - what dataclasses.field returns
    """A field with its help text."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train: everything a run depends on besides its data and the model it starts from."""

    loss: str = option("infonce", "a name of the table of losses")
    distill: Literal["", "margin-mse", "kl"] = option("", "match a teacher's logits too: `margin-mse` or `kl`")
    distill_weight: float = option(0.5, "the part of that loss in the whole, for lists that have a teacher")
    max_length: int | None = option(None, "longest pair in tokens, in training and after it; unset is the model's own")
    epochs: float = option(1.0, "passes over the data")
    max_steps: int = option(0, "stop after so many steps; 0 is after the epochs")
    lists_per_step: int = option(16, "lists in a batch, on each device")
    accumulate: int = option(1, "batches whose gradients make one step")
    passages: int = option(8, "passages of a list in a step, drawn anew in every epoch: one that is relevant, others")
    batch_tokens: int | None = option(None, "tokens in one forward pass; unset is 2048 on a CPU, 32768 on a GPU")
    learning_rate: float = option(2e-5, "at its highest; it rises first and then falls to 0")
    warmup: float = option(0.1, "the part of all steps in which the learning rate rises")
    weight_decay: float = option(0.01, "AdamW's")
    max_grad_norm: float = option(1.0, "a longer gradient is shortened to this")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = option(
        "auto",
        "bf16 where the hardware multiplies it, else fp16 on GPUs and fp32 on CPUs; or one of these; weights stay fp32",
    )
    lora_rank: int = option(0, "train low-rank adapters of this rank, and merge them; 0 trains every weight")
    exit_layers: int = option(0, "train a second head after so many layers too, for effort='fast'; 0 is none")
    embeddings_rate: float = option(1.0, "of the word embeddings, times the learning rate; 0 leaves them as they are")
    dropout: float | None = option(None, "of every layer; unset is the model's own")
    evaluate_every: int = option(200, "steps between evaluations on the dev lists, and between checkpoints")
    log_every: int = option(10, "steps between figures in the log")
    keep_best: bool = option(True, "end with the checkpoint that ranked the dev lists best, not with the last")
    seed: int = option(0, "of the order, the draws, the dropout and a new head")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "auto is CUDA where there is a GPU, else the CPU")
    export: Literal["", "fp32", "int8"] = option("", "write an ONNX model too, into `onnx/`: `fp32` or `int8`")
    augment: Augmentation = field(default_factory=Augmentation, metadata={"help": "a table of rates; see Augment"})

    def __post_init__(self) -> None:
        check_types(self)
        _check_choice("loss", self.loss, LOSS_NAMES)
        _check_choice("distill", self.distill, ("", *DISTILLATIONS))
        positive = ("epochs", "learning_rate", "lists_per_step", "accumulate", "evaluate_every", "log_every")
        for name in (*positive, "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise InvalidSetting(f"{name}={getattr(self, name)}: must be above 0")
        for name in ("max_steps", "lora_rank", "exit_layers", "embeddings_rate", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise InvalidSetting(f"{name}={getattr(self, name)}: must be 0 or more")
        for name in ("warmup", "distill_weight", "dropout"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise InvalidSetting(f"{name}={getattr(self, name)}: must be between 0 and 1")
        if self.lora_rank and self.exit_layers:
            raise InvalidSetting("exit_layers: trains the layers below it whole; leave lora_rank at 0")
        if self.passages < 2:
            raise InvalidSetting(f"passages={self.passages}: a list needs 2 passages or more to learn an order from")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a table of TOML or JSON; `augment` is a table of its own. Raises `InvalidSetting`."""
        check_names(values, names(cls))
        augment = values.get("augment", {})
        if not isinstance(augment, Mapping):
            raise InvalidSetting(f"augment={augment!r}: must be a table, as in augment.typos=0.1")
        check_names(augment, names(Augmentation))
        return cls(**{**values, "augment": Augmentation(**augment)})


def names(*groups: type) -> list[str]:
    """The options of dataclasses."""
    return sorted(option.name for group in groups for option in fields(group))


def check_names(values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `InvalidSetting` if one of the values has an unknown name."""
    unknown = sorted(values.keys() - set(known))
    if unknown:
        hint = nearest(unknown[0], known)
        raise InvalidSetting(f"unknown training option {unknown[0]!r}; the options are {', '.join(known)}{hint}")


def check_types(settings: Any) -> None:  # noqa: ANN401 - any dataclass of options
    """Raise `InvalidSetting` if an option of the dataclass has a value of another type than it says."""
    for each in fields(settings):
        value, expected = getattr(settings, each.name), each.type
        if get_origin(expected) is Literal:
            _check_choice(each.name, value, get_args(expected))
            continue
        kinds = get_args(expected) or (expected,)
        wider = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, wider) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)
            raise InvalidSetting(f"{each.name}={value!r}: must be of type {names}")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidSetting(f"{each.name}={value!r}: must be a finite number")


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        choices = ", ".join(choice or "empty" for choice in allowed)
        raise InvalidSetting(f"{name}={value!r}: must be one of {choices}")
