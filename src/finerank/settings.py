"""Every option once: name, default, allowed values, help. The only reader of the environment and of finerank.toml.

A value given in code or on the command line wins over `FINERANK_<NAME>` in the environment, which wins over
`finerank.toml` (in the working directory, or where `FINERANK_CONFIG` points), which wins over the default. The engine's
options stand at the top of the file; those of the server in its table `[serve]`, and in `FINERANK_SERVE_<NAME>`;
those of the pipeline in `[rag]`, and in `FINERANK_RAG_<NAME>`. A wrong value is told with where it comes from.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Literal, Self, TypedDict, get_args, get_origin

from finerank.errors import InvalidSetting
from finerank.paths import cache_dir as cache_dir
from finerank.paths import expand

DEFAULT_MODEL = "finerank-mini"
"""The model used when none is named: a folder of `finerank/models/`, a local folder, or a hub id."""

DEFAULT_MODEL_LANGUAGES = (
    *("en", "zh", "zh-hant", "ja", "ko"),
    *("de", "fr", "es", "it", "pt", "ru", "tr", "ar", "vi", "th"),
)
"""What the default model reads, as ISO 639-1 codes."""

Dtype = Literal["auto", "fp32", "fp16", "bf16", "int16", "int8"]

_DTYPES: Mapping[str, str] = {
    **dict.fromkeys(("float32", "float"), "fp32"),
    **dict.fromkeys(("float16", "half"), "fp16"),
    "bfloat16": "bf16",
}
"""What torch and NumPy call a `Dtype`."""


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


def _option(default: Any, help: str, *, path: bool = False) -> Any:  # noqa: ANN401 - what dataclasses.field returns
    """`path` marks what may name a file or folder: `~` in it is the home folder."""
    return field(default=default, metadata={"help": help, "path": path})


def _secret(default: Any, help: str) -> Any:  # noqa: ANN401 - what dataclasses.field returns
    """An option that is never printed, and has no flag: other users of the machine can read command lines."""
    return field(default=default, repr=False, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of an option, where it was found, and the same in the words of an error."""

    value: Any
    origin: str
    place: str


@dataclass(frozen=True, slots=True)
class _Options:
    """A group of options: one table of finerank.toml."""

    TABLE: ClassVar[str] = ""

    @classmethod
    def load(cls, **given: object) -> Self:
        """Options from defaults, finerank.toml, the environment and `given`, the later over the earlier.

        A given None means "not given". Raises `InvalidSetting` on an unknown name or a wrong value.
        """
        return cls._of(cls._found(given))

    @classmethod
    def origins(cls, **given: object) -> list[tuple[str, object, str]]:
        """Every option as (name, value, where the value comes from)."""
        found = cls._found(given)
        loaded = cls._of(found)
        return [
            (
                option.name,
                getattr(loaded, option.name),
                found[option.name].origin if option.name in found else "default",
            )
            for option in fields(cls)
        ]

    @classmethod
    def _of(cls, found: Mapping[str, _Value]) -> Self:
        paths = {option.name for option in fields(cls) if option.metadata.get("path")}
        try:
            return cls(**{name: _expanded(each) if name in paths else each.value for name, each in found.items()})
        except InvalidSetting as error:
            if error.option not in found:
                raise
            raise InvalidSetting(f"{error} ({found[error.option].place})", option=error.option) from None

    @classmethod
    def _found(cls, given: Mapping[str, object]) -> dict[str, _Value]:
        """Option name to its value and where that was found."""
        arguments = {name: value for name, value in given.items() if value is not None}
        layers = (
            _from_toml(cls.TABLE),
            _from_environment(cls),
            {name: _Value(_plain(value), "given", "given as an argument") for name, value in arguments.items()},
        )
        found = {
            name: replace(each, value=_named(name, each.value))
            for layer in layers
            for name, each in _with_dtype(layer).items()
        }
        known = {option.name for option in fields(cls)}
        for name, each in found.items():
            if name not in known:
                hint = nearest(name, known) or f"; the options are {', '.join(sorted(known))}"
                raise InvalidSetting(f"unknown option {name!r}{hint} ({each.place})")
        return found

    def _check(self, **lowest: float) -> None:
        """Raise `InvalidSetting` on a wrong type, or on a value lower than it may be."""
        for option in fields(self):
            _check_type(option.name, getattr(self, option.name), option.type)
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and not value >= low:  # NaN is neither
                raise InvalidSetting(f"{name}={value}: must be at least {low}", option=name)


