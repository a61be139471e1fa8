"""Examples made different in ways that real queries and documents differ, so that a model learns to read past them.

    augmentation = Augmentation(typos=0.1, shuffle=0.2)
    example = augmentation(example, np.random.default_rng(seed))

Labels stay: what was relevant still is. A teacher's logits go (None) as soon as any text differs from the one that
the teacher scored.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from finerank.errors import InvalidInput, InvalidSetting
from finerank.paths import expand
from finerank.ranking import is_blank
from finerank.text.chunk import sentence_spans
from finerank.training.examples import Example, read_lines
from finerank.training.noise import Change, misread, mistype

_WORDS = Path(__file__).parent / "words"

_SCRIPTS = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7ff]"),
    "zh": re.compile(r"[\u3400-\u9fff]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
}
"""Languages told by their script, the first that is there; kana before Chinese characters, which Japanese has too."""

_REPLACED = 0.5
"""Share of the words known to a dictionary that are replaced; at least one is."""

_KEPT = 0.5
"""Share of a passage's sentences that truncation keeps, at least."""

_HAN = r"\u3040-\u30ff\u3400-\u9fff"
_INNER = rf"[^\s{_HAN}.,;:!?()\"'“”。，、；：！？（）「」-]+"
_WORD = re.compile(rf"[{_HAN}]+|{_INNER}(?:[.'’-]{_INNER})*")


@dataclass(frozen=True, slots=True)
class _Lexicon:
    """Words in lower case with what may stand for each, and the expression that finds them, the longest first; one that
    begins or ends with a Latin letter or a digit is found only where no other precedes or follows."""

    replacements: Mapping[str, tuple[str, ...]]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, replacements: Mapping[str, tuple[str, ...]]) -> Self:
        longest_first = sorted(replacements, key=len, reverse=True)
        return cls(replacements, re.compile("|".join(map(_alone, longest_first)) or r"(?!)", re.IGNORECASE))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often each change is made, from 0.0 (never) to 1.0: of the query once an example, of each passage apart.

    Of the query: `rewrite` by `generator`; `template`, a question's frame in its language; `synonyms`, from our own
    small list and the file `dictionary`; `word_order`, two neighbouring words exchanged (in scripts without spaces,
    two neighbouring runs of a script); `mixed`, English terms in a Chinese query and the other way round; `typos`.
    Of a passage: `shuffle` its sentences, `truncate` it to some of its first, at least half; `ocr` errors.

    `dictionary` is a JSON file {"word": ["synonym", ...]} or a TSV file, a word and its synonyms a line. A generator
    that answers nothing leaves the query as it is. The same generator state gives the same text.
    """

    rewrite: float = 0.0
    template: float = 0.0
    synonyms: float = 0.0
    word_order: float = 0.0
    mixed: float = 0.0
    typos: float = 0.0
    shuffle: float = 0.0
    truncate: float = 0.0
    ocr: float = 0.0
    dictionary: Path | str | None = None
    generator: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        for option in fields(self):
            rate = getattr(self, option.name)
            if option.type is float and not (isinstance(rate, int | float) and 0 <= rate <= 1):
                raise InvalidSetting(f"{option.name}={rate!r}: a rate lies between 0 and 1")
        if self.generator is not None and not callable(self.generator):
            raise InvalidSetting(f"generator={self.generator!r}: must be a function from a query to another")
        if self.rewrite and self.generator is None:
            raise InvalidSetting(f"rewrite={self.rewrite}: needs a generator, a function from a query to another")
        if self.dictionary is not None:
            if not isinstance(self.dictionary, str | Path):
                raise InvalidSetting(f"dictionary={self.dictionary!r}: must be a file's path")
            load_dictionary(expand(self.dictionary))  # a bad file is named now, not after an hour of training

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example with some of its texts changed, passages and labels in their order."""
        query = _changed(example.query, self._query_changes(example), rng)
        passages = tuple(_changed(passage, self._passage_changes(), rng) for passage in example.passages)
        if query == example.query and passages == example.passages:
            return example
        return replace(example, query=query, passages=passages, teacher=None)

    def _query_changes(self, example: Example) -> Sequence[tuple[float, Change]]:
        language = example.language or guess_language(example.query)
        return (
            (self.rewrite, lambda text, rng: self.generator(text) if self.generator else text),
            (self.template, partial(_frame, frames=_load("templates.json").get(language, ()))),
            (self.synonyms, partial(_substitute, lexicon=_synonyms(language, self.dictionary))),
            (self.word_order, _exchange_words),
            (self.mixed, partial(_substitute, lexicon=_glossary(language))),
            (self.typos, mistype),
        )

    def _passage_changes(self) -> Sequence[tuple[float, Change]]:
        return ((self.shuffle, _shuffle_sentences), (self.truncate, _truncate), (self.ocr, misread))


def guess_language(text: str) -> str:
    """The language that goes with the text's script; "en" for Latin letters and whatever else.

    >>> guess_language("如何重置路由器")
    'zh'
    """
    return next((language for language, script in _SCRIPTS.items() if script.search(text)), "en")


