"""Judged sets as `finerank evaluate` and `finerank calibrate` read them."""

from collections.abc import Sequence
from pathlib import Path

from finerank.errors import InvalidSetting
from finerank.evaluation.datasets import FirstStage, JudgedSet, find_sets, read_set

_DEPTH = 100
"""Candidates a query that BM25 finds where a set has none."""


def read_sets(
    paths: Sequence[Path], split: str, depth: int | None, run: Path | None = None, qrels: Path | None = None
) -> list[JudgedSet]:
    """All sets before any is scored: a bad line in the last must not cost the others' time."""
    folders = find_sets(paths)
    if len(folders) != 1 and (run or qrels):
        raise InvalidSetting(
            f"--run and --qrels go with one set, and here are {len(folders)}; evaluate them one by one"
        )
    bm25 = _bm25(depth or _DEPTH)
    return [read_set(folder, run=run, qrels=qrels, split=split, bm25=bm25) for folder in folders]


def _bm25(depth: int) -> FirstStage:
    def find(corpus: Sequence[str], queries: Sequence[str]) -> list[list[int]]:
        from finerank.training.candidates import Bm25

        return Bm25(corpus).search(queries, depth)

    return find
