"""PDFs of the tests, written with pikepdf: every line at its place, in Helvetica or a Chinese face."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pikepdf
from pikepdf import Array, Dictionary, Name, OutlineItem

WIDTH, HEIGHT = 595, 842


class Text(NamedTuple):
    """Text with its baseline's start, from the top left corner, and the space between its letters."""

    x: float
    y: float
    text: str
    size: float = 12
    spacing: float = 0


def lines(text: str, x: float = 50, y: float = 62, leading: float = 14) -> list[Text]:
    return [Text(x, y + leading * number, line) for number, line in enumerate(text.split("\n")) if line]


def write_pdf(
    path: Path,
    pages: Sequence[str | Sequence[Text]],
    *,
    title: str = "Manual",
    outline: Sequence[tuple[int, str, int, float | None]] = (),
    scans: Sequence[int] = (),
    rotate: int = 0,
    encryption: pikepdf.Encryption | None = None,
) -> Path:
    """A PDF. `outline`: level, title, page from 0, place from the top. `scans`: pages (from 0) that an image fills."""
    with pikepdf.new() as pdf:
        for number, page in enumerate(pages):
            _add_page(pdf, lines(page) if isinstance(page, str) else page, number in scans, rotate)
        pdf.docinfo.Title = title
        pdf.docinfo.CreationDate = "D:20240131130000+01'00'"
        with pdf.open_outline() as found:
            above: list[Any] = [found.root]
            for level, name, page, place in outline:
                top = {} if place is None else {"page_location": "XYZ", "left": 50, "top": HEIGHT - place}
                item = OutlineItem(name, page, **top)
                del above[level:]
                (above[-1] if level == 1 else above[-1].children).append(item)
                above.append(item)
        pdf.save(path, encryption=encryption or False)
    return path


def crafted_pdf(path: Path, depth: int = 8, width: int = 12) -> Path:
    """A PDF of 2 KB whose form draws another one twelve times, which draws another one twelve times, and so on."""
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page()
        content, resources = b"BT /F1 12 Tf (ha) Tj ET", Dictionary(Font=Dictionary(F1=Dictionary(
            Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica)))  # fmt: skip
        for _ in range(depth):
            form = pdf.make_stream(
                content, Type=Name.XObject, Subtype=Name.Form, BBox=[0, 0, 612, 792], Resources=resources
            )
            content, resources = b"/X Do " * width, Dictionary(XObject=Dictionary(X=form))
        page.Resources, page.Contents = resources, pdf.make_stream(content)
        pdf.save(path)
    return path


def _add_page(pdf: pikepdf.Pdf, texts: Sequence[Text], scan: bool, rotate: int) -> None:
    page = pdf.add_blank_page(page_size=(WIDTH, HEIGHT))
    font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, Encoding=Name.WinAnsiEncoding)
    system = Dictionary(Registry=b"Adobe", Ordering=b"GB1", Supplement=4)
    song = Dictionary(Type=Name.Font, Subtype=Name.CIDFontType0, BaseFont=Name("/STSong-Light"), CIDSystemInfo=system)
    chinese = Dictionary(
        Type=Name.Font,
        Subtype=Name.Type0,
        BaseFont=Name("/STSong-Light"),
        Encoding=Name("/UniGB-UTF16-H"),
        DescendantFonts=Array([song]),
    )
    page.Resources = Dictionary(Font=Dictionary(F1=font, F2=chinese))
    content = "".join(map(_shown, texts))
    if scan:
        image = pdf.make_stream(bytes(64), Type=Name.XObject, Subtype=Name.Image, Width=8, Height=8,
                                ColorSpace=Name.DeviceGray, BitsPerComponent=8)  # fmt: skip
        page.Resources.XObject = Dictionary(I1=image)
        content = f"q {WIDTH} 0 0 {HEIGHT} 0 0 cm /I1 Do Q {content}"
    page.Contents = pdf.make_stream(content.encode())
    if rotate:
        page.Rotate = rotate


def _shown(text: Text) -> str:
    try:
        font, said = "F1", text.text.encode("cp1252").hex()
    except UnicodeEncodeError:
        font, said = "F2", text.text.encode("utf-16-be").hex()
    return f"BT /{font} {text.size} Tf {text.spacing} Tc {text.x} {HEIGHT - text.y} Td <{said}> Tj ET\n"