@lru_cache
def load_dictionary(path: Path) -> dict[str, tuple[str, ...]]:
    """Synonyms by word from a JSON or TSV file, read once. Raises `InvalidInput` naming what is wrong in it."""
    if path.suffix == ".json":
        try:
            table = json.loads("".join(line for _, line in read_lines(path)))
        except ValueError as error:
            raise InvalidInput(f"{path}: is not JSON: {error}") from error
    else:
        rows = {place: line.rstrip("\r\n").split("\t") for place, line in read_lines(path)}
        for place, row in rows.items():
            if len(row) < 2:
                raise InvalidInput(f"{place}: must hold a word and its synonyms with tabs between")
        table = {word: synonyms for word, *synonyms in rows.values()}
    if not isinstance(table, dict) or not all(
        word and isinstance(synonyms, list) and synonyms and all(isinstance(synonym, str) for synonym in synonyms)
        for word, synonyms in table.items()
    ):
        raise InvalidInput(f'{path}: must be an object of words with their synonyms: {{"word": ["synonym"]}}')
    return {word.lower(): tuple(synonyms) for word, synonyms in table.items()}


@lru_cache
def _synonyms(language: str, dictionary: Path | str | None) -> _Lexicon:
    """Our synonyms of a language, and the user's."""
    own = {word: tuple(synonyms) for word, synonyms in _load("synonyms.json").get(language, {}).items()}
    return _Lexicon.of(own | (load_dictionary(expand(dictionary)) if dictionary is not None else {}))


@lru_cache
def _glossary(language: str) -> _Lexicon:
    """English terms for a Chinese query, Chinese ones for an English query, none for others."""
    pairs = _load("glossary.json")
    terms = {
        "zh": {chinese: (english,) for chinese, english in pairs},
        "en": {english.lower(): (chinese,) for chinese, english in pairs},
    }
    return _Lexicon.of(terms.get(language, {}))


@lru_cache
def _load(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((_WORDS / name).read_text(encoding="utf-8"))


def _changed(text: str, changes: Sequence[tuple[float, Change]], rng: np.random.Generator) -> str:
    """The text after the changes whose turn it is; one that would leave nothing is not made."""
    for rate, change in changes:
        if rate and rng.random() < rate:
            after = change(text, rng)
            text = text if is_blank(after) else after
    return text


def _frame(text: str, rng: np.random.Generator, frames: Sequence[str]) -> str:
    return frames[int(rng.integers(len(frames)))].replace("{query}", text) if frames else text


def _substitute(text: str, rng: np.random.Generator, lexicon: _Lexicon) -> str:
    """Some of the words that the lexicon has, replaced by what may stand for them."""
    matches = list(lexicon.pattern.finditer(text))
    if not matches:
        return text
    count = max(1, round(_REPLACED * len(matches)))
    result, done = "", 0
    for match in (matches[at] for at in sorted(rng.choice(len(matches), count, replace=False))):
        options = lexicon.replacements.get(match[0].lower(), (match[0],))  # re ignores case in ways lower() does not
        result = _joined(_joined(result, text[done : match.start()]), options[rng.integers(len(options))])
        done = match.end()
    return _joined(result, text[done:])


def _joined(before: str, after: str) -> str:
    """With a space between two Latin words, which Chinese text around them did not need."""
    touching = before[-1:] + after[:1]
    return f"{before} {after}" if len(touching) == 2 and touching.isascii() and touching.isalnum() else before + after


def _alone(word: str) -> str:
    before = r"(?<![A-Za-z0-9])" if word[0].isascii() and word[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if word[-1].isascii() and word[-1].isalnum() else ""
    return before + re.escape(word) + after


def _exchange_words(text: str, rng: np.random.Generator) -> str:
    pieces = [match.span() for match in _WORD.finditer(text)]
    if len(pieces) < 2:
        return text
    at = int(rng.integers(len(pieces) - 1))
    (start, end), (next_start, next_end) = pieces[at : at + 2]
    return text[:start] + text[next_start:next_end] + text[end:next_start] + text[start:end] + text[next_end:]


def _shuffle_sentences(text: str, rng: np.random.Generator) -> str:
    """The sentences in another order; the space between them stays where it was."""
    spans = sentence_spans(text)
    if len(spans) < 2:
        return text
    order = [spans[at] for at in rng.permutation(len(spans))]
    ends = [*(start for start, _ in spans[1:]), len(text)]
    gaps = [text[end:after] for (_, end), after in zip(spans, ends, strict=True)]
    sentences = (text[start:end] + gap for (start, end), gap in zip(order, gaps, strict=True))
    return text[: spans[0][0]] + "".join(sentences)


def _truncate(text: str, rng: np.random.Generator) -> str:
    spans = sentence_spans(text)
    if len(spans) < 2:
        return text
    kept = int(rng.integers(math.ceil(_KEPT * len(spans)), len(spans)))
    return text[: spans[kept - 1][1]]
