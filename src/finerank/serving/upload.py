"""A file dropped on the page to candidates, where the page cannot read it itself: the text of a PDF, in passages."""

import io
import re
from collections.abc import Sequence

from finerank.errors import InvalidInput, MissingExtra
from finerank.text.chunk import chunk_spans

PASSAGE_WORDS = 150


def pdf_passages(content: bytes) -> list[str]:
    """The passages of a PDF, page by page. Raises `InvalidInput` for what is no PDF, or a locked one."""
    try:
        import pypdf
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise MissingExtra("reading a PDF", "serve") from error
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages]
    except (PyPdfError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"the body: not a PDF that can be read: {error}") from error
    texts = [re.sub(r"-\n(?=[a-z])", "", page) for page in pages]
    passages = [text[start:end] for text in texts for start, end in chunk_spans(text, _count_words, PASSAGE_WORDS)]
    passages = [" ".join(passage.split()) for passage in passages if passage.strip()]
    if not passages:
        raise InvalidInput("the body: a PDF without text; a scanned one must go through text recognition first")
    return passages


def _count_words(texts: Sequence[str]) -> list[int]:
    """Words, or characters where none are between spaces: three of Chinese count as two words of English."""
    return [len(re.findall(r"[^\W\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7ff]+|[^\W]", text)) for text in texts]
