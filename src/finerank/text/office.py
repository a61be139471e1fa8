"""Office files as what they are: zip archives of XML. Refuses archives and XML made to exhaust memory."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, join, normpath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from finerank.errors import MissingExtra, UnreadableFile

if TYPE_CHECKING:
    from lxml.etree import _Element

MAX_BYTES = 1 << 29
"""Bytes of XML that a file may unpack to, at most."""
_MAX_PARTS = 50_000
_SMALL_BYTES = 1 << 24
_MAX_RATIO = 100
"""A part of more than `_SMALL_BYTES` that shrinks to less than a hundredth was made to be large."""

_OLE = b"\xd0\xcf\x11\xe0"
_XML = re.compile(r"\.(?:xml|rels|x?html?|opf|ncx|vml|txt|mht)\Z", re.IGNORECASE)
_ENTITIES = tuple("<!ENTITY".encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))
_DOCTYPES = tuple("<!DOCTYPE".encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))


@dataclass(frozen=True, slots=True)
class Relationship:
    """From one part of a package to another, or to something outside."""

    kind: str
    target: str
    external: bool


class Package:
    """The parts of an office file. `doctypes`: whether its XML may have document type declarations."""

    def __init__(self, path: Path, doctypes: bool = False) -> None:
        self._path = path
        self._doctypes = doctypes
        with path.open("rb") as file:
            if file.read(4) == _OLE:
                raise UnreadableFile(
                    f"{path}: is encrypted, or in the binary format of old Office; save it without a password as "
                    f"{path.suffix}"
                )
        self._zip = zipfile.ZipFile(path)
        parts = self._zip.infolist()
        self._names = {part.filename.lower(): part.filename for part in parts}
        read = [part for part in parts if _XML.search(part.filename)]
        total = sum(part.file_size for part in read)
        if len(parts) > _MAX_PARTS or total > MAX_BYTES:
            raise UnreadableFile(
                f"{path}: unpacks to {total >> 20} MiB in {len(parts)} parts, more than the {MAX_BYTES >> 20} MiB that "
                "are read; split it"
            )
        for part in read:
            if part.file_size > _SMALL_BYTES and part.file_size > _MAX_RATIO * max(part.compress_size, 1):
                raise UnreadableFile(
                    f"{path}: {part.filename} unpacks from {part.compress_size} to {part.file_size} bytes, as a "
                    "zip bomb does; not read"
                )
            if part.flag_bits & 1:
                raise UnreadableFile(f"{path}: is encrypted; save it without a password")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        return list(self._names.values())

    def has(self, name: str) -> bool:
        return name.lower() in self._names

    def read(self, name: str) -> bytes:
        """The content of a part. Raises `UnreadableFile` if there is none, or if it declares entities."""
        there = self._names.get(name.lower())
        if there is None:
            raise UnreadableFile(f"{self._path}: is damaged: {name} is missing")
        content = self._zip.read(there)
        if _XML.search(there):
            if any(mark in content for mark in _ENTITIES):
                raise UnreadableFile(f"{self._path}: {there} declares XML entities, which can be an attack; not read")
            if not self._doctypes and any(mark in content[:4096] for mark in _DOCTYPES):
                raise UnreadableFile(f"{self._path}: {there} has a document type declaration; not read")
        return content

    def xml(self, name: str) -> "_Element":
        """The root of an XML part. Entities are not resolved, nothing is fetched."""
        from lxml import etree

        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False
        )
        root = etree.fromstring(self.read(name), parser)
        declared = root.getroottree().docinfo.internalDTD
        if declared is not None and next(declared.iterentities(), None) is not None:
            raise UnreadableFile(f"{self._path}: {name} declares XML entities, which can be an attack; not read")
        return root

    def relationships(self, part: str) -> Mapping[str, Relationship]:
        """The relationships of a part of an OOXML package, by id; those of the package itself for ""."""
        folder, _, name = part.rpartition("/")
        rels = f"{folder}/_rels/{name}.rels".lstrip("/")
        if not self.has(rels):
            return {}
        found: dict[str, Relationship] = {}
        for each in self.xml(rels):
            target, kind = str(each.get("Target", "")), str(each.get("Type", "")).rpartition("/")[2]
            external = each.get("TargetMode") == "External"
            if not external:
                target = normpath(join("/", dirname(part), unquote(target))).lstrip("/")
            found[str(each.get("Id", ""))] = Relationship(kind, target, external)
        return found

    def main_part(self) -> str:
        """The name of the OOXML package's main part."""
        for each in self.relationships("").values():
            if each.kind == "officeDocument":
                return each.target
        raise UnreadableFile(f"{self._path}: is damaged: it names no main part")

    def properties(self) -> tuple[str, str]:
        """The title and the time of the last change that an OOXML package gives, empty without."""
        name = next((each.target for each in self.relationships("").values() if each.kind == "core-properties"), "")
        if not self.has(name):
            return "", ""
        root = self.xml(name)
        values = {local(each): (each.text or "").strip() for each in root if isinstance(each.tag, str)}
        return values.get("title", ""), values.get("modified", "") or values.get("created", "")


@contextmanager
def open_package(path: Path, kind: str, doctypes: bool = False) -> Iterator[Package]:
    """An office file, opened. Whatever is wrong with it, here or in the block, is an `UnreadableFile`."""
    try:
        import lxml.etree  # noqa: F401 - its absence is told before a file is opened
    except ImportError as error:
        raise MissingExtra(f"reading {kind}", "rag") from error
    try:
        with Package(path, doctypes) as package:
            yield package
    except (UnreadableFile, MissingExtra, OSError):
        raise
    except RecursionError as error:
        raise UnreadableFile(f"{path}: not readable as {kind}: its parts are nested too deep") from error
    except Exception as error:  # a damaged file makes the parsers raise whatever they meet
        raise UnreadableFile(f"{path}: not readable as {kind} ({type(error).__name__}: {error})") from error


def local(element: "_Element") -> str:
    """An element's name without its namespace, which differs between editions of a format; "" of a comment."""
    tag: Any = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: "_Element | None", name: str, default: str = "") -> str:
    """An attribute by its name without namespace."""
    if element is not None:
        for key, value in element.attrib.items():
            if str(key).rpartition("}")[2] == name:
                return str(value)
    return default


def child(element: "_Element | None", *path: str) -> "_Element | None":
    """A descendant by local names, one for each step."""
    for name in path:
        if element is None:
            return None
        element = next((each for each in element if local(each) == name), None)
    return element


def whole(value: str, default: int, most: int = 1 << 20) -> int:
    """A number from 0 to `most` as written in an attribute."""
    return min(int(value), most) if value.isascii() and value.isdigit() and len(value) < 10 else default


def rows_text(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines; those without text are left out."""
    return [" | ".join(" ".join(cell.split()) for cell in row) for row in rows if any(cell.strip() for cell in row)]
