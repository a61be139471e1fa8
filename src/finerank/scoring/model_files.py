"""Which files a model is made of: found in a local folder, among the embedded models, or on a hub.

Everything is decided by what config.json says and which files there are, never by a model's name. Knows nothing about
what is inside the weights.
"""

import hashlib
import json
import mmap
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finerank.errors import BrokenModel, MissingExtra, ModelError, ModelNotFound, UnsupportedModel
from finerank.paths import cache_dir, expand
from finerank.scoring.calibration import CALIBRATION_FILE
from finerank.scoring.declared_length import LENGTH_FILES, SHORTEST, declared_length
from finerank.scoring.device import has_gpu_driver
from finerank.scoring.families import CROSS, FAMILIES, LATE, POSITIONS_AFTER_PADDING, is_late
from finerank.scoring.processor import check_native
from finerank.settings import DEFAULT_MODEL, nearest

EMBEDDED_DIR = Path(__file__).resolve().parents[1] / "models"
"""Where the models that ship inside the package lie, a folder each."""

TUNED_LENGTH = 1024
"""Default for max_length where the model's positions reach further: bge-reranker-v2-m3 was fine-tuned at 1024."""

TRAINED_LENGTH = "finerank_max_length"
"""The key of config.json under which our training notes its max_length."""

EXIT_FILE = "exit.safetensors"
"""The head of a model's early exit; see `finerank.scoring.exits`."""

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")
_SHARD_INDEX = "model.safetensors.index.json"  # transformers reads shards by it
_TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model")
_ONNX = ("model.onnx", "onnx/model.onnx")
_ONNX_INT8 = tuple(
    folder + name
    for folder in ("", "onnx/")
    for name in (
        "model_int8.onnx",
        "model_quantized.onnx",
        "model_qint8_avx512_vnni.onnx",
        "model_quint8_avx2.onnx",
    )
)
_INT8_SAFETENSORS = "model_int8.safetensors"
"""Weights as `finerank.scoring.int8` describes; model_int8.onnx beside it refers to them."""

_CONFIG_NUMBERS: Mapping[str, int] = {
    **dict.fromkeys(("hidden_size", "num_attention_heads", "num_hidden_layers"), 1),
    **dict.fromkeys(("max_position_embeddings", "vocab_size", "type_vocab_size", "num_labels", "pad_token_id"), 0),
    TRAINED_LENGTH: SHORTEST,
}
"""Whole numbers of config.json, and how low each may be."""

_CONFIG_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "model_type": (str, "a text"),
    "hidden_act": (str, "a text"),
    "position_embedding_type": (str, "a text"),
    "layer_norm_eps": ((int, float), "a number"),
    "architectures": (list, "a list"),
    "id2label": (dict, "an object"),
}
"""What else is read of it. A value may also be null, which is as if it were left out."""

