"""A training run: its folder, its Trainer, its end. Knows nothing about where the lists come from.

The folder holds `model/`, `run.json` (settings, fingerprint of the data, versions, every figure logged),
`checkpoints/`, TensorBoard's `logs/` and, if asked for, `onnx/`. A run that was killed goes on from its last whole
checkpoint, step for step as if it had not been; one whose export failed is exported again without training anew.
"""

import atexit
import hashlib
import inspect
import json
import platform
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from finerank.errors import DeviceUnavailable, InvalidSetting, MissingExtra, ParityFailed, UnusablePath
from finerank.io.atomic import write_text
from finerank.scoring.allocator import keep_large_blocks
from finerank.scoring.declared_length import TOKENIZER_CONFIG, read_tokenizer_config
from finerank.scoring.encode import PairEncoder, open_encoder
from finerank.scoring.families import is_late
from finerank.scoring.model_files import TRAINED_LENGTH, ModelFiles, find_model
from finerank.scoring.tokenizer import load_tokenizer
from finerank.training.card import model_card
from finerank.training.examples import Example
from finerank.training.lists import ListCollator
from finerank.training.options import TrainSettings

try:
    import torch
    from accelerate import PartialState
    from torch.utils.data import Dataset
    from torch.utils.tensorboard import SummaryWriter
    from transformers import TrainerCallback, TrainingArguments
    from transformers.integrations import TensorBoardCallback

    from finerank.scoring.transformers_backend import load_model, quietly
    from finerank.training.cpu import accelerate, has_bf16
    from finerank.training.progress import TrainingBar
    from finerank.training.trainer import CollapseGuard, Collator, ListTrainer
except ImportError as error:
    raise MissingExtra("training", "train") from error

CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 32768


@dataclass(frozen=True, slots=True)
class Start:
    """The model that a run begins with, and the encoder that training shares with serving."""

    name: str
    files: ModelFiles
    encoder: PairEncoder

    @classmethod
    def find(cls, model: str, max_length: int | None) -> "Start":
        """Raises `InvalidSetting` if the model has no positions for `max_length` tokens."""
        files = find_model(model, backend="transformers", headless=True)
        if max_length and max_length > files.usable_length:
            raise InvalidSetting(f"max_length={max_length}: {model} has positions for {files.usable_length} tokens")
        return cls(model, files, open_encoder(files, max_length or files.tuned_length))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run trains.

    `described` stands in run.json as the settings, and `sha256` as the data's fingerprint. `scorer` makes the module
    from the model, `collator` the training batches' collator from that of the lists.
    """

    start: Start
    data: Dataset[Example] | Sequence[Example]
    examples: int
    sha256: str
    dev: Sequence[Example]
    settings: TrainSettings
    described: Mapping[str, Any]
    scorer: Callable[[torch.nn.Module], torch.nn.Module]
    collator: Callable[[ListCollator], Collator] | None = None
    languages: Sequence[str] = ()
    refresh_from: str = ""
    callbacks: Sequence[TrainerCallback] = ()

    def record(self) -> dict[str, Any]:
        """What run.json says at the beginning."""
        return {
            "model": self.start.name,
            "content": self.start.files.fingerprint(),
            "kind": "late-interaction" if is_late(self.start.files.config) else "cross-encoder",
            "settings": dict(self.described),
            "data": {"examples": self.examples, "sha256": self.sha256},
            "refresh": self.refresh_from,
            "dev": {"examples": len(self.dev), "sha256": fingerprint(self.dev)},
            "languages": list(self.languages),
            "max_length": self.start.encoder.max_length,
            "versions": {name: version(name) for name in ("finerank", "torch", "transformers")},
            "machine": platform.machine(),
            "finished": False,
        }


def execute(plan: Plan, out: Path) -> dict[str, Any]:
    """Do what is planned in the folder `out`; returns what run.json says at the end."""
    if plan.settings.export:
        import finerank.training.export  # noqa: F401 - raises MissingExtra, and now rather than after training
    keep_large_blocks()  # gradients as large as the vocabulary come and go with every step: a tenth of its time
    args = _arguments(plan.settings, out, bool(plan.dev))
    record = plan.record()
    begins = not (out / "run.json").is_file()
    with args.main_process_first(local=False):
        trained = _open_run(out, record)
    if trained is not None:
        return _export_later(out, trained, plan.settings.export)
    bar = TrainingBar()
    try:
        trainer = _trainer(plan, args, out, bar)
        before = trainer.rank_dev() if plan.dev else {}
    except BaseException:  # no step was made: the folder must not keep another run out
        if begins and is_main_process():
            shutil.rmtree(out)
        raise
    with quietly(), closing(bar):
        outcome = trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    record |= {
        "finished": True,
        "steps": trainer.state.global_step,
        "seconds": outcome.metrics["train_runtime"],
        "before": before,
        "after": trainer.rank_dev() if plan.dev else {},
        "log": trainer.state.log_history,
    }
    if is_main_process():
        _finish(trainer.model, plan, out, record)
    _end_in_order()
    return record


def is_main_process() -> bool:
    """Whether this process is the only one, or the first of those that train together."""
    return bool(PartialState().is_main_process)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole: the Trainer writes its state last, and a kill may come in between."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((str(path) for path in found if _is_whole(path)), None)


def save_model(model: Any, start: Start, out: Path) -> None:  # noqa: ANN401 - peft is untyped
    """Weights in float32, config and tokenizer, as any library loads them. LoRA is merged into the weights."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    shutil.rmtree(out, ignore_errors=True)
    setattr(model.config, TRAINED_LENGTH, start.encoder.max_length)
    with quietly():
        # Under the names that the model itself has: transformers 5.3 else calls LayerNorm's weights gamma and beta.
        model.float().save_pretrained(out, save_original_format=False)
    tokenizer = load_tokenizer(start.files.tokenizer)
    (out / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    described = {**read_tokenizer_config(start.files.folder), "model_max_length": start.encoder.max_length}
    (out / TOKENIZER_CONFIG).write_text(json.dumps(described, indent=1), encoding="utf-8")


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 over the content of examples, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.query, example.passages, example.labels, example.teacher]).encode())
    return digest.hexdigest()


