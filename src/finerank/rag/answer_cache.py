"""Answers already given, kept in a file until they expire or the index changes. Knows nothing of how they are made.

Two questions are the same if they differ only in case, spaces, the width of characters, and the mark at their end.
Anything looser joins different questions: a last s tells princess from princes, news from new, and nichts from nicht;
brackets tell f() from f; the vectors of "enable" and "disable" are neighbors.
"""

import json
import re
import sqlite3
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from finerank.errors import CacheError
from finerank.rag.results import Answer, answer_from_json, answer_json

FILE = "answers.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    version INTEGER, asked TEXT, words TEXT, count INTEGER, expires REAL, answer TEXT,
    PRIMARY KEY (asked, words)
) WITHOUT ROWID;
"""
_END = re.compile(r"""(?:^\s*|(?<=[^\W\d_]))[\s?.!。]+$|(?<=[\w)\]"'”’»])[\s?.。]+$""")
"""The mark that ends a question. After other characters it may belong to them: 5! is no 5, and ?? no ?."""


class AnswerCache:
    """Answers by question and by how they were asked for. Raises `CacheError` where its file cannot be used."""

    def __init__(self, path: Path, keep_s: float, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._keep_s = keep_s
        self._clock = clock

    def get(self, question: str, asked: str, version: int) -> Answer | None:
        """The answer to this question that was `asked` for so on this version of the index."""
        words = " ".join(question_words(question))
        with _Open(self._path) as connection:
            connection.execute("DELETE FROM answers WHERE version != ? OR expires <= ?", (version, self._clock()))
            found = connection.execute(
                "SELECT answer FROM answers WHERE asked = ? AND words = ?", (asked, words)
            ).fetchone()
        try:
            return replace(answer_from_json(json.loads(found[0])), question=question, cached=True) if found else None
        except (KeyError, TypeError, ValueError):  # of another version of finerank
            return None

    def put(self, question: str, asked: str, version: int, answer: Answer) -> None:
        """Keep a complete answer."""
        words = question_words(question)
        fields = {name: value for name, value in answer_json(answer).items() if name != "search"}
        row = (version, asked, " ".join(words), len(words), self._clock() + self._keep_s, json.dumps(fields))
        with _Open(self._path) as connection:
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)


def question_words(question: str) -> list[str]:
    """The words that make a question the same or another.

    >>> question_words("  What is C++ (in short)?")
    ['what', 'is', 'c++', '(in', 'short)']
    """
    # Not NFKC, which makes m² of m2 and 105 of 10⁵; not casefold, which makes Masse of Maße.
    folded = unicodedata.normalize("NFC", "".join(map(_full_width, question))).lower()
    return _END.sub("", folded).split()


def _full_width(character: str) -> str:
    """A full-width or half-width character as the usual one."""
    is_form = unicodedata.decomposition(character).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", character) if is_form else character


class _Open:
    """A connection for one transaction: the cache is asked seldom, and a kept connection would bind it to a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = sqlite3.connect(self._path, timeout=5)
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise self._fault(error) from error
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._connection.commit()
        except sqlite3.Error as fault:
            raise self._fault(fault) from fault
        finally:
            self._connection.close()
        if isinstance(error, sqlite3.Error | ValueError | KeyError | TypeError):
            raise self._fault(error) from error

    def _fault(self, error: BaseException) -> CacheError:
        return CacheError(
            f"{self._path}: the answer cache cannot be used ({error}); delete it, or set answer_cache_s = 0"
        )
