"""User-supplied paths and the cache folder, wherever finerank runs: also without HOME and without a passwd entry."""

import os
import tempfile
from pathlib import Path

from finerank.errors import InvalidSetting


def expand(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by the home folder.

    Raises `InvalidSetting` if there is no such home, unless there is a file of that very name, such as `~$report.docx`.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        if os.path.lexists(path):
            return Path(path)
        raise InvalidSetting(f"{path}: no home folder for ~; set HOME, or give the full path") from error


def cache_dir() -> Path:
    """The folder for files finerank can make again: FINERANK_CACHE_DIR, or finerank/ in the user's cache folder.

    An empty or relative XDG_CACHE_HOME counts as unset, as in the XDG specification. Without a home folder the cache is
    in the system's temporary folder.
    """
    if given := os.environ.get("FINERANK_CACHE_DIR"):
        return expand(given)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "finerank"
    home = _home()
    return home / ".cache" / "finerank" if home else _temporary()


def is_writable(path: Path) -> bool:
    """Whether this user may write to the path or, where nothing is there, create it."""
    return os.access(existing(path), os.W_OK)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(each for each in (path, *path.parents, Path()) if os.path.exists(each))


def _home() -> Path | None:
    """The user's home folder; None where HOME is empty, or unset without a passwd entry."""
    if os.environ.get("HOME") == "":
        return None
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


def _temporary() -> Path:
    """This user's folder in the system's temporary one, which others write to as well."""
    try:
        base = Path(tempfile.gettempdir())
    except FileNotFoundError:  # nothing is writable: writing into the cache fails, and is reported, by its users
        base = Path("/tmp")
    if not hasattr(os, "getuid"):
        return base / "finerank"
    folder = base / f"finerank-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.getuid():  # another user made it, and could put files into it
            return Path(tempfile.mkdtemp(prefix="finerank-"))
    except OSError:
        pass
    return folder