def _end_in_order() -> None:
    """Gloo's threads may let go of a tensor once the interpreter is ending, a SIGABRT: they are joined before."""
    atexit.register(PartialState().destroy_process_group)


def _finish(scorer: Any, plan: Plan, out: Path, record: Mapping[str, Any]) -> None:  # noqa: ANN401 - as the plan's
    """The model, its card; run.json, which says that they are there; then the ONNX export, which may fail."""
    save_model(scorer.model, plan.start, out / "model")
    if plan.settings.exit_layers:
        scorer.early_exit.save(out / "model")
    (out / "model" / "README.md").write_text(model_card(record), encoding="utf-8")
    _write_record(out, record)
    _export(out, plan.settings.export)


def _export(out: Path, precision: str) -> None:
    if not precision:
        return
    from finerank.training.export import Precision, export

    shutil.rmtree(out / "onnx", ignore_errors=True)
    try:
        export(str(out / "model"), out / "onnx", cast("Precision", precision))
    except ParityFailed as error:
        again = " The same run with export='fp32' exports it without training anew." if precision == "int8" else ""
        raise ParityFailed(f"{error} The trained model is whole, in {out / 'model'}.{again}") from error


def _export_later(out: Path, record: dict[str, Any], precision: str) -> dict[str, Any]:
    """The export that a finished run has not got; returns what run.json says then."""
    PartialState().wait_for_everyone()  # no process may meet the export while it looks for it
    record["settings"]["export"] = precision
    if is_main_process():
        _write_record(out, record)
        _export(out, precision)
    _end_in_order()
    return record


