"""Mail (.eml) to documents: the message, and its attachments of kinds that are read."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from pathlib import Path

from finerank.errors import UnreadableFile
from finerank.text.clean import strip_html
from finerank.text.dates import parse_date
from finerank.text.document import LoadedDocument, Report

_MAX_PARTS = 1000


def read_mail(
    path: Path, report: Report, load: Callable[[Path, Report], Iterator[LoadedDocument]]
) -> Iterator[LoadedDocument]:
    """The message without a key, then each attachment, read by `load`, with its name as the key.

    Attachments that cannot be read are reported. Raises `UnreadableFile` if there is no message.
    """
    with path.open("rb") as file:
        message = BytesParser(policy=policy.default).parse(file)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise UnreadableFile(f"{path}: is no mail: it begins without a header")
    texts, attached = _parts(message)
    subject = _header(message, "subject")
    about = {name: value for name in ("from", "to", "cc") if (value := _header(message, name))}
    text = "\n\n".join(each for each in (subject, *texts) if each)
    yield LoadedDocument(text, title=subject, date=_date(message), metadata=about)
    for name, content in attached:
        yield from _attachment(path, name, content, report, load)


def _parts(message: EmailMessage) -> tuple[list[str], list[tuple[str, bytes]]]:
    """The texts of a message, each in its plainest form, and its attachments."""
    texts: list[str] = []
    attached: list[tuple[str, bytes]] = []
    waiting: list[EmailMessage] = [message]
    for _ in range(_MAX_PARTS):
        if not waiting:
            break
        part = waiting.pop(0)
        kind, name = part.get_content_type(), part.get_filename() or ""
        if kind == "message/rfc822":
            inner = part.get_payload()
            forwarded = [each for each in (inner if isinstance(inner, list) else []) if isinstance(each, EmailMessage)]
            texts += (_header(each, "subject") for each in forwarded)
            waiting = [*forwarded, *waiting]
        elif part.is_multipart():
            inside = [each for each in part.iter_parts() if isinstance(each, EmailMessage)]
            if kind == "multipart/alternative":
                plain = [each for each in inside if each.get_content_type() == "text/plain" and _text(each)]
                inside = plain[:1] or inside[-1:]
            waiting = [*inside, *waiting]
        elif kind.startswith("text/") and not part.is_attachment() and kind in ("text/plain", "text/html"):
            texts.append(_text(part))
        elif name and (part.is_attachment() or not kind.startswith("image/")):  # others are logos and the like
            payload = part.get_payload(decode=True)
            attached.append((name, payload if isinstance(payload, bytes) else b""))
    return texts, attached


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        text = content.decode(part.get_content_charset("utf-8"), errors="replace")
    except LookupError:
        text = content.decode("utf-8", errors="replace")
    text = text.replace("\r\n", "\n")
    return (strip_html(text).text if part.get_content_type() == "text/html" else text).strip()


def _attachment(
    path: Path, name: str, content: bytes, report: Report, load: Callable[[Path, Report], Iterator[LoadedDocument]]
) -> Iterator[LoadedDocument]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"attachment{Path(name).suffix}"

        def named(what: str) -> str:
            return what.replace(str(file), f"{path}, attachment {name}")

        try:
            file.write_bytes(content)
            for document in load(file, lambda what: report(named(what))):
                yield replace(document, key=f"{name}#{document.key}" if document.key else name)
        except UnreadableFile as error:
            report(named(str(error)))


def _header(message: EmailMessage, name: str) -> str:
    return " ".join(str(message.get(name, "")).split())


def _date(message: EmailMessage) -> datetime | None:
    try:
        return parse_date(parsedate_to_datetime(_header(message, "date")))
    except (ValueError, TypeError):
        return None