_SAFETENSORS_BACKENDS = ("native", "torch", "transformers")
NATIVE_DTYPES = ("auto", "int16", "fp32")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.bin")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk. `name` is what the user called it, `backend` what will run it; `weights` are safetensors
    shards, or one ONNX file; `tokenizer` is a tokenizer.json or a SentencePiece model."""

    name: str
    folder: Path
    backend: str
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    tokenizer: Path

    @property
    def pad_id(self) -> int:
        pad_id = self.config.get("pad_token_id")
        after_padding = self._positions_after_padding
        return int(pad_id) if pad_id is not None else int(after_padding)

    @property
    def first_position(self) -> int:
        """The position id of a pair's first token."""
        return self.pad_id + 1 if self._positions_after_padding else 0

    @property
    def usable_length(self) -> int:
        """The longest sequence the model has positions for, in tokens."""
        return int(self.config.get("max_position_embeddings") or 512) - self.first_position

    @property
    def tuned_length(self) -> int:
        """The length used when the user gives none: the one our training noted, or a usual one; and no longer than what
        the tokenizer's files say."""
        tuned = int(self.config.get(TRAINED_LENGTH) or TUNED_LENGTH)
        return min(self.usable_length, tuned, self.declared_length or tuned)

    @property
    def declared_length(self) -> int | None:
        """The length that the tokenizer's files say the model is for."""
        cut = self.tokenizer.suffix == ".json" and not self.config.get(TRAINED_LENGTH)
        return declared_length(self.folder, self.tokenizer if cut else None)

    @property
    def _positions_after_padding(self) -> bool:
        return self.config.get("model_type") in POSITIONS_AFTER_PADDING

    def uses_operator(self, *names: str) -> bool:
        """Whether an ONNX model has one of these operators: their names stand in the file as plain bytes."""
        with self.weights[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(name.encode()) >= 0 for name in names)

    def fingerprint(self) -> str:
        """A hash of the content of config, tokenizer and weights; about 2 s a GB, and less on the hub's own files."""
        paths = (self.folder / "config.json", self.tokenizer, *self.weights)
        return hashlib.sha256(" ".join(map(_content_hash, paths)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The settings that decide between a model's files."""

    backend: str
    dtype: str
    device: str

    @property
    def on_gpu(self) -> bool:
        """Whether torch may find a GPU to run it on."""
        return bool(find_spec("torch")) and (has_gpu_driver() if self.device == "auto" else self.device != "cpu")

    @property
    def needs_torch(self) -> str:
        """The setting that only torch can meet, in words; empty if there is none."""
        if self.backend != "auto":
            return ""
        if self.device not in ("auto", "cpu"):
            return f"device={self.device!r}"
        return f"dtype={self.dtype!r}" if self.dtype in ("fp16", "bf16") else ""

    def runs_natively(self, model_type: object) -> bool:
        """Whether the native engine is to run weights of this type."""
        if self.backend != "auto":
            return self.backend == "native"
        if model_type not in FAMILIES or self.dtype not in NATIVE_DTYPES or self.device not in ("auto", "cpu"):
            return False
        return not self.on_gpu and check_native().passed

    def widens_int8(self, model_type: object) -> bool:
        """Whether torch or the native engine is to run 8-bit weights: they widen them. ONNX Runtime takes them as they
        are, and on a CPU without the native engine that is faster."""
        if self.runs_natively(model_type):
            return True
        if self.backend != "auto" or self.dtype == "int8" or not find_spec("torch"):
            return self.backend == "torch"
        return self.dtype != "auto" or self.on_gpu or not find_spec("onnxruntime")


@dataclass(frozen=True, slots=True)
class _Choice:
    backend: str
    weights: tuple[str, ...]
    tokenizer: str


def find_model(
    model: str | Path | None = None,
    revision: str | None = None,
    backend: str = "auto",
    dtype: str = "auto",
    device: str = "auto",
    *,
    headless: bool = False,
) -> ModelFiles:
    """The files of a local folder, an .onnx file, an embedded model or a hub id (downloaded if not cached).

    `headless` accepts an encoder without a scoring head too, which training gives one.

    Raises `ModelNotFound`, `BrokenModel`, `UnsupportedModel` or `MissingExtra`, each with what to do about it.
    """
    name, wanted = str(model or DEFAULT_MODEL), _Wanted(backend, dtype, device)
    path = expand(name)
    if path.suffix == ".onnx":
        return _from_onnx_file(name, path)
    if os.path.isdir(path):  # Path.is_dir raises where a folder above may not be entered
        folder = path
    elif (EMBEDDED_DIR / name).is_dir():
        folder = EMBEDDED_DIR / name
    elif _HUB_ID.fullmatch(name):
        folder = _from_hub(name, revision, wanted)
    else:
        raise ModelNotFound(_nowhere(name))
    choice = _choose(_files_in(folder), name, wanted, _model_type(folder))
    return _describe(name, folder, choice, headless)


def check_name(model: str) -> None:
    """Raises `ModelNotFound` for what cannot be a model's name; what the hub has is not asked."""
    path = expand(model)
    here = os.path.isfile(path) if path.suffix == ".onnx" else os.path.isdir(path) or (EMBEDDED_DIR / model).is_dir()
    if not here and not _HUB_ID.fullmatch(model):
        raise ModelNotFound(_nowhere(model))


def embedded_models() -> list[str]:
    """The names of the rerankers that ship inside the package."""
    return sorted(graph.parent.name for graph in EMBEDDED_DIR.glob("*/model*.onnx"))


def _nowhere(name: str) -> str:
    if name == DEFAULT_MODEL:
        return (
            f"the default model {name} is not in this installation: reinstall finerank, or name a "
            "model: a hub id or a local folder"
        )
    if os.path.isfile(expand(name)):
        return f"model {name!r}: is a file; name the model's folder, or an .onnx file"
    known = embedded_models()
    embedded = ", ".join(known) or "none here"
    hint = nearest(name, known)
    return f"model {name!r}: no such folder, not a hub id (owner/name), not an embedded model ({embedded}){hint}"


def _files_in(folder: Path) -> set[str]:
    files = (*folder.glob("*"), *folder.glob("onnx/*"))
    return {file.relative_to(folder).as_posix() for file in files if file.is_file()}


def _from_onnx_file(name: str, path: Path) -> ModelFiles:
    if not path.is_file():
        raise ModelNotFound(f"model {name!r}: no such file")
    path = path.absolute()
    folder = next((each for each in path.parents[:2] if (each / "config.json").is_file()), None)
    if folder is None:
        raise BrokenModel(
            f"{name}: has no config.json beside it or in the folder above; put the model's config.json and "
            "tokenizer.json there."
        )
    names = _files_in(folder)
    graph = path.relative_to(folder).as_posix()
    return _describe(name, folder, _Choice("onnx", _with_data(graph, names), _choose_tokenizer(names, name, graph)))


def _choose(names: Iterable[str], model: str, wanted: _Wanted, model_type: object) -> _Choice:
    """Which of a folder's or a repository's files to use; `model_type` as in config.json, None if not known."""
    present, backend, dtype = set(names), wanted.backend, wanted.dtype
    if "config.json" not in present:
        raise BrokenModel(f"{model}: has no config.json; download the model's folder again, whole.")
    safetensors = _safetensors(present, model)
    if not safetensors and _INT8_SAFETENSORS in present and wanted.widens_int8(model_type):
        safetensors = (_INT8_SAFETENSORS,)
    onnx = next(
        (name for name in (_ONNX_INT8 + _ONNX if dtype == "int8" else _ONNX + _ONNX_INT8) if name in present), None
    )
    if wanted.needs_torch and (safetensors or _INT8_SAFETENSORS in present) and not find_spec("torch"):
        raise MissingExtra(wanted.needs_torch, "torch")
    safetensors_wanted = backend in _SAFETENSORS_BACKENDS or (backend == "auto" and dtype != "int8")
    native = wanted.runs_natively(model_type)
    runs = native or find_spec("torch")
    if safetensors_wanted and safetensors and (backend != "auto" or runs or not onnx):
        if not runs:
            raise MissingExtra(f"{model}: a safetensors model", "torch")
        return _Choice("native" if native else backend, safetensors, _choose_tokenizer(present, model))
    if onnx and backend in ("auto", "onnx"):
        return _Choice("onnx", _with_data(onnx, present), _choose_tokenizer(present, model, onnx))
    raise BrokenModel(_no_weights(present, model, backend, dtype))


def _with_data(graph: str, present: set[str]) -> tuple[str, ...]:
    """An ONNX graph and the files beside it that hold its weights."""
    beside = {name for name in present if name.startswith(graph) and name != graph}
    shared = {_INT8_SAFETENSORS} if graph == "model_int8.onnx" else set()
    return (graph, *sorted(beside | (shared & present)))


def _safetensors(present: set[str], model: str) -> tuple[str, ...]:
    if "model.safetensors" in present:
        return ("model.safetensors",)
    shards = {name: int(match[1]) for name in present if (match := _SHARD.fullmatch(name))}
    if shards and len(shards) != max(shards.values()):
        raise BrokenModel(f"{model}: has {len(shards)} of {max(shards.values())} weight shards; download the others.")
    return tuple(sorted(shards))


def _no_weights(present: set[str], model: str, backend: str, dtype: str) -> str:
    if dtype == "int8" or backend == "onnx":
        kind = "int8 ONNX" if dtype == "int8" else "ONNX"
        precision = "int8" if dtype == "int8" else "fp32"
        return f"{model}: has no {kind} file; make one with `finerank export {model} OUT --precision {precision}`."
    if backend == "transformers" and _INT8_SAFETENSORS in present:
        return (
            f"{model}: ships in 8 bits only ({_INT8_SAFETENSORS}), and training and backend='transformers' need float "
            "weights. Rank with backend='auto'; train from another model, such as BAAI/bge-reranker-base, or from the "
            f"float weights that it was made from (`make mini`, in the source repository, leaves finerank-mini's)."
        )
    pickled = next((name for name in _PICKLED if name in present), None)
    if pickled:
        return (
            f"{model}: has only pickled weights ({pickled}), which can run code when read. Convert them once with "
            "transformers: AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(out)."
        )
    return f"{model}: has no weights (model.safetensors or model.onnx); download the model's folder again, whole."


def _choose_tokenizer(names: Iterable[str], model: str, graph: str = "") -> str:
    """The tokenizer beside an ONNX graph, else that of the folder."""
    present = set(names)
    beside = graph.rpartition("/")[0]
    for folder in dict.fromkeys((f"{beside}/" if beside else "", "")):
        for name in _TOKENIZERS:
            if folder + name in present:
                return folder + name
    raise _unknown_tokenizer(model)


def _unknown_tokenizer(model: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{model}: has no tokenizer finerank reads: a tokenizer.json, or XLM-RoBERTa's sentencepiece.bpe.model. Write "
        "a tokenizer.json with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
    )


def _describe(name: str, folder: Path, choice: _Choice, headless: bool = False) -> ModelFiles:
    config = _read_config(folder / "config.json")
    if headless:
        _check_start(name, config)
    else:
        _check_architecture(name, config)
    if is_late(config) and (config.get("model_type") != "bert" or config.get("type_vocab_size", 2) < 2):
        raise UnsupportedModel(
            f"{name}: late interaction is for BERT encoders with two token types, not {config.get('model_type')} with "
            f"{config.get('type_vocab_size', 2)}; use it as a cross-encoder."
        )
    if not choice.tokenizer.endswith("tokenizer.json") and config.get("model_type") != "xlm-roberta":
        raise _unknown_tokenizer(name)  # others number the same pieces differently
    backend = choice.backend
    if backend == "auto":
        backend = "torch" if config.get("model_type") in FAMILIES else "transformers"
    if backend in ("native", "torch") and config.get("model_type") not in FAMILIES:
        raise UnsupportedModel(
            f"{name}: model_type {config.get('model_type')!r}; use backend='transformers' or 'auto'."
        )
    weights = tuple(folder / weight for weight in choice.weights)
    for path in weights:
        _check_not_pointer(path)
    return ModelFiles(name, folder, backend, config, weights, folder / choice.tokenizer)


def _model_type(folder: Path) -> object:
    """What config.json says, or None if it cannot be read; that is reported when the model is described."""
    try:
        return _read_config(folder / "config.json").get("model_type")
    except BrokenModel:
        return None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BrokenModel(f"{path}: no such file; download the model's folder again, whole.") from error
    except ValueError as error:
        raise BrokenModel(f"{path}: not readable as JSON: {error}; download it again.") from error
    except OSError as error:
        raise BrokenModel(f"{path}: {error.strerror}; make it readable, or download it again.") from error
    if not isinstance(config, dict):
        raise BrokenModel(f"{path}: holds no JSON object; download it again.")
    _check_fields(path, config)
    return config


def _check_fields(path: Path, config: Mapping[str, Any]) -> None:
    """Raise `BrokenModel` on a value that is not of its type."""
    for name, lowest in _CONFIG_NUMBERS.items():
        value = config.get(name)
        if value is not None and not (isinstance(value, int) and value >= lowest):
            raise BrokenModel(
                f"{path}: {name} is {value!r:.60}, not a whole number from {lowest} up; download it again."
            )
    for name, (kind, words) in _CONFIG_TYPES.items():
        value = config.get(name)
        if value is not None and not isinstance(value, kind):
            raise BrokenModel(f"{path}: {name} is {value!r:.60}, not {words}; download it again.")


def _check_architecture(name: str, config: Mapping[str, Any]) -> None:
    """Raise `UnsupportedModel` unless the config is of a sequence classifier with one label or of late interaction."""
    architecture = str((config.get("architectures") or ["none"])[0])
    if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")):
        raise UnsupportedModel(
            f"{name}: is a language model ({architecture}), and finerank runs cross-encoders: sequence classifiers "
            "with one label, such as BAAI/bge-reranker-v2-m3."
        )
    if not architecture.endswith((CROSS, LATE)):
        raise UnsupportedModel(
            f"{name}: its config.json names the architecture {architecture}, and a reranker is a "
            "*ForSequenceClassification. An embedding model or a bare encoder has no scoring head."
        )
    labels = _labels(config)
    if labels != 1:
        raise UnsupportedModel(f"{name}: has {labels} labels; a reranker has one. It is a classifier of another kind.")


def _check_start(name: str, config: Mapping[str, Any]) -> None:
    """Raise `UnsupportedModel` if training cannot start from it: a classifier whose head is not a reranker's."""
    architecture = str((config.get("architectures") or ["none"])[0])
    labels = _labels(config)
    if architecture.endswith(CROSS) and labels != 1:
        raise UnsupportedModel(
            f"{name}: is a classifier with {labels} labels, and a reranker has one. To train from its encoder, with a "
            "new head, write that alone: AutoModel.from_pretrained(folder).save_pretrained(out), with transformers."
        )


def _labels(config: Mapping[str, Any]) -> int:
    return len(config["id2label"]) if config.get("id2label") else int(config.get("num_labels") or 1)


def _content_hash(path: Path) -> str:
    """SHA-256 of a file; the hub's cache names large files by it."""
    target = path.resolve()
    if target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name):
        return target.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_not_pointer(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(40)
    if not start:
        raise BrokenModel(f"{path}: is empty; download it again.")
    if start.startswith(b"version https://git-lfs"):
        raise BrokenModel(f"{path}: is a Git LFS pointer, not the file; run `git lfs pull` in its folder.")


def _from_hub(name: str, revision: str | None, wanted: _Wanted) -> Path:
    """The folder of a hub model: from the cache without any network if it is whole there, else downloaded."""
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError as error:
        raise ModelNotFound(_nowhere(name)) from error
    if isinstance(cached, str) and _is_whole(Path(cached).parent, name, wanted):
        return Path(cached).parent
    try:
        info = HfApi().model_info(name, revision=revision)
        listed = [file.rfilename for file in info.siblings or []]
        choice = _choose(listed, name, wanted, (info.config or {}).get("model_type"))
        _remember(str(info.sha), listed)
        settings = ["config.json", *LENGTH_FILES, CALIBRATION_FILE, EXIT_FILE, _SHARD_INDEX]
        files = [*settings, choice.tokenizer, *choice.weights, *_second(choice.weights, listed)]
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except OfflineModeIsEnabled as error:
        raise ModelNotFound(f"{name}: not in the local cache, and HF_HUB_OFFLINE forbids a download.") from error
    except ModelError:
        raise
    except Exception as error:  # requests', httpx's and the hub's own, by version
        first_line = str(error).strip().partition("\n")[0]
        raise ModelNotFound(
            f"{name}: cannot be downloaded: {first_line}. Check the name, the revision "
            f"({revision or 'main'}) and the network; HF_ENDPOINT names a mirror; a gated model needs HF_TOKEN."
        ) from error


def _is_whole(folder: Path, name: str, wanted: _Wanted) -> bool:
    """Whether a cached snapshot holds the files that would be chosen from all those of its repository.

    What happens to be cached does not decide: a model downloaded as int8 must not stand in for its fp32 original. A
    snapshot that another tool downloaded has no listing, and is taken as it is.
    """
    listing, present = _listing(folder.name), _files_in(folder)
    try:
        listed = json.loads(listing.read_text(encoding="utf-8")) if os.path.isfile(listing) else present
        choice = _choose(listed, name, wanted, _model_type(folder))
    except (ModelError, ValueError, OSError):  # not chosen from what is there; a listing not whole or not readable
        return False
    beside = {EXIT_FILE} & set(listed) | _second(choice.weights, listed)
    return {choice.tokenizer, *choice.weights, *beside} <= present


def _second(weights: Iterable[str], listed: Iterable[str]) -> set[str]:
    """The weights of a second stage (`finerank.second_stage`) that lie beside these."""
    return {name.replace("model", "second", 1) for name in weights} & set(listed)


def _remember(commit: str, listed: list[str]) -> None:
    with suppress(OSError):  # a cache that cannot be written to is no reason to fail
        _listing(commit).parent.mkdir(parents=True, exist_ok=True)
        _listing(commit).write_text(json.dumps(listed), encoding="utf-8")


def _listing(commit: str) -> Path:
    """Where the names of all files of a hub commit are kept; a snapshot's folder is named for its commit."""
    return cache_dir() / "hub" / f"{commit}.json"
