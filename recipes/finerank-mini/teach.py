"""Teacher logits for training lists: of finerank-mini's first stage, and for English of ms-marco-MiniLM-L-12-v2.

    python recipes/finerank-mini/teach.py lists.jsonl MINILM RUN/taught.jsonl
    python recipes/finerank-mini/teach.py recipes/finerank-mini/data/judged.jsonl.zst MINILM RUN/judged.jsonl
    python recipes/finerank-mini/teach.py recipes/finerank-mini/data/written.jsonl.zst MINILM RUN/written.jsonl

MINILM is a folder with float32 weights. Lists are appended in a seeded order, 200 at a time; run again, it goes on
where it was stopped.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finerank import Reranker
from finerank.io.jsonl import read_objects

AT_ONCE = 200
LENGTH = 192

Row = dict[str, Any]


def logits(reranker: Reranker, rows: Sequence[Row]) -> Iterator[list[float]]:
    """The first-stage logits of each list's passages."""
    pairs = [pair for row in rows for pair in reranker.encode(row["query"], row["passages"]).pairs]
    values = iter(reranker.scorer.score(pairs).logits.tolist())
    for row in rows:
        yield [round(next(values), 4) for _ in row["passages"]]


def is_english(row: Row) -> bool:
    """Whether MiniLM can read query and passages."""
    foreign = sum(ord(character) > 0x250 for passage in row["passages"] for character in passage)
    return row["language"] == "en" and all(ord(character) < 0x250 for character in row["query"]) and foreign < 20


def main(lists: Path, minilm: str, out: Path) -> None:
    rows = [dict(value) for _, value in read_objects(lists)]
    random.Random(3).shuffle(rows)
    done = len(out.read_text(encoding="utf-8").splitlines()) if out.exists() else 0
    late = Reranker.from_pretrained(max_length=LENGTH)
    english = Reranker.from_pretrained(minilm, max_length=LENGTH)
    with out.open("a", encoding="utf-8") as file:
        for first in range(done, len(rows), AT_ONCE):
            some = rows[first : first + AT_ONCE]
            for key, reranker, taught in (
                ("late", late, some),
                ("minilm", english, [row for row in some if is_english(row)]),
            ):
                for row, values in zip(taught, logits(reranker, taught), strict=True):
                    row[key] = values
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
            file.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path)
    parser.add_argument("minilm")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    main(options.lists, options.minilm, options.out)
