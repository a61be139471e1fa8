"""multilingual-e5-small with fewer words.

    python recipes/finerank-mini/trim.py ENCODER DATA OUT --vocabulary 64000

ENCODER is its folder (BERT's layout, XLM-RoBERTa's SentencePiece vocabulary). Kept are the special tokens, every
character, and the pieces that DATA's languages use most, each language counting the same.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from examples import read
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

WORDS = "embeddings.word_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
CHARACTERS_COUNTED = 1200
TEXTS_AT_ONCE = 2000


def count_pieces(tokenizer: Tokenizer, data: Path) -> dict[str, NDArray[np.int64]]:
    """How often each piece stands in the queries and passages of each language."""
    counts: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(tokenizer.get_vocab_size(), np.int64))
    for path in sorted(data.glob("*.jsonl.zst")):
        texts = [row.get("query") or f"{row['title']} {row['text'][:CHARACTERS_COUNTED]}" for row in read(path)]
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            for encoding in tokenizer.encode_batch_fast(texts[first : first + TEXTS_AT_ONCE], add_special_tokens=False):
                np.add.at(counts[path.name.split(".")[1]], encoding.ids, 1)
    return counts


def choose_pieces(pieces: list[str], counts: dict[str, NDArray[np.int64]], size: int) -> NDArray[np.int64]:
    """The ids of the pieces kept, in their order."""
    keep = np.array([piece in SPECIALS or len(piece.removeprefix("▁")) <= 1 for piece in pieces])
    share = np.mean([count / count.sum() for count in counts.values()], axis=0)
    others = np.argsort(-np.where(keep, -1.0, share), kind="stable")
    keep[others[: size - keep.sum()]] = True
    return np.flatnonzero(keep)


def trim_tokenizer(described: dict[str, Any], kept: NDArray[np.int64]) -> dict[str, Any]:
    """tokenizer.json with the pieces kept, and a template of two texts, each as if alone, of types 0 and 1."""
    described["model"]["vocab"] = [described["model"]["vocab"][index] for index in kept]
    place = {int(old): new for new, old in enumerate(kept)}
    for token in described["added_tokens"]:
        token["id"] = place[token["id"]]

    def alone(text: str, kind: int) -> list[dict[str, Any]]:
        begin, end = ({"SpecialToken": {"id": token, "type_id": kind}} for token in ("<s>", "</s>"))
        return [begin, {"Sequence": {"id": text, "type_id": kind}}, end]

    described["post_processor"] |= {"single": alone("A", 0), "pair": alone("A", 0) + alone("B", 1)}
    return described


def trim(encoder: Path, data: Path, out: Path, vocabulary: int) -> None:
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    described = json.loads((encoder / "tokenizer.json").read_text(encoding="utf-8"))
    counts = count_pieces(tokenizer, data)
    counts.pop("xling", None)  # its texts are the other languages' own
    kept = choose_pieces([piece for piece, _ in described["model"]["vocab"]], counts, vocabulary)
    out.mkdir(parents=True, exist_ok=True)
    trimmed = trim_tokenizer(described, kept)
    (out / "tokenizer.json").write_text(json.dumps(trimmed, ensure_ascii=False), encoding="utf-8")
    weights = load_file(encoder / "model.safetensors")
    weights[WORDS] = weights[WORDS][torch.from_numpy(kept)].contiguous()
    weights[TYPES][1] = weights[TYPES][0]  # the encoder knows one type; here they only tell the texts apart
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    config |= {"vocab_size": len(kept), "pad_token_id": 1}
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    coverage = {lang: round(float(count[kept].sum() / count.sum()), 4) for lang, count in counts.items()}
    print(f"{len(kept)} pieces in {out}; share of each language's pieces kept whole: {coverage}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--vocabulary", type=int, default=64_000)
    options = parser.parse_args()
    trim(options.encoder, options.data, options.out, options.vocabulary)
