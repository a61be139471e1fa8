"""Judged pairs of 15 languages to training lists: one passage that answers, and several that only look like it.

    python recipes/finerank-mini/examples.py DATA TOKENIZER OUT --queries 40000

DATA holds queries.{lang}.jsonl.zst and passages.{lang}.jsonl.zst. Extractive questions become lists of sentences or of
short windows around the answer, so that a passage's length gives nothing away; everything else keeps its beginning.
"""

import argparse
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from tokenizers import Tokenizer

from finerank.text.chunk import sentence_spans

KINDS = {"qa": "question", "faq": "question", "sentence": "question", "xling-title": "cross-lingual"}
SHARES = {"question": 0.45, "document": 0.35, "cross-lingual": 0.20}
TEMPERATURE = 0.5
"""Of the languages: a language with 4 times the queries is drawn from 2 times as often."""

WINDOW_TOKENS = (32, 48, 64, 96, 160)
SENTENCE_SHARE = 0.6
HARD_NEGATIVES, RANDOM_NEGATIVES = 4, 1

_SPACES = re.compile(r"\s+")
_THAI = re.compile("[\u0e00-\u0e7f]")


@dataclass(frozen=True, slots=True)
class Passage:
    title: str
    text: str

    @property
    def full(self) -> str:
        return f"{self.title}\n{self.text}" if self.title else self.text


def read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            yield json.loads(line)


def read_passages(data: Path) -> dict[str, Passage]:
    return {
        row["pid"]: Passage(_tidy(row.get("title") or ""), _tidy(row["text"]))
        for path in sorted(data.glob("passages.*"))
        for row in read(path)
    }


