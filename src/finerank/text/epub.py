"""EPUB to text: the chapters in reading order."""

from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from finerank.errors import UnreadableFile
from finerank.text.clean import clean_markup
from finerank.text.dates import parse_date
from finerank.text.document import LoadedDocument, Report
from finerank.text.headings import Heading
from finerank.text.html import html_headings
from finerank.text.markup import parse
from finerank.text.office import attribute, child, local, open_package


def read_epub(path: Path, report: Report) -> Iterator[LoadedDocument]:
    """The document of an EPUB file. Raises `UnreadableFile`, and `MissingExtra` without lxml."""
    text = ""
    headings: list[Heading] = []
    with open_package(path, "EPUB", doctypes=True) as package:
        container = package.xml("META-INF/container.xml")
        main = next((attribute(each, "full-path") for each in container.iter() if local(each) == "rootfile"), "")
        root = package.xml(main)
        files = {attribute(each, "id"): each for each in root.iter() if local(each) == "item"}
        stated = child(root, "metadata")
        about = {local(each): (each.text or "").strip() for each in (stated if stated is not None else ())}
        for reference in (each for each in root.iter() if local(each) == "itemref"):
            file = files.get(attribute(reference, "idref"))
            if file is None or "nav" in attribute(file, "properties").split():
                continue
            name = normpath(join(dirname(main), unquote(attribute(file, "href"))))
            if not package.has(name):
                report(f"{path}: lacks {name}, a chapter")
                continue
            content = package.read(name)
            if b"<" not in content[:4096] and b"\0" in content[:4096]:
                raise UnreadableFile(f"{path}: is protected against copying; {name} is encrypted")
            markup = parse(content.decode("utf-8-sig", errors="replace"))
            clean = clean_markup(markup, "visible")
            if clean.text.strip():
                text += "\n\n" if text else ""
                headings += (
                    Heading(len(text) + each.start, each.level, each.title) for each in html_headings(markup, clean)
                )
                text += clean.text
    date = parse_date(about["date"]) if about.get("date") else None
    lang = {"lang": about["language"]} if about.get("language") else {}
    yield LoadedDocument(text, title=about.get("title", ""), headings=tuple(headings), date=date, metadata=lang)
