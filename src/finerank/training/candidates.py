"""Passages of a corpus that look relevant to a query: by BM25, by an embedder, or by a reranker's second look.

Knows nothing about which of them are.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finerank.errors import InvalidInput, MissingExtra
from finerank.io.decode import read_text
from finerank.ranking import PairScore, is_blank
from finerank.retrieval.embed import Embedder, Vectors
from finerank.text.chunk import chunk_spans
from finerank.text.terms import terms
from finerank.training.examples import read_texts

_PASSAGE_TERMS = 200
"""Terms of a passage of a text file, at most."""

_BLOCK = 1 << 16
"""Passages whose similarities are held at once."""


class CandidateSource(Protocol):
    """Finds candidates in the corpus it was made with."""

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        """For each query the positions of at most k passages in the corpus, best first."""
        ...


class PairScorer(Protocol):
    """Scores pairs: a `Reranker`, or what stands in for one."""

    def score_pairs(self, pairs: Iterable[tuple[str, str]]) -> list[PairScore]: ...


class Bm25:
    """Candidates by shared terms (Lucene's BM25, k1 1.5, b 0.75). Raises `MissingExtra` without bm25s."""

    def __init__(self, corpus: Sequence[str]) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise MissingExtra("BM25", "evaluate") from error
        _check_corpus(corpus)
        self._index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
        # bm25s fails where there are no terms at all.
        self._index.index([terms(passage) or [""] for passage in corpus], show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        return [self._search(words, k) if (words := terms(query)) else [] for query in queries]

    def _search(self, words: list[str], k: int) -> list[int]:
        scores = self._index.get_scores(words)
        return [position for position in _top(scores, k) if scores[position] > 0]


class Nearest:
    """Candidates by the cosine of vectors. The passages are embedded once, when it is made."""

    def __init__(self, corpus: Sequence[str], embedder: Embedder) -> None:
        _check_corpus(corpus)
        self._embedder = embedder
        self._passages = _unit(embedder.embed_passages(corpus))

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        vectors = _unit(self._embedder.embed_queries(queries))
        found: list[tuple[NDArray[np.int64], Vectors]] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(
            queries
        )
        for start in range(0, len(self._passages), _BLOCK):
            similarities = vectors @ self._passages[start : start + _BLOCK].T
            found = [_merge(best, row, start, k) for best, row in zip(found, similarities, strict=True)]
        return [positions.tolist() for positions, _ in found]


class Reranked:
    """Another source's first `depth` candidates in a reranker's order."""

    def __init__(self, source: CandidateSource, corpus: Sequence[str], scorer: PairScorer, depth: int = 100) -> None:
        self._source = source
        self._corpus = corpus
        self._scorer = scorer
        self._depth = depth

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        found = self._source.search(queries, max(k, self._depth))
        pairs = [(query, self._corpus[at]) for query, row in zip(queries, found, strict=True) for at in row]
        logits = iter([score.logit for score in self._scorer.score_pairs(pairs)])
        scored = [[(-next(logits), rank, at) for rank, at in enumerate(row)] for row in found]
        return [[at for _, _, at in sorted(row)][:k] for row in scored]


def read_passages(path: Path) -> list[str]:
    """The different passages of JSON lines ("text", "title"?), of a TSV file (id, text), of a BEIR folder, or of a
    folder of text files, cut at the ends of sentences into passages of at most 200 terms.

    Raises `InvalidInput` naming the file and line of what cannot be read.
    """
    if (path / "corpus.jsonl").is_file():
        path = path / "corpus.jsonl"
    passages = _from_folder(path) if path.is_dir() else read_texts(path).values()
    return list(dict.fromkeys(passage for passage in passages if not is_blank(passage)))


def _from_folder(path: Path) -> list[str]:
    files = sorted(file for file in path.rglob("*") if file.suffix in (".txt", ".md") and file.is_file())
    if not files:
        raise InvalidInput(f"{path}: holds no .txt or .md files and no corpus.jsonl")
    passages = []
    for file in files:
        text = read_text(file)
        passages += [text[start:end] for start, end in chunk_spans(text, _count_terms, _PASSAGE_TERMS)]
    return passages


def _count_terms(texts: Sequence[str]) -> list[int]:
    return [len(terms(text)) for text in texts]


def _check_corpus(corpus: Sequence[str]) -> None:
    if not corpus:
        raise InvalidInput("the corpus is empty; there is nothing to find in it")


def _top(scores: NDArray[Any], k: int) -> list[int]:
    """The positions of the k highest scores, best first; equal ones in order, but for those at the edge."""
    best = np.sort(np.argpartition(-scores, k - 1)[:k]) if k < len(scores) else np.arange(len(scores))
    return [int(position) for position in best[np.argsort(-scores[best], kind="stable")]]


def _merge(
    best: tuple[NDArray[np.int64], Vectors], row: Vectors, start: int, k: int
) -> tuple[NDArray[np.int64], Vectors]:
    """The best so far, and those of a block that begins at `start`."""
    chosen = np.array(_top(row, k), np.int64)
    positions, scores = np.concatenate([best[0], chosen + start]), np.concatenate([best[1], row[chosen]])
    order = np.argsort(-scores, kind="stable")[:k]
    return positions[order], scores[order]


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
