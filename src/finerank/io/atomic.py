"""Output that is whole or not there: regular files are replaced at once, anything else is written straight to.

    with open_output(Path("mined.jsonl")) as file:
        file.write(line)

Links are followed, and a file keeps its hard links, mode and owner. A FIFO, a socket, a device or /dev/stdout gets the
bytes as they are written.
"""

import errno
import io
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, TextIO
from uuid import uuid4

_DESCRIPTOR = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd/(\d+)")
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_MAX_LINKS = 40
_PART = ".finerank-"


@contextmanager
def open_output(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file to write, as `open_binary_output`; a lone surrogate becomes \\udXXX, its JSON escape."""
    with open_binary_output(path) as file, as_text(file) as text:
        yield text


@contextmanager
def open_binary_output(path: Path) -> Iterator[IO[bytes]]:
    """A file to write: what was at `path` stays until all is written, and stays for good if an error comes first.

    Symbolic links are followed. What is not a regular file is written straight to. Raises `OSError` for what cannot be
    written to, before anything is changed.
    """
    place = output_place(path)
    if not place.regular:
        with _open_stream(place) as stream:
            yield stream
        return
    with _open_part(place.path) as (file, part):
        yield file
        file.flush()
        os.fsync(file.fileno())
        if part is None or not _replace(part, place.path):
            _copy_into(file, place.path)


@contextmanager
def as_text(file: IO[bytes]) -> Iterator[TextIO]:
    """A binary file as UTF-8 text to write; it stays open."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        yield text
    finally:
        text.detach()


def write_text(path: Path, text: str) -> None:
    """Write a text file as `open_output` does."""
    with open_output(path) as file:
        file.write(text)


def check_output(path: Path) -> None:
    """Raise the `OSError` that writing to `path` would meet, before the work and without changing anything."""
    place = output_place(path)
    if place.mode is None:
        if not place.path.parent.is_dir():
            raise _no_folder(place.path if path.is_symlink() else path)
        if not os.access(place.path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))


@contextmanager
def open_append(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file to add to, as `open_output` but straight away; what is written stays after an error."""
    place = output_place(path)
    with place.path.open("ab") if place.regular else _open_stream(place) as file, as_text(file) as text:
        yield text


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """Where a path leads: to a `descriptor` of this process, or to a `path` without links. `mode` is None if nothing is
    there."""

    path: Path
    descriptor: int | None = None
    mode: int | None = None

    @classmethod
    def of(cls, path: Path, descriptor: int | None = None) -> Self:
        try:
            found = path.stat() if descriptor is None else os.fstat(descriptor)
        except FileNotFoundError:
            return cls(path)
        return cls(path, descriptor, found.st_mode)

    @property
    def regular(self) -> bool:
        """Whether it is, or will be, a file that can be replaced."""
        return self.descriptor is None and (self.mode is None or stat.S_ISREG(self.mode))


def output_place(path: Path) -> OutputPlace:
    """Follow a path's links. Raises `OSError` for a folder, a loop of links, and what may not be written to."""
    place = _follow(path)
    if place.mode is not None and stat.S_ISDIR(place.mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
    locked = place.regular and place.mode is not None and not place.mode & 0o222  # as root may write to any file
    if locked or (place.descriptor is None and place.mode is not None and not os.access(place.path, os.W_OK)):
        raise PermissionError(errno.EACCES, "may not be written to; change its permissions, or name another", str(path))
    return place


def is_standard_output(path: Path) -> bool:
    """Whether what is written to `path` goes where this process prints, as with /dev/stdout."""
    try:
        return _follow(path).descriptor == 1
    except OSError:
        return False


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill that becomes `out` when it is whole, or disappears. `out` must not exist, or be empty.

    An empty folder that exists keeps its mode, owner and mount; a link to one is followed.
    """
    out = out.resolve()
    inside = out.is_dir()
    part = (out if inside else out.parent) / f"{_PART}{out.name}"
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir(parents=True)
    try:
        yield part
        if inside:
            for made in list(part.iterdir()):
                made.rename(out / made.name)
            part.rmdir()
        else:
            part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_empty_folder(path: Path) -> bool:
    """Whether the folder holds nothing but what an interrupted `new_folder` left."""
    return path.is_dir() and all(each.name.startswith(_PART) for each in path.iterdir())


def _follow(path: Path) -> OutputPlace:
    current = os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        if current in _STREAMS:
            return OutputPlace.of(path, _STREAMS[current])
        current = os.path.join(os.path.realpath(os.path.dirname(current)), os.path.basename(current))
        found = _DESCRIPTOR.fullmatch(current)
        if found and int(found[1]) == os.getpid():
            return OutputPlace.of(path, int(found[2]))
        if not os.path.islink(current):
            return OutputPlace.of(Path(current))
        current = os.path.join(os.path.dirname(current), os.readlink(current))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


@contextmanager
def _open_stream(place: OutputPlace) -> Iterator[IO[bytes]]:
    if place.descriptor is not None:
        for printed in (sys.stdout, sys.stderr):
            printed.flush()  # what was printed before comes first
        with open(os.dup(place.descriptor), "wb") as stream:
            yield stream
    elif stat.S_ISSOCK(place.mode or 0):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(place.path))
            with connection.makefile("wb") as stream:
                yield stream
    else:
        with open(os.open(place.path, os.O_WRONLY), "wb") as stream:
            yield stream


@contextmanager
def _open_part(target: Path) -> Iterator[tuple[IO[bytes], Path | None]]:
    """A new file beside the target, or without a path where its folder takes no other."""
    part = target.with_name(f"{_PART}{uuid4().hex[:12]}")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        if not target.exists():
            raise _no_folder(target) if isinstance(error, FileNotFoundError) else error from error
        with tempfile.TemporaryFile() as file:
            yield file, None
        return
    try:
        with open(descriptor, "w+b") as file:
            yield file, part
    finally:
        part.unlink(missing_ok=True)


def _no_folder(target: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, f"there is no folder {target.parent}; make it, or name another", str(target))


def _replace(part: Path, target: Path) -> bool:
    """Rename the part to the target, with the target's owner, mode and attributes. False, and nothing changed, where
    that cannot be: other links to the file, a mount of its own, another user's file."""
    try:
        there = target.stat()
    except FileNotFoundError:
        there = None
    try:
        if there is not None:
            if there.st_nlink > 1:
                return False
            _take_attributes(part, target, there)
        part.replace(target)
    except OSError:
        if there is None:
            raise
        return False
    _sync_folder(target.parent)
    return True


def _take_attributes(part: Path, target: Path, there: os.stat_result) -> None:
    if os.name != "posix":
        return
    ours = part.stat()
    if (ours.st_uid, ours.st_gid) != (there.st_uid, there.st_gid):
        os.chown(part, there.st_uid, there.st_gid)
    part.chmod(stat.S_IMODE(there.st_mode))
    for name in os.listxattr(target) if hasattr(os, "listxattr") else ():
        os.setxattr(part, name, os.getxattr(target, name))


def _sync_folder(folder: Path) -> None:
    """A rename that a power cut must not undo."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy_into(file: IO[bytes], target: Path) -> None:
    file.seek(0)
    with target.open("r+b") as there:
        shutil.copyfileobj(file, there)
        there.truncate()
        there.flush()
        os.fsync(there.fileno())