def draw_queries(data: Path, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """About `count` queries: kinds by `SHARES`, languages by `TEMPERATURE`, the rest evenly."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(data.glob("queries.*")):
        for row in read(path):
            kind = "cross-lingual" if ".xling." in path.name else KINDS.get(row["kind"], "document")
            groups[kind, row["lang"]].append(row)
    drawn = []
    for kind, share in SHARES.items():
        languages = {lang: rows for (of, lang), rows in groups.items() if of == kind}
        weights = {lang: len(rows) ** TEMPERATURE for lang, rows in languages.items()}
        for lang, rows in languages.items():
            wanted = min(len(rows), round(count * share * weights[lang] / sum(weights.values()) * 1.15))
            drawn += [rows[index] for index in rng.permutation(len(rows))[:wanted]]
    return [drawn[index] for index in rng.permutation(len(drawn))]


class ExampleMaker:
    """Builds the list of one query."""

    def __init__(self, passages: dict[str, Passage], tokenizer: Tokenizer, rng: np.random.Generator) -> None:
        self._passages = passages
        self._tokenizer = tokenizer
        self._rng = rng
        self._by_language: dict[str, list[str]] = defaultdict(list)
        for pid in passages:
            self._by_language[pid.rpartition("-")[0]].append(pid)

    def make(self, row: dict[str, Any]) -> dict[str, Any] | None:
        positive = self._passages[row["pos"][0]]
        answers = [_tidy(answer) for answer in row.get("answers", []) if answer.strip()]
        hard = [self._passages[pid] for pid in row["neg"]]
        others = [self._random(row["pos"][0], row["pos"]) for _ in range(RANDOM_NEGATIVES)]
        length = int(self._rng.choice(WINDOW_TOKENS))
        if answers and any(answer in positive.text for answer in answers):
            by_sentence = self._rng.random() < SENTENCE_SHARE
            texts = self._around_answers(row["query"], answers, positive, hard, others, 0 if by_sentence else length)
        else:
            texts = [self._beginning(passage.full, length) for passage in (positive, *hard, *others)]
        texts = _distinct(texts)[: 1 + HARD_NEGATIVES + RANDOM_NEGATIVES]
        if len(texts) < 3 or not texts[0]:
            return None
        labels = [1.0] + [0.0] * (len(texts) - 1)
        return {"query": _tidy(row["query"]), "passages": texts, "labels": labels, "language": row["lang"]}

    def _around_answers(
        self,
        query: str,
        answers: list[str],
        positive: Passage,
        hard: list[Passage],
        others: list[Passage],
        length: int,
    ) -> list[str]:
        """The sentence that answers best first (or a window around it), then others without an answer string."""
        sentences = _sentences(positive.text)
        answering = [sentence for sentence in sentences if any(answer in sentence for answer in answers)]
        if not answering:
            return [self._beginning(passage.full, length or 96) for passage in (positive, *hard, *others)]
        best = max(answering, key=lambda sentence: _overlap(query, sentence))
        beside = sorted((s for s in sentences if s not in answering), key=lambda s: -_overlap(query, s))
        wrong = []
        for passage in (*hard, *others):
            candidates = [s for s in _sentences(passage.text) if not any(answer in s for answer in answers)]
            if candidates:
                wrong.append((passage, max(candidates, key=lambda s: _overlap(query, s))))
        if not length:
            return [best, *beside[:2], *(sentence for _, sentence in wrong)]
        windows = [self._window(passage.text, sentence, length) for passage, sentence in wrong]
        return [self._window(positive.text, best, length), *(w for w in windows if not any(a in w for a in answers))]

    def _window(self, text: str, sentence: str, length: int) -> str:
        """Neighbouring sentences around one, of about `length` tokens, the sentence anywhere in it."""
        sentences = _sentences(text)
        first = last = sentences.index(sentence)
        while True:
            before, after = first > 0, last + 1 < len(sentences)
            if not before and not after:
                break
            take_before = before and (not after or self._rng.random() < 0.5)
            grown = sentences[first - take_before : last + 1 + (not take_before)]
            if len(self._tokenizer.encode(" ".join(grown), add_special_tokens=False).ids) > length:
                break
            first, last = first - take_before, last + (not take_before)
        return " ".join(sentences[first : last + 1])

    def _beginning(self, text: str, length: int) -> str:
        offsets = self._tokenizer.encode(text[: length * 12], add_special_tokens=False).offsets
        return text[: offsets[length - 1][1]] if len(offsets) > length else text

    def _random(self, beside: str, but_not: list[str]) -> Passage:
        pids = self._by_language[beside.rpartition("-")[0]]
        while True:
            pid = pids[self._rng.integers(len(pids))]
            if pid not in but_not:
                return self._passages[pid]


def _tidy(text: str) -> str:
    return _SPACES.sub(" ", text).strip()


def _sentences(text: str) -> list[str]:
    """Sentences; Thai, which writes a space where others end a sentence, in runs of at least 60 characters."""
    found = [text[start:end] for start, end in sentence_spans(text)]
    return [part for sentence in found for part in (_thai(sentence) if _THAI.search(sentence) else [sentence])]


def _thai(text: str) -> list[str]:
    parts = [""]
    for word in text.split(" "):
        parts[-1] = f"{parts[-1]} {word}".strip()
        if len(parts[-1]) >= 60:
            parts.append("")
    return [part for part in parts if part]


def _overlap(query: str, sentence: str) -> float:
    """The part of the query's character trigrams (bigrams where it is short) that the sentence has."""
    size = 3 if len(query) > 20 else 2
    grams = {query[i : i + size] for i in range(len(query) - size + 1)}
    return sum(gram in sentence for gram in grams) / max(1, len(grams))


def _distinct(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--queries", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    maker = ExampleMaker(read_passages(options.data), tokenizer, rng)
    made = 0
    with options.out.open("w", encoding="utf-8") as file:
        for row in draw_queries(options.data, options.queries, rng):
            if example := maker.make(row):
                file.write(json.dumps(example, ensure_ascii=False) + "\n")
                made += 1
    print(f"{made} lists in {options.out}")


if __name__ == "__main__":
    main()
