"""Every option once: name, default, allowed values, help. The only reader of the environment and of finerank.toml.

A value given in code or on the command line wins over `FINERANK_<NAME>` in the environment, which wins over
`finerank.toml` (in the working directory, or where `FINERANK_CONFIG` points), which wins over the default. The engine's
options stand at the top of the file; those of the server in its table `[serve]`, and in `FINERANK_SERVE_<NAME>`;
those of the pipeline in `[rag]`, and in `FINERANK_RAG_<NAME>`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Literal, Self, TypedDict, get_args, get_origin

from finerank.errors import InvalidSetting

DEFAULT_MODEL = "finerank-mini"
"""The model used when none is named: a folder of `finerank/models/`, a local folder, or a hub id."""

DEFAULT_MODEL_LANGUAGES = (
    *("en", "zh", "zh-hant", "ja", "ko"),
    *("de", "fr", "es", "it", "pt", "ru", "tr", "ar", "vi", "th"),
)
"""What the default model reads, as ISO 639-1 codes."""

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
    effort: Literal["full", "fast"]
    first_model: str | None
    threshold: float | None
    calibration: str
    template: str
    long_documents: Literal["truncate", "chunk"]
    chunk_overlap: int
    pooling: Literal["max", "first", "mean"]
    clean: bool
    cache: str
    cache_entries: int
    passage_cache_mb: int
    use_fp16: bool


def _option(default: Any, help: str) -> Any:  # noqa: ANN401 - what dataclasses.field returns
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class _Options:
    """A group of options: one table of finerank.toml."""

    TABLE: ClassVar[str] = ""

    @classmethod
    def load(cls, **given: object) -> Self:
        """Options from defaults, finerank.toml, the environment and `given`, the later over the earlier.

        A given None means "not given". Raises `InvalidSetting` on an unknown name or a wrong value.
        """
        return cls(**{name: value for name, (value, _) in cls._found(given).items()})

    @classmethod
    def origins(cls, **given: object) -> list[tuple[str, object, str]]:
        """Every option as (name, value, where the value comes from)."""
        found, loaded = cls._found(given), cls.load(**given)
        return [
            (option.name, getattr(loaded, option.name), found.get(option.name, ("", "default"))[1])
            for option in fields(cls)
        ]

    @classmethod
    def _found(cls, given: Mapping[str, object]) -> dict[str, tuple[Any, str]]:
        """Option name to its value and where that was found."""
        layers = (
            _from_toml(cls.TABLE),
            _from_environment(cls),
            {name: (value, "given") for name, value in given.items() if value is not None},
        )
        found = {name: value for layer in layers for name, value in _with_dtype(layer).items()}
        known = {option.name for option in fields(cls)}
        for name in found:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; the options are {', '.join(sorted(known))}"
                raise InvalidSetting(f"unknown option {name!r}{hint}")
        return found

    def _check(self, **lowest: float) -> None:
        """Raise `InvalidSetting` on a wrong type, or on a value lower than it may be."""
        for option in fields(self):
            _check_type(option.name, getattr(self, option.name), option.type)
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise InvalidSetting(f"{name}={value}: must be at least {low}")


@dataclass(frozen=True, slots=True)
class Settings(_Options):
    """The engine's options, validated. Build it with `Settings.load`.

    `use_fp16=True` is understood as dtype="fp16", False as "fp32".
    """

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
    threads: int | None = _option(
        None, "CPU threads; unset is one a core within the quota of a container; torch decides by itself"
    )
    max_length: int | None = _option(None, "longest pair in tokens; unset is what the model was tuned for")
    batch_tokens: int | None = _option(
        None, "tokens per batch; unset is 2048 natively, else 1024 on a CPU, 65536 on CUDA, 8192 on MPS"
    )
    deterministic: bool = _option(False, "score every pair alone: bit-identical logits in any company")
    effort: Literal["full", "fast"] = _option(
        "full", "fast: where the first N are asked for, score only what a quick first look leaves"
    )
    first_model: str | None = _option(
        None, "the model that takes that look; unset is the model's own early exit, or finerank-mini"
    )
    threshold: float | None = _option(None, "drop documents whose score (0..1) is below this")
    calibration: str = _option("auto", "auto takes the model folder's calibration.json, if any; off; or a file's path")
    template: str = _option(
        "{query}", "how the query is put to the model: {query}, and {instruction} where one is given"
    )
    long_documents: Literal["truncate", "chunk"] = _option("truncate", "cut long documents, or score them in passages")
    chunk_overlap: int = _option(32, "tokens that neighbouring passages of a chunked document share, at most")
    pooling: Literal["max", "first", "mean"] = _option(
        "max", "passage logits to a document's: the best, the first, or the mean of the best three"
    )
    clean: bool = _option(False, "strip HTML from documents before scoring")
    cache: str = _option("off", "score cache: off, memory, or the path of a file that processes share")
    cache_entries: int = _option(1_000_000, "scores the cache keeps before the oldest go")
    passage_cache_mb: int = _option(
        128, "late interaction on the native engine: memory for passages read before, which cost nothing; 0 keeps none"
    )

    def __post_init__(self) -> None:
        self._check(threads=1, max_length=8, batch_tokens=1, cache_entries=1, chunk_overlap=0, passage_cache_mb=0)
        if "{query}" not in self.template:
            raise InvalidSetting(f"template={self.template!r}: must contain {{query}}")
        check_device(self.device)
        check_threshold(self.threshold)


@dataclass(frozen=True, slots=True)
class ServeSettings(_Options):
    """The server's options, validated. Build it with `ServeSettings.load`."""

    TABLE: ClassVar[str] = "serve"

    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0 for every network, which needs API keys")
    port: int = _option(8000, "port to listen on; 0 takes a free one")
    more_models: tuple[str, ...] = _option(
        (), "models to serve beside the first, by name in a request; comma-separated"
    )
    store: str | None = _option(None, "folder of a store made by `finerank index`: questions are answered from it")
    api_keys: tuple[str, ...] = _option((), "keys that callers must send, comma-separated; better in a file")
    api_keys_file: str | None = _option(None, "file with one API key a line")
    auth: Literal["auto", "off"] = _option(
        "auto", "off lets anyone in who reaches the port; auto only on loopback without keys"
    )
    cors_origins: tuple[str, ...] = _option((), "web origins that may call from a browser, comma-separated; * for all")
    max_body_mb: int = _option(16, "largest request body in megabytes (10^6 bytes)")
    max_documents: int = _option(2000, "most documents in a request")
    max_request_tokens: int = _option(1_000_000, "most tokens in a request, counted in pairs as the model reads them")
    max_queue_tokens: int = _option(250_000, "most tokens waiting; a request beyond is refused with 429")
    max_requests: int = _option(256, "most requests being read, waiting or answered at once; one beyond gets 429")
    timeout_s: float = _option(60.0, "seconds after which a request is given up; X-Request-Timeout may ask for fewer")
    shutdown_s: float = _option(30.0, "seconds that accepted requests may take once the server is told to stop")
    idle_unload_s: float | None = _option(None, "unload a model unused for so many seconds; the next request loads it")
    fail_open: bool = _option(False, "when scoring fails or is late, return the caller's own order, marked degraded")
    log_text: bool = _option(False, "write queries and documents into the log")
    state_dir: str | None = _option(
        None, "where ranking health is kept over a restart; unset is finerank's cache folder"
    )
    health_window_s: float = _option(3600.0, "seconds that ranking health looks back")
    low_score: float = _option(0.3, "scores below this count as low in ranking health")
    alert_webhook: str | None = _option(None, "URL that gets ranking-health alerts as JSON")

    def __post_init__(self) -> None:
        at_least_one = ("max_body_mb", "max_documents", "max_request_tokens", "max_queue_tokens", "max_requests")
        self._check(port=0, shutdown_s=0, **dict.fromkeys(at_least_one, 1))
        for name in ("timeout_s", "idle_unload_s", "health_window_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidSetting(f"{name}={value}: must be more than 0")
        if self.port > 65535:
            raise InvalidSetting(f"port={self.port}: ports end at 65535")
        check_threshold(self.low_score)


def check_device(device: str) -> None:
    """Raise `InvalidSetting` unless this is auto, or names a device as torch does."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise InvalidSetting(f"device={device!r}: must be auto, cpu, mps, cuda or cuda:N")


def check_threshold(threshold: float | None) -> None:
    """Raise `InvalidSetting` unless `threshold` is None or a score between 0 and 1."""
    if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        raise InvalidSetting(f"threshold={threshold!r}: scores lie between 0 and 1")


def check_top_n(top_n: int | None) -> None:
    """Raise `InvalidSetting` unless `top_n` is None or a count."""
    if top_n is not None and (not isinstance(top_n, int) or top_n < 0):
        raise InvalidSetting(f"top_n={top_n!r}: must be a whole number, 0 or more")


def option_help(name: str, options: type[_Options] = Settings) -> str:
    """The help text of one option."""
    return next(str(option.metadata["help"]) for option in fields(options) if option.name == name)


def split_list(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated option."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def cache_dir() -> Path:
    """Where finerank keeps files it can make again: FINERANK_CACHE_DIR, or finerank/ in the user's cache folder."""
    if "FINERANK_CACHE_DIR" in os.environ:
        return Path(os.environ["FINERANK_CACHE_DIR"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "finerank"


_Found = dict[str, tuple[object, str]]
"""Option name to its value and where that was found."""


def _with_dtype(found: _Found) -> _Found:
    """The same with `use_fp16` as a dtype."""
    if "use_fp16" not in found:
        return found
    value, origin = found["use_fp16"]
    _check_type("use_fp16", value, bool)
    if "dtype" in found:
        raise InvalidSetting(f"use_fp16={value} and dtype={found['dtype'][0]!r}: give one of them")
    rest = {name: entry for name, entry in found.items() if name != "use_fp16"}
    return {**rest, "dtype": ("fp16" if value else "fp32", origin)}


def _from_toml(table: str) -> _Found:
    given = os.environ.get("FINERANK_CONFIG")
    path = Path(given or "finerank.toml")
    if not path.is_file():
        if given:
            raise InvalidSetting(f"FINERANK_CONFIG={given}: no such file")
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path}: not readable as TOML: {error}") from error
    if not table:  # the engine's options stand at the top, beside the tables of other parts of finerank
        values = {name: value for name, value in content.items() if not isinstance(value, dict)}
    else:
        values = content.get(table, {})
        if not isinstance(values, dict):
            raise InvalidSetting(f"{path}: {table} must be a table, [{table}]")
    return {name: (tuple(v) if isinstance(v, list) else v, str(path)) for name, v in values.items()}


def _from_environment(options: type[_Options]) -> _Found:
    found: _Found = {}
    prefix = f"FINERANK_{options.TABLE.upper()}_" if options.TABLE else "FINERANK_"
    for option in fields(options):
        name = f"{prefix}{option.name.upper()}"
        if os.environ.get(name):
            found[option.name] = (_parse(name, os.environ[name], _members(option.type)), name)
    return found


def _members(type_: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a type expression
    """The plain types of an option: (int, NoneType) for `int | None`, (str,) for a Literal, (tuple,) for a tuple."""
    if get_origin(type_) is Literal:
        return (str,)
    return (tuple,) if get_origin(type_) is tuple else get_args(type_) or (type_,)


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
    if tuple in types:
        return split_list(text)
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
    kind = get_args(type_)[0] if isinstance(value, tuple) else None
    if isinstance(value, tuple) and not all(isinstance(part, get_origin(kind) or str) for part in value):
        raise InvalidSetting(f"{name}={value!r}: must be a list of {'strings' if kind is str else 'tables'}")


def _names(types: tuple[Any, ...]) -> str:
    words = {NoneType: "unset", tuple: "a list"}
    return " or ".join(words.get(t, t.__name__) for t in types)


@dataclass(frozen=True, slots=True)
class RagSettings(_Options):
    """The options of the pipeline, validated. Build it with `RagSettings.load`."""

    TABLE: ClassVar[str] = "rag"

    mode: Literal["hybrid", "vector", "text"] = _option("hybrid", "recall by vectors and words, or by one of them")
    recall: int = _option(100, "passages the first stage finds")
    light_model: str | None = _option(None, "a quick reranker that goes first; unset leaves that stage out")
    light_top: int = _option(30, "passages it leaves to the reranker")
    rerank_top: int = _option(10, "passages that are kept of the reranked ones")
    prompt_top: int = _option(5, "passages that the answer is made from")
    threshold: float = _option(0.3, "passages below this score (0..1) answer nothing")
    rule_score: float = _option(0.7, "the rules drop only passages below this score (0..1)")
    merge_overlap: float = _option(0.9, "passages that share this much of their terms (0..1) are merged")
    gate: Literal["auto", "rerank", "blend", "keep"] = _option(
        "auto", "trust the reranker's order, blend it with the first stage's or keep that; auto goes by the evidence"
    )
    rewrite: Literal["off", "template", "generator"] = _option("off", "what rewrites the question before recall")
    rewrite_template: str = _option("{question}", "the question, rewritten; must contain {question}")
    embedder: str = _option("finerank-embed", "finerank-embed, a local folder, a hub id, or an endpoint's URL")
    embedder_model: str = _option("", "the model an embedding endpoint shall use")
    embedder_key: str = field(default="", repr=False, metadata={"help": "the embedding endpoint's key"})
    passage_terms: int = _option(200, "longest passage: words, or characters of scripts without spaces")
    overlap_terms: int = _option(32, "terms that neighbouring passages share, at most")
    generator_url: str = _option("", "an OpenAI-compatible endpoint, as http://localhost:11434/v1; empty: none")
    generator_model: str = _option("", "the model it shall use")
    generator_key: str = field(default="", repr=False, metadata={"help": "its key"})
    generator_timeout_s: float = _option(60.0, "seconds without a word from it that are too many")
    answer_cache_s: float = _option(3600.0, "seconds an answer is kept for the same question; 0 keeps none")
    rules: tuple[Mapping[str, object], ...] = _option((), "the tables [[rag.rules]]: what is dropped, and why")

    def __post_init__(self) -> None:
        at_least_one = ("recall", "light_top", "rerank_top", "prompt_top", "passage_terms")
        self._check(overlap_terms=0, answer_cache_s=0, **dict.fromkeys(at_least_one, 1))
        for name in ("threshold", "rule_score", "merge_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidSetting(f"{name}={getattr(self, name)}: must lie between 0 and 1")
        if self.generator_timeout_s <= 0:
            raise InvalidSetting(f"generator_timeout_s={self.generator_timeout_s}: must be more than 0")
        if "{question}" not in self.rewrite_template:
            raise InvalidSetting(f"rewrite_template={self.rewrite_template!r}: must contain {{question}}")
