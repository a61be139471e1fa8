"""Recall@50 of an embedder beside BM25's, over the whole corpus of each judged set.

python recipes/finerank-embed/recall.py src/finerank/models/finerank-embed SETS/lohelp-* SETS/gnomehelp-*
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from finerank.evaluation.datasets import JudgedSet, read_set
from finerank.io.jsonl import read_objects
from finerank.retrieval.embed import load_embedder
from finerank.training.candidates import Bm25, CandidateSource, Nearest

K = 50


def recall(judged: JudgedSet, source: CandidateSource, ids: list[str]) -> float:
    """The mean share of a query's relevant documents among the first K."""
    queries = [query for query in judged.queries if query.relevant]
    found = source.search([query.text for query in queries], min(K, len(ids)))
    kept = ({ids[place] for place in places} for places in found)
    return float(
        np.mean([len(query.relevant & some) / len(query.relevant) for query, some in zip(queries, kept, strict=True)])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embedder")
    parser.add_argument("sets", type=Path, nargs="+")
    options = parser.parse_args()
    embedder, groups = load_embedder(options.embedder), defaultdict(list)
    for folder in options.sets:
        judged = read_set(folder)
        rows = [fields for _, fields in read_objects(folder / "corpus.jsonl")]
        ids, texts = [row["_id"] for row in rows], [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
        figures = [recall(judged, Bm25(texts), ids), recall(judged, Nearest(texts, embedder), ids)]
        print(f"{folder.name:24s} BM25 {figures[0]:.3f}  embedder {figures[1]:.3f}", flush=True)
        groups["cross-lingual" if "-x-" in folder.name else "monolingual"].append(figures)
    means = {
        name: dict(zip(("bm25", "embedder"), np.mean(some, 0).round(4), strict=True)) for name, some in groups.items()
    }
    print(json.dumps(means, default=float))


if __name__ == "__main__":
    main()
