import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from finerank import InvalidSetting
from finerank.settings import (
    DEFAULT_MODEL,
    RagSettings,
    ServeSettings,
    Settings,
    check_threshold,
    check_top_n,
    option_choices,
    option_help,
    unknown_variables,
)

WriteToml = Callable[[str], Path]


@pytest.fixture(autouse=True)
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteToml:
    """In an empty working directory: writes its finerank.toml."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "finerank.toml"

    def write(text: str) -> Path:
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_given_over_environment_over_toml_over_default(toml: WriteToml, monkeypatch: pytest.MonkeyPatch) -> None:
    toml('threads = 1\nmax_length = 100\npooling = "mean"')
    monkeypatch.setenv("FINERANK_THREADS", "2")
    monkeypatch.setenv("FINERANK_MAX_LENGTH", "200")
    settings = Settings.load(threads=3)
    assert (settings.threads, settings.max_length, settings.pooling) == (3, 200, "mean")
    assert (settings.model, settings.cache) == (DEFAULT_MODEL, "off")


def test_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINERANK_MODEL", "from/environment")
    assert Settings.load(model=None).model == "from/environment"


def test_config_file_named_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("threads = 7\n[serve]\nport = 9000\n[rag]\nrecall = 8")
    monkeypatch.setenv("FINERANK_CONFIG", str(tmp_path / "other.toml"))
    assert Settings.load().threads == 7
    monkeypatch.setenv("FINERANK_CONFIG", "missing.toml")
    with pytest.raises(InvalidSetting, match=r"FINERANK_CONFIG=missing\.toml: no such file"):
        Settings.load()


@pytest.mark.parametrize("content", [b"threads = ", b"cache = '\xff'"])
def test_broken_toml_is_an_error_naming_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "finerank.toml").write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"finerank\.toml: not readable as TOML"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("deterministic", "1", True),
        ("deterministic", "True", True),
        ("deterministic", "yes", True),
        ("clean", "0", False),
        ("clean", "no", False),
        ("threads", "4", 4),
        ("threshold", "0.25", 0.25),
        ("dtype", "bf16", "bf16"),
        ("revision", "", None),
    ],
)
def test_environment_values_are_parsed(name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FINERANK_{name.upper()}", text)
    found = getattr(Settings.load(), name)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("CLEAN", "maybe", "FINERANK_CLEAN=maybe: must be true or false"),
        ("THREADS", "two", "FINERANK_THREADS=two: must be a number (int)"),
        ("THREADS", "2.5", "FINERANK_THREADS=2.5: must be a number (int)"),
        ("THRESHOLD", "high", "FINERANK_THRESHOLD=high: must be a number (float)"),
        ("POOLING", "median", "pooling='median': must be one of max, first, mean"),
    ],
)
def test_wrong_environment_values(name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FINERANK_{name}", text)
    with pytest.raises(InvalidSetting, match=re.escape(message)):
        Settings.load()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"treshold": 0.5}, "unknown option 'treshold'; did you mean threshold?"),
        ({"zzz": 1}, "unknown option 'zzz'; the options are backend, batch_tokens,"),
        ({"threads": "4"}, "threads='4': must be int or unset"),
        ({"threads": True}, "threads=True: must be int or unset"),
        ({"threads": 1.5}, "threads=1.5: must be int or unset"),
        ({"clean": 1}, "clean=1: must be bool"),
        ({"use_fp16": "no"}, "use_fp16='no': must be bool"),
        ({"threshold": "0.5"}, "threshold='0.5': must be float or unset"),
        ({"pooling": "best"}, "pooling='best': must be one of max, first, mean"),
        ({"threads": 0}, "threads=0: must be at least 1"),
        ({"max_length": 7}, "max_length=7: must be at least 8"),
        ({"batch_tokens": 0}, "batch_tokens=0: must be at least 1"),
        ({"cache_entries": 0}, "cache_entries=0: must be at least 1"),
        ({"chunk_overlap": -1}, "chunk_overlap=-1: must be at least 0"),
        ({"threshold": 1.5}, "threshold=1.5: scores lie between 0 and 1"),
        ({"threshold": float("nan")}, "threshold=nan: scores lie between 0 and 1"),
        ({"template": "Query:"}, "template='Query:': must contain {query}"),
    ],
)
def test_wrong_options_name_the_value_and_the_fix(option: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(message)):
        Settings.load(**option)


@pytest.mark.parametrize(
    ("options", "toml_text", "message"),
    [
        (Settings, "threads = 0", "threads=0: must be at least 1 (threads in finerank.toml)"),
        (Settings, "template = {}", "template={}: must be str (template in finerank.toml)"),
        (Settings, "treshold = 1", "did you mean threshold? (treshold in finerank.toml)"),
        (Settings, "use_fp16 = 1", "use_fp16=1: must be bool (use_fp16 in finerank.toml)"),
        (ServeSettings, "[serve]\nport = 70000", "port=70000: ports end at 65535 (serve.port in finerank.toml)"),
        (
            ServeSettings,
            "[serve]\nlow_score = 2",
            "low_score=2: scores lie between 0 and 1 (serve.low_score in finerank.",
        ),
        (ServeSettings, "[serve]\nprot = 1", "unknown option 'prot'; did you mean port? (serve.prot in finerank.toml)"),
        (
            RagSettings,
            "[rag]\nmode = 'best'",
            "mode='best': must be one of hybrid, vector, text (rag.mode in finerank.",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_key(options: type, toml_text: str, message: str, toml: WriteToml) -> None:
    toml(toml_text)
    with pytest.raises(InvalidSetting, match=re.escape(message)):
        options.load()


def test_a_wrong_value_is_told_with_its_variable_or_as_an_argument(
    toml: WriteToml, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml("threads = 0\n[rag]\nrecall = 0")
    monkeypatch.setenv("FINERANK_THREADS", "-1")
    with pytest.raises(InvalidSetting, match=r"^threads=-1: must be at least 1 \(from FINERANK_THREADS\)$"):
        Settings.load()
    with pytest.raises(InvalidSetting, match=r"^threads=-2: must be at least 1 \(given as an argument\)$"):
        Settings.load(threads=-2)
    monkeypatch.setenv("FINERANK_RAG_RECALL", "-1")
    with pytest.raises(InvalidSetting, match=r"^recall=-1: must be at least 1 \(from FINERANK_RAG_RECALL\)$"):
        RagSettings.load()
    with pytest.raises(InvalidSetting, match=r"^threads=-3: must be at least 1$"):
        Settings(threads=-3)


@pytest.mark.parametrize("options", [Settings, ServeSettings, RagSettings])
def test_an_unknown_table_is_an_error_that_names_the_nearest(options: type, toml: WriteToml) -> None:
    toml("[sevre]\nport = 1")
    with pytest.raises(InvalidSetting, match=r"finerank\.toml: unknown table \[sevre\]; did you mean serve\?"):
        options.load()
    toml("[another_part]\nport = 1")
    with pytest.raises(InvalidSetting, match=r"unknown table \[another_part\]; the tables are rag, serve"):
        options.load()


def test_variables_that_nothing_reads_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    read = ("FINERANK_THREADS", "FINERANK_SERVE_PORT", "FINERANK_RAG_MODE", "FINERANK_CACHE_DIR", "FINERANK_API_KEY")
    for name in (*read, "FINERANK_SERVICE_HOST", "FINERANK_PORT_8000_TCP_ADDR", "OTHER_TRESHOLD"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("FINERANK_PORT", "tcp://10.0.0.1:8000")  # Kubernetes
    assert unknown_variables() == []
    monkeypatch.setenv("FINERANK_TRESHOLD", "0.5")
    monkeypatch.setenv("FINERANK_BUILT_BY_JENKINS", "7")
    assert unknown_variables() == [
        "FINERANK_BUILT_BY_JENKINS: nothing reads this variable",
        "FINERANK_TRESHOLD: nothing reads this variable; did you mean FINERANK_THRESHOLD?",
    ]


def test_numbers_of_numpy_are_numbers() -> None:
    settings = Settings.load(threads=np.int64(2), threshold=np.float32(0.25))
    assert (type(settings.threads), type(settings.threshold)) == (int, float)
    assert (settings.threads, settings.threshold) == (2, 0.25)
    top_n, threshold = check_top_n(np.int64(3)), check_threshold(np.float32(0.5))
    assert (type(top_n), top_n, type(threshold), threshold) == (int, 3, float, 0.5)
    for wrong in (np.float32(1.5), np.int64(-1), np.float64("nan")):
        with pytest.raises(InvalidSetting, match=r"threshold=.*: scores lie between 0 and 1"):
            check_threshold(wrong)
    for wrong in (np.float32(1.0), np.int64(-1)):
        with pytest.raises(InvalidSetting, match=r"top_n=.*: must be a whole number, 0 or more"):
            check_top_n(wrong)


def test_the_fixed_values_of_an_option_are_told() -> None:
    assert option_choices("pooling") == ("max", "first", "mean")
    assert option_choices("auth", ServeSettings) == ("auto", "optional", "off")
    assert option_choices("threads") == ()


def test_a_whole_number_will_do_for_a_float() -> None:
    assert Settings.load(threshold=1).threshold == 1


def test_use_fp16_is_understood_as_a_dtype(toml: WriteToml) -> None:
    assert Settings.load(use_fp16=True).dtype == "fp16"
    assert Settings.load(use_fp16=False).dtype == "fp32"
    toml("use_fp16 = true")
    assert Settings.load().dtype == "fp16"
    assert Settings.load(dtype="bf16").dtype == "bf16"


def test_every_option_has_a_help_text() -> None:
    for options in (Settings, ServeSettings):
        assert all(option_help(option.name, options) for option in fields(options))


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ("float32", "fp32"),
        ("float16", "fp16"),
        ("half", "fp16"),
        ("bfloat16", "bf16"),
        ("torch.bfloat16", "bf16"),
        (np.float32, "fp32"),
        (np.dtype("float16"), "fp16"),
        (np.str_("fp32"), "fp32"),
        (np.int8, "int8"),
        ("auto", "auto"),
    ],
)
def test_a_dtype_may_have_the_name_that_other_libraries_give_it(given: object, dtype: str) -> None:
    assert Settings.load(dtype=given).dtype == dtype


def test_torchs_own_dtypes_and_devices_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert [
        Settings.load(dtype=given).dtype for given in (torch.float32, torch.float16, torch.bfloat16, torch.int8)
    ] == [*("fp32", "fp16", "bf16", "int8")]
    devices = (torch.device("cpu"), torch.device("cuda", 1), torch.device("cuda"), "mps", 0, np.int64(2))
    assert [Settings.load(device=given).device for given in devices] == [
        "cpu",
        "cuda:1",
        "cuda",
        "mps",
        "cuda:0",
        "cuda:2",
    ]
    monkeypatch.setenv("FINERANK_DTYPE", "bfloat16")
    assert Settings.load().dtype == "bf16"


@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "float64"},
        {"dtype": np.float64},
        {"dtype": "32"},
        {"dtype": 16},
        {"device": -1},
        {"device": True},
        {"device": "gpu"},
        {"device": object()},
    ],
)
def test_a_dtype_or_a_device_there_is_none_of_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting, match=f"{next(iter(given))}=.*must be"):
        Settings.load(**given)


def test_paths_and_numpys_values_are_understood() -> None:
    loaded = Settings.load(
        model=Path("model"),
        cache=Path("c.db"),
        deterministic=np.True_,
        max_length=np.int32(64),
        threshold=np.float32(0.5),
    )
    assert (loaded.model, loaded.cache, loaded.deterministic) == ("model", "c.db", True)
    assert (loaded.max_length, loaded.threshold) == (64, 0.5)
    assert {type(loaded.deterministic), type(loaded.max_length), type(loaded.threshold)} == {bool, int, float}


PATHS = [
    *((Settings, "", name) for name in ("model", "first_model", "calibration", "cache")),
    *((ServeSettings, "SERVE_", name) for name in ("more_models", "store", "api_keys_file", "state_dir")),
    *((RagSettings, "RAG_", name) for name in ("light_model", "embedder")),
]


@pytest.mark.parametrize(("options", "prefix", "name"), PATHS)
def test_a_tilde_is_the_home_folder_wherever_a_path_comes_from(
    options: type[Settings], prefix: str, name: str, toml: WriteToml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    def loaded(**given: object) -> object:
        value = getattr(options.load(**given), name)
        return value[0] if isinstance(value, tuple) else value

    listed = name == "more_models"
    assert loaded(**{name: ("~/there",) if listed else "~/there"}) == "/home/me/there"
    table = f"[{options.TABLE}]\n" if options.TABLE else ""
    toml(f"{table}{name} = {['~/there'] if listed else '~/there'!r}")
    assert loaded() == "/home/me/there"
    monkeypatch.setenv(f"FINERANK_{prefix}{name.upper()}", "~/other")
    assert loaded() == "/home/me/other"


def test_a_tilde_in_what_is_no_path_stays() -> None:
    assert RagSettings.load(embedder_model="~latest").embedder_model == "~latest"


def test_the_configuration_file_may_lie_under_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.toml").write_text("threads = 7", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FINERANK_CONFIG", "~/my.toml")
    assert Settings.load().threads == 7


def test_a_tilde_without_a_home_folder_is_an_error_that_names_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINERANK_CACHE", "~nobody-of-that-name/scores.db")
    with pytest.raises(InvalidSetting, match=r"no home folder for ~; set HOME, .* \(from FINERANK_CACHE\)"):
        Settings.load()