@dataclass(frozen=True, slots=True)
class Settings(_Options):
    """The engine's options, validated. Build it with `Settings.load`.

    `use_fp16=True` is understood as dtype="fp16", False as "fp32".
    """

    model: str = _option(DEFAULT_MODEL, "hub id, local folder, .onnx file, or the name of an embedded model", path=True)
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
        None,
        "the model that takes that look; unset is the model's own early exit, or finerank-mini",
        path=True,
    )
    threshold: float | None = _option(None, "drop documents whose score (0..1) is below this")
    calibration: str = _option(
        "auto", "auto takes the model folder's calibration.json, if any; off; or a file's path", path=True
    )
    template: str = _option(
        "{query}", "how the query is put to the model: {query}, and {instruction} where one is given"
    )
    long_documents: Literal["truncate", "chunk"] = _option("truncate", "cut long documents, or score them in passages")
    chunk_overlap: int = _option(32, "tokens that neighbouring passages of a chunked document share, at most")
    pooling: Literal["max", "first", "mean"] = _option(
        "max", "passage logits to a document's: the best, the first, or the mean of the best three"
    )
    clean: bool = _option(False, "strip HTML from documents before scoring")
    cache: str = _option("off", "score cache: off, memory, or the path of a file that processes share", path=True)
    cache_entries: int = _option(1_000_000, "scores the cache keeps before the oldest go")
    passage_cache_mb: int = _option(
        128, "late interaction on the native engine: memory for passages read before, which cost nothing; 0 keeps none"
    )

    def __post_init__(self) -> None:
        self._check(threads=1, max_length=8, batch_tokens=1, cache_entries=1, chunk_overlap=0, passage_cache_mb=0)
        if "{query}" not in self.template:
            raise InvalidSetting(f"template={self.template!r}: must contain {{query}}", option="template")
        check_device(self.device)
        check_threshold(self.threshold)


