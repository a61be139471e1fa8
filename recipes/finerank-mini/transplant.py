"""The start of finerank-mini: an English cross-encoder that reads other languages' words.

    python recipes/finerank-mini/transplant.py READER TRIMMED CONTEXTS OUT

READER is a folder of ms-marco-MiniLM-L-12-v2, which ranks English well; TRIMMED and CONTEXTS are what trim.py and
contexts.py made of multilingual-e5-small. All layers are the reader's. A piece that both vocabularies have keeps the
reader's embedding; any other gets those of the English words nearest to it, as in WECHSEL (Minixhofer et al. 2022,
arXiv:2112.06598), and a part of its own, so that different words stay different.
"""

import argparse
import json
import unicodedata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

Vectors = NDArray[np.float32]

SPECIALS = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
PUNCTUATION = dict(zip("。、「」『』《》【】・،؟؛―〜", '.,""""""[]·,?;-~', strict=True))
WORDS = "bert.embeddings.word_embeddings.weight"

SEEN_OFTEN = 2
"""In how many texts an English word must stand for its embedding to be lent to others."""
NEIGHBOURS = 12
TEMPERATURE = 0.08
DIMENSIONS = 256
OWN_PART = 0.5
AT_ONCE = 512


def same_word(piece: str, english: bool, vocabulary: dict[str, int]) -> int | None:
    """The reader's id of the piece, where both mean the same. `english`: it is used in English as much as anywhere."""
    if piece in SPECIALS:
        return vocabulary[SPECIALS[piece]]
    text = unicodedata.normalize("NFKC", piece.removeprefix("▁")).lower()
    text = PUNCTUATION.get(text, text)
    if not text.isascii() and (text.isalpha() or len(text) > 1):
        return None
    begins = piece.startswith("▁")
    if begins and len(text) > 1 and text.isalpha() and not english:
        return None
    inside = None if begins or not text.isalnum() else vocabulary.get(f"##{text}")
    return vocabulary.get(text) if inside is None else inside


def shared_space(pieces: Vectors, words: Vectors) -> tuple[Vectors, Vectors]:
    """Both as unit vectors, without the words' mean and with their strongest directions damped: those say how frequent
    a word is, and hide what it means."""
    mean = words.mean(0)
    _, strength, directions = np.linalg.svd(words - mean, full_matrices=False)
    damped = directions[:DIMENSIONS].T / np.sqrt(strength[:DIMENSIONS])
    return _unit((pieces - mean) @ damped), _unit((words - mean) @ damped)


def lend(pieces: Vectors, words: Vectors, embeddings: Vectors) -> Vectors:
    """Embeddings for pieces from those of the words nearest to them.

    What the neighbours leave unsaid of a piece's place is turned into the reader's space by the orthogonal map that
    fits the words best, and fills up `OWN_PART` of the usual length.
    """
    mean = embeddings.mean(0)
    offsets = embeddings - mean
    usual = np.median(np.linalg.norm(offsets, axis=1))
    left, _, right = np.linalg.svd(words.T @ offsets, full_matrices=False)
    lent = np.empty((len(pieces), embeddings.shape[1]), np.float32)
    for first in range(0, len(pieces), AT_ONCE):
        some = pieces[first : first + AT_ONCE]
        similarity = some @ words.T
        nearest = np.argpartition(-similarity, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        weights = np.exp(np.take_along_axis(similarity, nearest, 1) / TEMPERATURE)
        weights /= weights.sum(1, keepdims=True)
        said = np.einsum("pn,pnh->ph", weights, offsets[nearest])
        unsaid = _unit((some - np.einsum("pn,pnd->pd", weights, words[nearest])) @ left @ right)
        room = np.sqrt(np.maximum(usual**2 - (said**2).sum(1, keepdims=True), 0))
        lent[first : first + AT_ONCE] = mean + said + OWN_PART * room * unsaid
    return lent


def make_start(reader: Path, trimmed: Path, contexts: Path, out: Path) -> None:
    vocabulary = Tokenizer.from_file(str(reader / "tokenizer.json")).get_vocab()
    tokenizer = Tokenizer.from_file(str(trimmed / "tokenizer.json"))
    pieces = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    found = np.load(contexts)
    shares = found["counts"] / found["counts"].sum(1, keepdims=True)
    in_english = shares[list(found["languages"]).index("en")] >= shares.max(0) / 3
    same = [same_word(piece, at_home, vocabulary) for piece, at_home in zip(pieces, in_english, strict=True)]

    often = found["read_often"] >= SEEN_OFTEN
    weights = load_file(reader / "model.safetensors")
    known = weights[WORDS].numpy()
    lent = known[[vocabulary[word] for word in found["words"][often]]]
    embeddings = lend(*shared_space(found["pieces"], found["placed"][often]), lent)
    embeddings[pieces.index("▁")] = lent.mean(0)
    for index, at in enumerate(same):
        if at is not None:
            embeddings[index] = known[at]

    out.mkdir(parents=True, exist_ok=True)
    save_file(weights | {WORDS: torch.from_numpy(embeddings)}, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((reader / "config.json").read_text(encoding="utf-8"))
    config |= {"vocab_size": len(pieces), "pad_token_id": pieces.index("<pad>"), "num_labels": 1}
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (out / "tokenizer.json").write_bytes((trimmed / "tokenizer.json").read_bytes())
    print(
        f"{len(lent)} English words lend; {sum(at is not None for at in same)} of {len(pieces)} pieces are such words"
    )


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("reader", "trimmed", "contexts", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    make_start(options.reader, options.trimmed, options.contexts, options.out)
