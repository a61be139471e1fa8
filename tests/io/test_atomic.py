"""Output replaces a regular file at once, and keeps everything else what it is."""

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finerank.io.atomic import (
    check_output,
    is_empty_folder,
    is_standard_output,
    new_folder,
    open_append,
    open_output,
    write_text,
)


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path):
    out = tmp_path / "out"
    out.write_text("old", encoding="utf-8")

    def stopped() -> None:
        with open_output(out) as file:
            file.write("new")
            file.flush()
            assert out.read_text(encoding="utf-8") == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert out.read_text(encoding="utf-8") == "old"
    write_text(out, "new \ud83d\n")
    assert out.read_bytes() == b"new \\ud83d\n"


def test_a_new_file_has_the_mode_that_the_user_wants(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "out", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_mode_owner_and_attributes_stay(tmp_path: Path):
    out = tmp_path / "out"
    out.write_text("old", encoding="utf-8")
    out.chmod(0o604)
    owner = (1234, 2345) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(out, *owner)
    try:
        os.setxattr(out, "user.note", b"kept")
        attributes = True
    except OSError:
        attributes = False
    write_text(out, "new")
    found = out.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o604, *owner)
    assert not attributes or os.getxattr(out, "user.note") == b"kept"


def test_links_are_followed_and_stay(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "second").symlink_to(tmp_path / "link")
    write_text(tmp_path / "second", "new")
    assert (tmp_path / "second").is_symlink()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text(encoding="utf-8") == "new"
    (tmp_path / "dangling").symlink_to("real/made")
    write_text(tmp_path / "dangling", "made")
    assert (tmp_path / "real" / "made").read_text(encoding="utf-8") == "made"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        write_text(tmp_path / "loop", "x")


def test_a_hard_link_is_still_one(tmp_path: Path):
    (tmp_path / "a").write_text("old and longer", encoding="utf-8")
    os.link(tmp_path / "a", tmp_path / "b")
    write_text(tmp_path / "b", "new")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "new"
    assert (tmp_path / "a").samefile(tmp_path / "b")


def test_a_fifo_is_written_to(tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    found: list[str] = []
    for write in (lambda: write_text(fifo, "through"), lambda: append(fifo, "through")):
        reader = threading.Thread(target=lambda: found.append(fifo.read_text(encoding="utf-8")))
        reader.start()
        write()
        reader.join()
    assert found == ["through"] * 2
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def append(path: Path, text: str) -> None:
    with open_append(path) as file:
        file.write(text)


def test_a_socket_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        listening.listen()
        write_text(Path("s"), "through")
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(100) == b"through"
    assert stat.S_ISSOCK(Path("s").stat().st_mode)


def test_a_device_is_written_to(tmp_path: Path):
    (tmp_path / "null").symlink_to(os.devnull)
    write_text(tmp_path / "null", "x")
    append(Path(os.devnull), "x")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    with pytest.raises(OSError, match="No space"):
        write_text(Path("/dev/full"), "x")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_standard_output_is_written_to_between_what_is_printed(tmp_path: Path, name: str, kind: str):
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = (
        "import sys; from pathlib import Path; from finerank.io.atomic import *; out = Path(sys.argv[1]);"
        "print('before'); write_text(out, 'written\\n'); print('after', is_standard_output(out))"
    )
    command, lines = [sys.executable, "-c", code, name], "before\nwritten\nafter True\n"
    if kind == "pipe":
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == lines
        return
    with (tmp_path / "file").open("w", encoding="utf-8") as file:
        subprocess.run(command, cwd=tmp_path, stdout=file, check=True)
    assert (tmp_path / "file").read_text(encoding="utf-8") == lines
    assert not is_standard_output(tmp_path / "file")


def test_what_may_not_be_written_is_refused_before_and_unchanged(tmp_path: Path):
    locked = tmp_path / "locked"
    locked.write_text("old", encoding="utf-8")
    locked.chmod(0o444)
    for path, complaint in (
        (locked, "may not be written to"),
        (tmp_path, "is a folder"),
        (tmp_path / "no/out", "no folder"),
    ):
        for write in (check_output, lambda path: write_text(path, "new")):
            with pytest.raises(OSError, match=complaint):
                write(path)
    assert locked.read_text(encoding="utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["locked"]


def test_a_file_in_a_folder_that_takes_no_others_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    out.write_text("old and longer", encoding="utf-8")
    real = os.open

    def refuse(path: os.PathLike, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and Path(path).parent == tmp_path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    inode = out.stat().st_ino
    write_text(out, "new")
    assert (out.read_text(encoding="utf-8"), out.stat().st_ino) == ("new", inode)


def test_a_file_that_cannot_be_renamed_over_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As a container's mount of one file."""
    out = tmp_path / "out"
    out.write_text("old and longer", encoding="utf-8")

    def busy(self: Path, target: Path) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    write_text(out, "new")
    assert out.read_text(encoding="utf-8") == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path):
    out = tmp_path / "out"

    def stopped() -> None:
        with new_folder(out) as part:
            (part / "a").write_text("x", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert list(tmp_path.iterdir()) == []
    with new_folder(out) as part:
        (part / "a").write_text("x", encoding="utf-8")
        assert not out.exists()
    assert [each.name for each in out.iterdir()] == ["a"]


def test_an_empty_folder_and_a_link_to_one_stay_what_they_are(tmp_path: Path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir(mode=0o750)
    link.symlink_to(real)
    inode = real.stat().st_ino
    with new_folder(link) as part:
        (part / "a").write_text("x", encoding="utf-8")
        assert is_empty_folder(real)
    assert link.is_symlink()
    assert (real.stat().st_ino, stat.S_IMODE(real.stat().st_mode)) == (inode, 0o750)
    assert [each.name for each in real.iterdir()] == ["a"]
    assert not is_empty_folder(real)
