"""Answers already given, kept in a file until they expire or the index changes. Knows nothing of how they are made.

A question is the same if it is so but for case, spaces, punctuation at its words' edges, and a last s of a word
of five letters and more (router, routers). Closeness of vectors would be no measure: "enable" and "disable" are
neighbours.
"""

import json
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Sequence
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
_EDGES = ".,;:!?\"'()[]{}。，、；：！？「」『』（）¿¡«»“”‘’"
_LONG_WORD = 5


class AnswerCache:
    """Answers by question and by how they were asked for. Raises `CacheError` where its file cannot be used."""

    def __init__(self, path: Path, keep_s: float, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._keep_s = keep_s
        self._clock = clock

    def get(self, question: str, asked: str, version: int) -> Answer | None:
        """The answer to this question, or to a nearly equal one, that was `asked` for so on this version of the
        index."""
        words = question_words(question)
        with _Open(self._path) as connection:
            connection.execute("DELETE FROM answers WHERE version != ? OR expires <= ?", (version, self._clock()))
            rows = connection.execute(
                "SELECT words, answer FROM answers WHERE asked = ? AND count = ?", (asked, len(words))
            )
            found = next((answer for kept, answer in rows if _alike(words, kept.split())), None)
        try:
            return replace(answer_from_json(json.loads(found)), question=question, cached=True) if found else None
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
    ['what', 'is', 'c++', 'in', 'short']
    """
    folded = unicodedata.normalize("NFKC", question).casefold()
    words = (word.rstrip(_EDGES).lstrip(_EDGES.replace(".", "")) for word in folded.split())
    return [word for word in words if word]


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


def _alike(words: Sequence[str], others: Sequence[str]) -> bool:
    return all(_same(word, other) for word, other in zip(words, others, strict=True))


def _same(word: str, other: str) -> bool:
    short, long = sorted((word, other), key=len)
    return word == other or (len(short) >= _LONG_WORD and long == f"{short}s" and long.isascii() and long.isalpha())