@dataclass(frozen=True, slots=True)
class ServeSettings(_Options):
    """The server's options, validated. Build it with `ServeSettings.load`."""

    TABLE: ClassVar[str] = "serve"

    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0 for every network, which needs API keys")
    port: int = _option(8000, "port to listen on; 0 takes a free one")
    more_models: tuple[str, ...] = _option(
        (), "models to serve beside the first, by name in a request; comma-separated", path=True
    )
    store: str | None = _option(
        None, "folder of a store made by `finerank index`: questions are answered from it", path=True
    )
    served_model_name: tuple[str, ...] = _option(
        (), "names that callers know the first model by; comma-separated, the first is in the answers"
    )
    api_keys: tuple[str, ...] = _secret((), "keys that may rank, comma-separated; better in a file")
    api_keys_file: str | None = _option(None, "file with one API key a line", path=True)
    admin_keys: tuple[str, ...] = _secret(
        (), "keys that may do everything: also load models and set baselines, comma-separated; better in a file"
    )
    admin_keys_file: str | None = _option(None, "file with one admin key a line", path=True)
    metrics_key: str | None = _secret(
        None, "key for /metrics, statistics and ranking health; unset lets API keys read them"
    )
    auth: Literal["auto", "optional", "off"] = _option(
        "auto", "without keys auto lets callers on loopback in and optional all; off ignores API keys that are set"
    )
    cors_origins: tuple[str, ...] = _option((), "web origins that may call from a browser, comma-separated; * for all")
    allowed_hosts: tuple[str, ...] = _option(
        (), "host names to answer to besides loopback's, comma-separated; unset: any, but loopback only without keys"
    )
    max_body_mb: int = _option(16, "largest request body in megabytes (10^6 bytes)")
    max_documents: int = _option(2000, "most documents in a request")
    max_request_tokens: int = _option(1_000_000, "most tokens in a request, counted in pairs as the model reads them")
    max_queue_tokens: int = _option(250_000, "most tokens waiting; a request beyond is refused with 429")
    max_requests: int = _option(256, "most requests waiting or being answered at once; one beyond gets 429")
    max_connections: int | None = _option(None, "most open connections; unset follows the limit on open files")
    max_peer_connections: int | None = _option(None, "most open connections of one client address; unset is half")
    timeout_s: float = _option(60.0, "seconds after which a request is given up; X-Request-Timeout may ask for fewer")
    header_timeout_s: float = _option(10.0, "seconds in which the headers of a request must arrive")
    body_timeout_s: float = _option(30.0, "seconds in which the body of a request must arrive")
    write_timeout_s: float = _option(30.0, "seconds after which a client that reads no more of its response is cut off")
    shutdown_s: float = _option(30.0, "seconds that accepted requests may take once the server is told to stop")
    idle_unload_s: float | None = _option(None, "unload a model unused for so many seconds; the next request loads it")
    fail_open: bool = _option(False, "when scoring fails or is late, return the caller's own order, marked degraded")
    log_format: Literal["json", "text"] = _option("json", "log lines as JSON objects, or as text for people")
    log_text: bool = _option(False, "write queries and documents into the log")
    state_dir: str | None = _option(
        None, "where ranking health is kept over a restart; unset is finerank's cache folder", path=True
    )
    health_window_s: float = _option(3600.0, "seconds that ranking health looks back")
    low_score: float = _option(0.3, "scores below this count as low in ranking health")
    alert_webhook: str | None = _option(None, "URL that gets ranking-health alerts as JSON")

    def __post_init__(self) -> None:
        sizes = ("max_body_mb", "max_documents", "max_request_tokens", "max_queue_tokens")
        counts = ("max_requests", "max_connections", "max_peer_connections")
        self._check(port=0, shutdown_s=0, **dict.fromkeys((*sizes, *counts), 1))
        timeouts = ("timeout_s", "header_timeout_s", "body_timeout_s", "write_timeout_s")
        for name in (*timeouts, "idle_unload_s", "health_window_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidSetting(f"{name}={value}: must be more than 0", option=name)
        if self.alert_webhook is not None and not re.match(r"https?://[^/]", self.alert_webhook):
            # Without the value: the path of such a URL is often its secret.
            raise InvalidSetting("alert_webhook: must be http://host/... or https://host/...", option="alert_webhook")
        if self.port > 65535:
            raise InvalidSetting(f"port={self.port}: ports end at 65535", option="port")
        check_threshold(self.low_score, "low_score")


def check_device(device: str) -> None:
    """Raise `InvalidSetting` unless this is auto, or names a device as torch does."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise InvalidSetting(f"device={device!r}: must be auto, cpu, mps, cuda or cuda:N", option="device")


def check_threshold(threshold: float | None, option: str = "threshold") -> float | None:
    """The same as a Python number. Raises `InvalidSetting` unless it is None or a score between 0 and 1."""
    if threshold is not None and not (isinstance(threshold, Real) and 0 <= threshold <= 1):
        raise InvalidSetting(f"{option}={threshold!r}: scores lie between 0 and 1", option=option)
    return None if threshold is None else float(threshold)


def check_top_n(top_n: int | None) -> int | None:
    """The same as a Python number. Raises `InvalidSetting` unless it is None or a count."""
    if top_n is not None and (not isinstance(top_n, Integral) or top_n < 0):
        raise InvalidSetting(f"top_n={top_n!r}: must be a whole number, 0 or more", option="top_n")
    return None if top_n is None else int(top_n)


def option_help(name: str, options: type[_Options] = Settings) -> str:
    """The help text of one option."""
    return next(str(option.metadata["help"]) for option in fields(options) if option.name == name)


def option_choices(name: str, options: type[_Options] = Settings) -> tuple[str, ...]:
    """The values that one option takes, if they are fixed."""
    type_ = next(option.type for option in fields(options) if option.name == name)
    return get_args(type_) if get_origin(type_) is Literal else ()


def split_list(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated option."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def unknown_variables() -> list[str]:
    """What to say of each FINERANK_ variable in the environment that nothing reads."""
    options = {_prefix(group) + option.name.upper() for group in _GROUPS for option in fields(group)}
    known = options | _OTHER_VARIABLES
    return [
        f"{name}: nothing reads this variable{nearest(name, known, 0.8)}"
        for name, value in sorted(os.environ.items())
        if name.startswith("FINERANK_") and name not in known and not _links_service(name, value)
    ]


def _links_service(name: str, value: str) -> bool:
    """Whether Kubernetes set it: it tells every container of a service named finerank."""
    return bool(re.search(r"_SERVICE_(HOST|PORT)|_PORT_\d+_", name)) or value.startswith(("tcp://", "udp://"))


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The end of an error about an unknown name: `; did you mean NAME?`, or nothing where none is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=likeness)
    return f"; did you mean {near[0]}?" if near else ""


def _expanded(found: _Value) -> object:
    """A path, or several, with `~` replaced by the home folder."""
    if isinstance(found.value, tuple):
        return tuple(_expanded(replace(found, value=each)) for each in found.value)
    if not isinstance(found.value, str) or not found.value.startswith("~"):
        return found.value
    try:
        return str(expand(found.value))
    except InvalidSetting as error:
        raise InvalidSetting(f"{error} ({found.place})") from error


def _plain(value: object) -> object:
    """NumPy's numbers, strings and truth values as Python's, and a path as a string."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not isinstance(value, type):
        return value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _named(name: str, value: object) -> object:
    """A device or a dtype of torch or NumPy, or a CUDA device's number, under the name that finerank has for it."""
    if name == "device" and not isinstance(value, str):
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return f"cuda:{value}"
        return str(value) if hasattr(value, "type") and hasattr(value, "index") else value
    if name == "dtype":
        word = getattr(value, "__name__", None) or str(value)
        return _DTYPES.get(short := word.rpartition(".")[2], short if short in get_args(Dtype) else value)
    return value


def _with_dtype(found: dict[str, _Value]) -> dict[str, _Value]:
    """The same with `use_fp16` as a dtype."""
    if "use_fp16" not in found:
        return found
    given = found["use_fp16"]
    if not isinstance(given.value, bool):
        raise InvalidSetting(f"use_fp16={given.value!r}: must be bool ({given.place})", option="use_fp16")
    if "dtype" in found:
        raise InvalidSetting(f"use_fp16={given.value} and dtype={found['dtype'].value!r}: give one of them")
    rest = {name: each for name, each in found.items() if name != "use_fp16"}
    return {**rest, "dtype": replace(given, value="fp16" if given.value else "fp32")}


def _from_toml(table: str) -> dict[str, _Value]:
    given = os.environ.get("FINERANK_CONFIG")
    path = expand(given or "finerank.toml")
    if not os.path.isfile(path):  # Path.is_file raises where the folder may not be entered
        if given:
            raise InvalidSetting(f"FINERANK_CONFIG={given}: no such file")
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidSetting(
            f"{path}: {error.strerror}; make it readable, or point FINERANK_CONFIG elsewhere"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path}: not readable as TOML: {error}") from error
    _check_tables(path, content)
    values = content
    if table:
        values = content.get(table, {})
        if not isinstance(values, dict):
            raise InvalidSetting(f"{path}: {table} must be a table, [{table}]")
    prefix = f"{table}." if table else ""
    return {
        name: _Value(tuple(value) if isinstance(value, list) else value, str(path), f"{prefix}{name} in {path}")
        for name, value in values.items()
        if table or name not in _tables()
    }


def _tables() -> set[str]:
    return {group.TABLE for group in _GROUPS if group.TABLE}


def _check_tables(path: Path, content: Mapping[str, object]) -> None:
    """Raise `InvalidSetting` on a table that nothing reads."""
    known = _tables()
    for name, value in content.items():
        if isinstance(value, dict) and name not in known | {option.name for option in fields(Settings)}:
            hint = nearest(name, known) or f"; the tables are {', '.join(sorted(known))}"
            raise InvalidSetting(f"{path}: unknown table [{name}]{hint}")


def _from_environment(options: type[_Options]) -> dict[str, _Value]:
    found = {}
    for option in fields(options):
        name = f"{_prefix(options)}{option.name.upper()}"
        if os.environ.get(name):
            found[option.name] = _Value(_parse(name, os.environ[name], _members(option.type)), name, f"from {name}")
    return found


def _prefix(options: type[_Options]) -> str:
    """How the names of a group's variables begin."""
    return f"FINERANK_{options.TABLE.upper()}_" if options.TABLE else "FINERANK_"


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
    must = _demand(value, type_)
    if must:
        raise InvalidSetting(f"{name}={value!r}: must be {must}", option=name)


def _demand(value: object, type_: Any) -> str:  # noqa: ANN401 - a type expression
    """What the type asks of a value that is not of it, in words; empty if it is."""
    if get_origin(type_) is Literal:
        choices = get_args(type_)
        return "" if value in choices else f"one of {', '.join(map(str, choices))}"
    types = _members(type_)
    odd_bool = isinstance(value, bool) and bool not in types
    if odd_bool or not isinstance(value, types + ((int,) if float in types else ())):
        return _names(types)
    kind = get_args(type_)[0] if isinstance(value, tuple) else None
    if isinstance(value, tuple) and not all(isinstance(part, get_origin(kind) or str) for part in value):
        return f"a list of {'strings' if kind is str else 'tables'}"
    return ""


def _names(types: tuple[Any, ...]) -> str:
    words = {NoneType: "unset", tuple: "a list"}
    return " or ".join(words.get(t, t.__name__) for t in types)


@dataclass(frozen=True, slots=True)
class RagSettings(_Options):
    """The options of the pipeline, validated. Build it with `RagSettings.load`."""

    TABLE: ClassVar[str] = "rag"

    mode: Literal["hybrid", "vector", "text"] = _option("hybrid", "recall by vectors and words, or by one of them")
    recall: int = _option(100, "passages the first stage finds")
    light_model: str | None = _option(None, "a quick reranker that goes first; unset leaves that stage out", path=True)
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
    embedder: str = _option(
        "finerank-embed", "finerank-embed, a local folder, a hub id, or an endpoint's URL", path=True
    )
    embedder_model: str = _option("", "the model an embedding endpoint shall use")
    embedder_key: str = field(default="", repr=False, metadata={"help": "the embedding endpoint's key"})
    passage_terms: int = _option(200, "longest passage: words, or characters of scripts without spaces")
    overlap_terms: int = _option(32, "terms that neighbouring passages share, at most")
    ocr: str = _option(
        "", "reads pages that are images: a command with {image} that prints the text, or module:function"
    )
    read_timeout_s: float = _option(120.0, "seconds that reading one PDF or office file, or OCR of one page, may take")
    read_memory_mb: int = _option(1024, "megabytes of memory that reading one PDF or office file may take")
    boilerplate: bool = _option(False, "keep navigation, footers, banners and hidden text of HTML")
    generator_url: str = _option("", "an OpenAI-compatible endpoint, as http://localhost:11434/v1; empty: none")
    generator_model: str = _option("", "the model it shall use")
    generator_key: str = field(default="", repr=False, metadata={"help": "its key"})
    generator_timeout_s: float = _option(60.0, "seconds without a word from it that are too many")
    generator_max_tokens: int = _option(4096, "tokens it may write for an answer, its reasoning included")
    answer_cache_s: float = _option(3600.0, "seconds an answer is kept for the same question; 0 keeps none")
    rules: tuple[Mapping[str, object], ...] = _option((), "the tables [[rag.rules]]: what is dropped, and why")

    def __post_init__(self) -> None:
        at_least_one = ("recall", "light_top", "rerank_top", "prompt_top", "passage_terms", "generator_max_tokens")
        self._check(overlap_terms=0, answer_cache_s=0, read_memory_mb=128, **dict.fromkeys(at_least_one, 1))
        for name in ("threshold", "rule_score", "merge_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidSetting(f"{name}={getattr(self, name)}: must lie between 0 and 1", option=name)
        template = self.rewrite_template
        for name in ("generator_timeout_s", "read_timeout_s"):
            if not (timeout_s := getattr(self, name)) > 0:
                raise InvalidSetting(f"{name}={timeout_s}: must be more than 0", option=name)
        if "{question}" not in template:
            raise InvalidSetting(f"rewrite_template={template!r}: must contain {{question}}", option="rewrite_template")


_GROUPS: tuple[type[_Options], ...] = (Settings, ServeSettings, RagSettings)

_OTHER_VARIABLES = frozenset({"FINERANK_CONFIG", "FINERANK_CACHE_DIR", "FINERANK_API_KEY", "FINERANK_ENCODING"})
"""Variables that are no option's: the settings' file, the cache folder, the key that `finerank mcp` sends, and the
encoding of what commands read."""
