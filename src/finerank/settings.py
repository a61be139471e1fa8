"""Every option once: name, default, allowed values, help. The only reader of the environment and of finerank.toml.

A value given in code or on the command line wins over `FINERANK_<NAME>` in the environment, which wins over
`finerank.toml` (in the working directory, or where `FINERANK_CONFIG` points), which wins over the default.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Self, TypedDict, get_args, get_origin

from finerank.errors import InvalidSetting

DEFAULT_MODEL = "ms-marco-MiniLM-L-12-v2-int8"
"""The model used when none is named: a folder of `finerank/models/`, a local folder, or a hub id."""

Dtype = Literal["auto", "fp32", "fp16", "bf16", "int16", "int8"]


class Options(TypedDict, total=False):
    """The keyword arguments of `Reranker.from_pretrained`; `Settings` says what each means."""

    revision: str | None
    backend: Literal["auto", "native", "torch", "transformers", "onnx"]
    device: str
    dtype: Dtype
    fallback: Literal["raise", "cpu"]
    threads: int | None
    max_length: int | None
    batch_tokens: int | None
    deterministic: bool
    threshold: float | None
    calibration: str
    template: str
    long_documents: Literal["truncate", "chunk"]
    chunk_overlap: int
    pooling: Literal["max", "first", "mean"]
    clean: bool
    cache: str
    cache_entries: int
    use_fp16: bool


def _option(default: Any, help: str) -> Any:  # noqa: ANN401 - what dataclasses.field returns
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Settings:
    """Validated options. Build it with `Settings.load`."""

    model: str = _option(DEFAULT_MODEL, "hub id, local folder, .onnx file, or the name of an embedded model")
    revision: str | None = _option(None, "branch, tag or commit of a hub model")
    backend: Literal["auto", "native", "torch", "transformers", "onnx"] = _option(
        "auto", "what runs the model; auto reads it off the model's files"
    )
    device: str = _option("auto", "auto, cpu, mps, cuda or cuda:N")
    dtype: Dtype = _option(
        "auto", "precision: auto is fp16 on a GPU, else int16 natively or fp32; int8 picks an int8 ONNX file"
    )
    fallback: Literal["raise", "cpu"] = _option("raise", "when even one pair does not fit on the GPU: raise, or go on")
    threads: int | None = _option(None, "CPU threads; unset leaves it to the runtime")
    max_length: int | None = _option(None, "longest pair in tokens; unset is what the model was tuned for")
    batch_tokens: int | None = _option(None, "tokens per batch; unset is 1024 on a CPU, 65536 on CUDA, 8192 on MPS")
    deterministic: bool = _option(False, "score every pair alone: bit-identical logits in any company")
    threshold: float | None = _option(None, "drop documents whose score (0..1) is below this")
    calibration: str = _option("auto", "auto takes the model folder's calibration.json, if any; off; or a file's path")
    template: str = _option("{query}", "how the query is put to the model; must contain {query}")
    long_documents: Literal["truncate", "chunk"] = _option("truncate", "cut long documents, or score them in passages")
    chunk_overlap: int = _option(32, "tokens that neighbouring passages of a chunked document share, at most")
    pooling: Literal["max", "first", "mean"] = _option(
        "max", "passage logits to a document's: the best, the first, or the mean of the best three"
    )
    clean: bool = _option(False, "strip HTML from documents before scoring")
    cache: str = _option("off", "score cache: off, memory, or the path of a file that processes share")
    cache_entries: int = _option(1_000_000, "scores the cache keeps before the oldest go")

    def __post_init__(self) -> None:
        for option in fields(self):
            _check_type(option.name, getattr(self, option.name), option.type)
        for name, low in (("threads", 1), ("max_length", 8), ("batch_tokens", 1), ("cache_entries", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise InvalidSetting(f"{name}={value}: must be at least {low}")
        if self.chunk_overlap < 0:
            raise InvalidSetting(f"chunk_overlap={self.chunk_overlap}: must be 0 or more")
        if "{query}" not in self.template:
            raise InvalidSetting(f"template={self.template!r}: must contain {{query}}")
        check_threshold(self.threshold)

    @classmethod
    def load(cls, **given: object) -> Self:
        """Settings from defaults, finerank.toml, the environment and `given`, the later over the earlier.

        `use_fp16=True` is understood as dtype="fp16", False as "fp32". A given None means "not given".
        Raises `InvalidSetting` on an unknown name or a wrong value.
        """
        layers = (_from_toml(), _from_environment(), {k: v for k, v in given.items() if v is not None})
        values = {name: value for layer in layers for name, value in _with_dtype(layer).items()}
        known = {option.name for option in fields(cls)}
        for name in values:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; the options are {', '.join(sorted(known))}"
                raise InvalidSetting(f"unknown option {name!r}{hint}")
        return cls(**values)  # type: ignore[arg-type]


def check_threshold(threshold: float | None) -> None:
    """Raise `InvalidSetting` unless `threshold` is None or a score between 0 and 1."""
    if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        raise InvalidSetting(f"threshold={threshold!r}: scores lie between 0 and 1")


def option_help(name: str) -> str:
    """The help text of one option."""
    return next(str(option.metadata["help"]) for option in fields(Settings) if option.name == name)


def cache_dir() -> Path:
    """Where finerank keeps files it can make again: FINERANK_CACHE_DIR, or finerank/ in the user's cache folder."""
    if "FINERANK_CACHE_DIR" in os.environ:
        return Path(os.environ["FINERANK_CACHE_DIR"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "finerank"


def _with_dtype(values: dict[str, object]) -> dict[str, object]:
    """The values with `use_fp16` as a dtype."""
    if "use_fp16" not in values:
        return values
    _check_type("use_fp16", values["use_fp16"], bool)
    if "dtype" in values:
        raise InvalidSetting(f"use_fp16={values['use_fp16']} and dtype={values['dtype']!r}: give one of them")
    dtype = "fp16" if values["use_fp16"] else "fp32"
    return {**{name: value for name, value in values.items() if name != "use_fp16"}, "dtype": dtype}


def _from_toml() -> dict[str, object]:
    given = os.environ.get("FINERANK_CONFIG")
    path = Path(given or "finerank.toml")
    if not path.is_file():
        if given:
            raise InvalidSetting(f"FINERANK_CONFIG={given}: no such file")
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path}: not readable as TOML: {error}") from error
    # Tables are sections of other parts of finerank; the options of the engine stand at the top.
    return {name: value for name, value in table.items() if not isinstance(value, dict)}


def _from_environment() -> dict[str, object]:
    values: dict[str, object] = {}
    for option in fields(Settings):
        name = f"FINERANK_{option.name.upper()}"
        if os.environ.get(name):
            values[option.name] = _parse(name, os.environ[name], _members(option.type))
    return values


def _members(type_: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a type expression
    """The plain types of an option: (int, NoneType) for `int | None`, (str,) for a Literal."""
    if get_origin(type_) is Literal:
        return (str,)
    return get_args(type_) or (type_,)


def _parse(name: str, text: str, types: tuple[Any, ...]) -> object:
    if bool in types:
        words: Mapping[str, bool] = {
            "1": True,
            "true": True,
            "yes": True,
            "0": False,
            "false": False,
            "no": False,
        }
        if text.lower() not in words:
            raise InvalidSetting(f"{name}={text}: must be true or false")
        return words[text.lower()]
    for number in (int, float):
        if number in types:
            try:
                return number(text)
            except ValueError as error:
                raise InvalidSetting(f"{name}={text}: must be a number ({number.__name__})") from error
    return text


def _check_type(name: str, value: object, type_: Any) -> None:  # noqa: ANN401 - a type expression
    if get_origin(type_) is Literal:
        if value not in get_args(type_):
            raise InvalidSetting(f"{name}={value!r}: must be one of {', '.join(map(str, get_args(type_)))}")
        return
    types = _members(type_)
    if isinstance(value, bool) and bool not in types:
        raise InvalidSetting(f"{name}={value!r}: must be {_names(types)}")
    if not isinstance(value, types + ((int,) if float in types else ())):
        raise InvalidSetting(f"{name}={value!r}: must be {_names(types)}")


def _names(types: tuple[Any, ...]) -> str:
    return " or ".join("unset" if t is NoneType else t.__name__ for t in types)
