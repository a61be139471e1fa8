"""Fine-tuning a reranker: examples in, a run's folder out.

    train("bge-reranker-base", examples, Path("runs/mine"), dev=dev, settings=TrainSettings(loss="infonce"))

The folder holds `model/` (load it with `Reranker.from_pretrained`), `run.json` (settings, fingerprint of the data,
versions, every figure logged), a model card, `checkpoints/` and TensorBoard's `logs/`. A run that was killed goes on
from its last whole checkpoint, step for step as if it had not been.
"""

import copy
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from finerank.errors import InvalidInput, InvalidSetting, MissingExtra
from finerank.scoring.encode import PairEncoder
from finerank.scoring.model_files import ModelFiles, find_model
from finerank.scoring.tokenizer import load_tokenizer
from finerank.training.augment import Augmentation
from finerank.training.card import model_card
from finerank.training.examples import Example, read_examples, write_examples
from finerank.training.lists import ExampleSet, ListCollator

try:
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from finerank.scoring.transformers_backend import load_model
    from finerank.training.losses import DISTILLATIONS, LOSS_NAMES, LOSSES, Loss, OrdinalCrossEntropy
    from finerank.training.trainer import CollapseGuard, ListScorer, ListTrainer
except ImportError as error:
    raise MissingExtra("training", "train") from error

Refresh = Callable[[Path, Sequence[Example]], Sequence[Example]]
"""Between epochs: the folder of the model as it is now, and the examples; returns those of the next epoch."""

CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 32768


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train. Everything a run depends on besides its data and its start."""

    loss: str = "infonce"
    distill: Literal["", "margin-mse", "kl"] = ""
    distill_weight: float = 0.5
    max_length: int | None = None
    epochs: float = 1.0
    max_steps: int = 0
    lists_per_step: int = 16
    accumulate: int = 1
    passages: int = 8
    batch_tokens: int | None = None
    learning_rate: float = 2e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    lora_rank: int = 0
    freeze_embeddings: bool = False
    dropout: float | None = None
    evaluate_every: int = 200
    log_every: int = 10
    keep_best: bool = True
    seed: int = 0
    device: str = "auto"
    export: Literal["", "fp32", "int8"] = ""
    augment: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.loss not in LOSS_NAMES:
            raise InvalidSetting(f"loss={self.loss!r}: must be one of {', '.join(LOSS_NAMES)}")
        if self.distill and self.distill not in DISTILLATIONS:
            raise InvalidSetting(f"distill={self.distill!r}: must be one of {', '.join(DISTILLATIONS)}")
        for name in ("epochs", "learning_rate", "lists_per_step", "accumulate", "evaluate_every", "log_every"):
            if getattr(self, name) <= 0:
                raise InvalidSetting(f"{name}={getattr(self, name)}: must be above 0")
        for name in ("warmup", "distill_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidSetting(f"{name}={getattr(self, name)}: must be between 0 and 1")
        if self.passages < 2:
            raise InvalidSetting(f"passages={self.passages}: a list needs 2 passages or more to learn an order from")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a table of TOML or JSON; `augment` is a table of its own. Raises `InvalidSetting`."""
        known = {option.name for option in fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise InvalidSetting(f"unknown training option {unknown[0]!r}; the options are {', '.join(sorted(known))}")
        try:
            return cls(**{**values, "augment": Augmentation(**values.get("augment", {}))})
        except TypeError as error:
            raise InvalidSetting(f"training options: {error}") from error


def train(
    model: str,
    examples: Sequence[Example],
    out: Path,
    *,
    dev: Sequence[Example] = (),
    settings: TrainSettings | None = None,
    refresh: Refresh | None = None,
    callbacks: Iterable[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train `model` (a reranker, or an encoder that gets a new head) into the folder `out`; returns what run.json says.

    If `out` holds a run with the same data and settings that was cut off, it goes on from its last checkpoint; another
    run there is an `InvalidSetting`. Raises `TrainingCollapsed` with an explanation when the model stops learning.
    """
    settings = settings or TrainSettings()
    _check_examples(examples, settings)
    files = find_model(model, backend="transformers", headless=True)
    record = _record(model, examples, dev, settings)
    _open_run(out, record)
    encoder = PairEncoder(load_tokenizer(files.tokenizer), settings.max_length or files.tuned_length)
    mining = [_Refresh(refresh, files, out, encoder.max_length)] if refresh else []
    trainer = _trainer(files, encoder, examples, dev, out, settings, [*callbacks, *mining])
    before = trainer.rank_dev() if dev else {}
    outcome = trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    save_model(trainer.model.model, files, out / "model", encoder.max_length)
    record |= {
        "finished": True,
        "steps": trainer.state.global_step,
        "seconds": outcome.metrics["train_runtime"],
        "before": before,
        "after": trainer.rank_dev() if dev else {},
        "log": trainer.state.log_history,
    }
    _write_record(out, record)
    (out / "model" / "README.md").write_text(model_card(record), encoding="utf-8")
    if settings.export:
        from finerank.training.export import export

        shutil.rmtree(out / "onnx", ignore_errors=True)
        export(str(out / "model"), out / "onnx", settings.export)
    return record


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole: the Trainer writes its state last, and a kill may come in between."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((str(path) for path in found if _is_whole(path)), None)


def save_model(model: Any, files: ModelFiles, out: Path, max_length: int) -> None:  # noqa: ANN401 - peft is untyped
    """Weights in float32, config and tokenizer, as any library loads them. LoRA is merged into the weights."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    shutil.rmtree(out, ignore_errors=True)
    model.float().save_pretrained(out)
    tokenizer = load_tokenizer(files.tokenizer)
    (out / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    source = files.folder / "tokenizer_config.json"
    described = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    described["model_max_length"] = max_length
    (out / "tokenizer_config.json").write_text(json.dumps(described, indent=1), encoding="utf-8")


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 over the content of examples, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.query, example.passages, example.labels, example.teacher]).encode())
    return digest.hexdigest()


def _check_examples(examples: Sequence[Example], settings: TrainSettings) -> None:
    if not examples:
        raise InvalidInput("there are no training examples")
    if not any(len(set(example.labels)) > 1 for example in examples):
        raise InvalidInput(
            "no example has both a passage that is relevant (label above 0) and one that is not: there is nothing to "
            "learn an order from. `finerank mine` finds passages that are not."
        )
    if settings.distill and not any(example.teacher for example in examples):
        raise InvalidInput(f"distill={settings.distill!r}: no example has a teacher's scores; `finerank mine --teacher`")


def _record(model: str, examples: Sequence[Example], dev: Sequence[Example], settings: TrainSettings) -> dict[str, Any]:
    return {
        "model": model,
        "settings": asdict(settings),
        "data": {"examples": len(examples), "sha256": fingerprint(examples)},
        "dev": {"examples": len(dev), "sha256": fingerprint(dev)},
        "languages": sorted({example.language for example in examples} - {""}),
        "versions": {name: version(name) for name in ("finerank", "torch", "transformers")},
        "machine": platform.machine(),
        "finished": False,
    }


def _open_run(out: Path, record: Mapping[str, Any]) -> None:
    """Begin a run in `out`, or accept the same one there, cut off before its end."""
    path = out / "run.json"
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidSetting(f"{out}: exists and is not a run of ours; name another folder")
        _write_record(out, record)
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    if there["finished"]:
        raise InvalidSetting(f"{out}: holds a finished run; name another folder")
    for name in ("model", "settings", "data", "dev"):
        if there[name] != json.loads(json.dumps(record[name], default=str)):
            raise InvalidSetting(
                f"{out}: holds a run that was begun with another {name}. Go on with what it was begun with "
                "(it stands in run.json), or name another folder."
            )


def _write_record(out: Path, record: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / "run.json.part"
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
    part.replace(out / "run.json")


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _trainer(
    files: ModelFiles,
    encoder: PairEncoder,
    examples: Sequence[Example],
    dev: Sequence[Example],
    out: Path,
    settings: TrainSettings,
    callbacks: Sequence[TrainerCallback],
) -> ListTrainer:
    args = _arguments(settings, out, bool(dev))
    torch.manual_seed(settings.seed)  # a new head's weights
    model = _prepare(load_model(files, torch.float32, headless=True), settings, args.device.type)
    teach = DISTILLATIONS[settings.distill] if settings.distill else None
    scorer = ListScorer(model, _loss(settings.loss, examples), teach, settings.distill_weight)
    tokens = settings.batch_tokens or (CPU_BATCH_TOKENS if args.device.type == "cpu" else GPU_BATCH_TOKENS)
    return ListTrainer(
        scorer,
        args,
        ListCollator(encoder, files.pad_id, tokens),
        ExampleSet(examples, settings.passages, settings.augment, settings.seed),
        dev,
        [CollapseGuard(), *callbacks],
    )


def _loss(name: str, examples: Sequence[Example]) -> Loss:
    if name != "ordinal":
        return LOSSES[name]
    return OrdinalCrossEntropy(1 + round(max(label for example in examples for label in example.labels)))


def _prepare(model: Any, settings: TrainSettings, device: str) -> torch.nn.Module:  # noqa: ANN401 - transformers'
    if device == "cpu":  # its fused attention is slow backwards: 1.4x the time of a step with heads of 32
        model.set_attn_implementation("eager")
    if settings.dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = settings.dropout
    if settings.freeze_embeddings:
        model.get_input_embeddings().weight.requires_grad_(False)
    if settings.lora_rank:
        return _with_lora(model, settings.lora_rank)
    return model  # type: ignore[no-any-return]


def _with_lora(model: Any, rank: int) -> torch.nn.Module:  # noqa: ANN401 - transformers is untyped
    """Low-rank adapters on every linear layer but the head's, which trains whole (Hu et al. 2021, "LoRA")."""
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise MissingExtra("lora_rank", "train") from error
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return get_peft_model(model, config)  # type: ignore[no-any-return]


def _arguments(settings: TrainSettings, out: Path, has_dev: bool) -> TrainingArguments:
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "logs")
    use_cpu = settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available())
    precision = _precision(settings.precision, use_cpu)
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=settings.lists_per_step,
        gradient_accumulation_steps=settings.accumulate,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        lr_scheduler_type="linear",
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=use_cpu,
        seed=settings.seed,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_dev else "no",
        eval_steps=settings.evaluate_every,
        save_strategy="steps",
        save_steps=settings.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=has_dev and settings.keep_best,
        metric_for_best_model="eval_nDCG@10",
        greater_is_better=True,
        remove_unused_columns=False,
        report_to=["tensorboard"],
        dataloader_pin_memory=False,
        disable_tqdm=False,
    )


def _precision(asked: str, use_cpu: bool) -> str:
    if asked != "auto":
        return asked
    if use_cpu:
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


class _Refresh(TrainerCallback):
    """Asks for new examples before every epoch but the first, and keeps them for a resume."""

    def __init__(self, refresh: Refresh, files: ModelFiles, out: Path, max_length: int) -> None:
        self._refresh, self._files, self._out, self._max_length = refresh, files, out, max_length

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
        if not kept.is_file():
            save_model(copy.deepcopy(model.model), self._files, self._out / "now", self._max_length)
            write_examples(kept, self._refresh(self._out / "now", examples))
        fresh = list(read_examples(kept))
        if len(fresh) != len(examples):
            raise InvalidInput(f"refresh gave {len(fresh)} examples for {len(examples)}; it must keep their number")
        train_dataloader.dataset.examples = fresh
