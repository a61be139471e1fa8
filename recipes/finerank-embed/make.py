"""finerank-embed: a static embedder, a vector for each piece of vocabulary, from where multilingual-e5-small puts them.

    python recipes/finerank-mini/trim.py ENCODER DATA runs/trimmed
    python recipes/finerank-embed/contexts.py runs/trimmed DATA runs/contexts.npz
    python recipes/finerank-embed/make.py runs/trimmed runs/contexts.npz src/finerank/models/finerank-embed

A piece's vector is its mean over the texts it stands in, reduced by PCA with the strongest directions damped, and
weighted against its frequency by SIF (Arora, Liang and Ma 2017, "A Simple but Tough-to-Beat Baseline for Sentence
Embeddings"). The folder is model2vec's.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from model2vec import StaticModel
from model2vec.quantization import DType, quantize_embeddings
from numpy.typing import NDArray
from tokenizers import Tokenizer

DIMENSIONS = 256
SIF = 1e-4


def reduced(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """The vectors along their `dimensions` strongest directions, each divided by the root of its spread."""
    offsets = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(offsets.T @ offsets)
    along = offsets @ directions[:, ::-1][:, :dimensions]
    return along / np.sqrt(along.std(0))


def make(trimmed: Path, contexts: Path, out: Path, dimensions: int) -> None:
    found = np.load(contexts)
    frequency = (found["counts"] / found["counts"].sum(1, keepdims=True)).mean(0)
    vectors = reduced(found["pieces"], dimensions) * (SIF / (SIF + frequency))[:, None]
    tokenizer = Tokenizer.from_file(str(trimmed / "tokenizer.json"))
    tokenizer.no_truncation()
    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": "intfloat/multilingual-e5-small",
        "apply_pca": dimensions,
        "sif_coefficient": SIF,
        "hidden_dim": dimensions,
        "pooling": "mean",
        "embedding_dtype": "int8",
        "normalize": True,
    }
    static = StaticModel(quantize_embeddings(vectors, DType.Int8), tokenizer, config, normalize=True)
    static.save_pretrained(str(out))
    (out / "README.md").unlink(missing_ok=True)  # the library's own card speaks of another model
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(json.dumps({"dimensions": dimensions, "tokens": len(vectors), "megabytes": round(size / 1e6, 1)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trimmed", "contexts", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS)
    options = parser.parse_args()
    make(options.trimmed, options.contexts, options.out, options.dimensions)
