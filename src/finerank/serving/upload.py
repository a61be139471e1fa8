"""A file dropped on the page to candidates, where the page cannot read it itself: the text of a PDF, in passages."""

import tempfile
from pathlib import Path

from finerank.errors import InvalidInput, UnreadableFile
from finerank.text.load import load_file
from finerank.text.passages import passages

PASSAGE_TERMS = 150


def pdf_passages(content: bytes) -> list[str]:
    """The passages of a PDF. Raises `InvalidInput` for what is none, is locked or holds no text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dropped.pdf"
        path.write_bytes(content)
        try:
            (document,) = load_file(path, report=lambda _: None)
        except UnreadableFile as error:
            raise InvalidInput(f"the body: {str(error).removeprefix(f'{path}: ')}") from error
    return [" ".join(passage.text.split()) for passage in passages(document, PASSAGE_TERMS, 0)]