def _open_run(out: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Begin a run in `out`, or accept the same one there, cut off before its end.

    If it is trained, and only its export is still to be made, returns what its run.json says.
    """
    path = out / "run.json"
    check_folder(out)
    if not path.is_file():
        _write_record(out, record)
        return None
    there: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if there["finished"] and (not record["settings"]["export"] or (out / "onnx").exists()):
        raise UnusablePath(f"{out}: holds a finished run; name another folder")
    for name in ("model", "content", "settings", "data", "refresh", "dev"):
        now = json.loads(_to_json(record[name]))
        if _fixed(there.get(name, now)) != _fixed(now):  # older runs do not record all of them
            raise InvalidSetting(
                f"{out}: holds a run that was begun with another {name}. Go on with what it was begun with "
                "(it stands in run.json), or name another folder."
            )
    return there if there["finished"] else None


def check_folder(out: Path) -> None:
    """Raise `UnusablePath` if a run can neither begin in the folder nor go on there."""
    if out.exists() and not (out / "run.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UnusablePath(f"{out}: exists and is not a run of ours; name another folder")


def check_place(out: Path, settings: TrainSettings) -> None:
    """Raise `UnusablePath` or `DeviceUnavailable` before the data, which may take long, is read."""
    check_folder(out)
    _uses_cpu(settings.device)


def _fixed(part: object) -> object:
    """What of run.json's part cannot change while a run goes on: all but the export, which comes after the rest."""
    return {**part, "export": ""} if isinstance(part, dict) else part


def _write_record(out: Path, record: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "run.json", _to_json(record))


def _to_json(value: object) -> str:
    """JSON, a function in it by its name, which stays from process to process, and a path as text."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=lambda x: getattr(x, "__qualname__", str(x)))


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _trainer(plan: Plan, args: TrainingArguments, out: Path, bar: TrainingBar) -> ListTrainer:
    settings = plan.settings
    torch.manual_seed(settings.seed)  # a new head's weights
    model = _prepare(load_model(plan.start.files, torch.float32, headless=True), settings)
    if args.device.type == "cpu":
        accelerate(model, every_token=plan.collator is not None)  # masked words are predicted at any token
    if settings.lora_rank:
        model = _with_lora(model, settings.lora_rank)
    tokens = settings.batch_tokens or (CPU_BATCH_TOKENS if args.device.type == "cpu" else GPU_BATCH_TOKENS)
    takes_types = "token_type_ids" in inspect.signature(_unwrapped(model).forward).parameters
    collator = ListCollator(plan.start.encoder, plan.start.files.pad_id, tokens, takes_types)
    callbacks = [CollapseGuard(), bar, *plan.callbacks]
    if is_main_process():
        callbacks.append(TensorBoardCallback(SummaryWriter(str(out / "logs"))))
    return ListTrainer(
        plan.scorer(model),
        args,
        collator,
        plan.data,
        plan.dev,
        callbacks,
        plan.collator(collator) if plan.collator else None,
        settings.embeddings_rate,
    )


def _unwrapped(model: Any) -> Any:  # noqa: ANN401 - peft is untyped
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _prepare(model: Any, settings: TrainSettings) -> torch.nn.Module:  # noqa: ANN401 - transformers is untyped
    if settings.dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = settings.dropout
    if not settings.embeddings_rate:
        model.get_input_embeddings().weight.requires_grad_(False)
    return model  # type: ignore[no-any-return]


def _with_lora(model: Any, rank: int) -> torch.nn.Module:  # noqa: ANN401 - transformers is untyped
    """Low-rank adapters on every linear layer but the head's, which trains whole (Hu et al. 2021, "LoRA")."""
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise MissingExtra("lora_rank", "train") from error
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for things by their old names
        return get_peft_model(model, config)


def _arguments(settings: TrainSettings, out: Path, has_dev: bool) -> TrainingArguments:
    use_cpu = _uses_cpu(settings.device)
    precision = _precision(settings.precision, use_cpu)
    args = TrainingArguments(
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
        optim="adamw_torch_fused" if use_cpu or torch.cuda.is_available() else "adamw_torch",
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
        report_to=[],
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    if args.n_gpu > 1:  # DataParallel cannot split our groups: several GPUs take a process each
        args._n_gpu = 1
    return args


def _uses_cpu(device: str) -> bool:
    if device == "auto":
        return not torch.cuda.is_available()
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[device]:
        raise DeviceUnavailable(f"device={device!r}: torch sees none; `finerank doctor` says why. Or use device='cpu'.")
    return device == "cpu"


def _precision(asked: str, use_cpu: bool) -> str:
    if asked != "auto":
        return asked
    if use_cpu:
        return "bf16" if has_bf16() else "fp32"
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
