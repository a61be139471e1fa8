import logging
import os
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finerank.cli import build_app
from finerank.errors import CacheError, InvalidSetting
from finerank.paths import cache_dir, expand, is_writable
from finerank.scoring.cache import open_cache


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a container's user without a passwd entry and without HOME."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "FINERANK_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("FINERANK_CACHE_DIR", "/elsewhere")
    assert cache_dir() == Path("/elsewhere")
    monkeypatch.setenv("FINERANK_CACHE_DIR", "~/kept")
    assert cache_dir() == Path("/home/me/kept")
    monkeypatch.setenv("FINERANK_CACHE_DIR", "")
    assert cache_dir() == Path("/xdg/finerank")


@pytest.mark.parametrize("value", ["", ".", "cache", "./cache"])
def test_an_empty_or_relative_xdg_folder_counts_as_unset(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINERANK_CACHE_DIR")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_dir() == Path("/home/me/.cache/finerank")


@pytest.mark.usefixtures("no_home")
def test_without_a_home_folder_the_cache_is_a_temporary_folder_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_dir() == tmp_path / f"finerank-{os.getuid()}"
    assert cache_dir().stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "getuid", lambda: 4321)  # a folder of that name made by somebody else is not used
    (tmp_path / "finerank-4321").mkdir()
    assert cache_dir() not in (tmp_path / "finerank-4321", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/finerank")


def test_an_empty_home_is_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("FINERANK_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    assert cache_dir() == tmp_path / f"finerank-{os.getuid()}"


def test_a_tilde_without_a_home_is_an_error_with_the_fix() -> None:
    assert expand("a/~b") == Path("a/~b")
    with pytest.raises(InvalidSetting, match="~nobody-of-that-name/x: no home folder for ~; set HOME"):
        expand("~nobody-of-that-name/x")


def test_what_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_writable(tmp_path / "new" / "scores.db")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert not is_writable(tmp_path / "new" / "scores.db")


def test_a_score_cache_that_cannot_be_written_costs_a_warning_and_no_ranking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    where = str(tmp_path / "file" / "scores.db")  # cannot be opened, root or not
    with pytest.raises(CacheError):
        open_cache(where, 10)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with caplog.at_level(logging.WARNING):
        assert open_cache(where, 10) is None
    assert "scores are not cached" in caplog.text


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("arguments", [["config"], ["doctor", "--no-checksums"], ["rank", "a question"]])
def test_a_user_without_a_passwd_entry_and_home_can_run_commands(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = CliRunner().invoke(build_app(), arguments, input="a passage\n")
    assert result.exit_code == 0, result.output
