"""The start of finerank-mini: an English cross-encoder that reads other languages' words.

    python recipes/finerank-mini/transplant.py READER ENCODER TRIMMED DATA OUT

READER is a folder of ms-marco-MiniLM-L-12-v2, which ranks English well; ENCODER one of multilingual-e5-small, in whose
space a word of any language lies near the English words it means; TRIMMED is what trim.py made of it. All layers are
the reader's. A word that both vocabularies have keeps the reader's embedding; any other gets those of the English words
nearest to it, as in WECHSEL (Minixhofer et al. 2022, arXiv:2112.06598), and a part of its own, so that different words
stay different.
"""

import argparse
import json
import unicodedata
from pathlib import Path

import numpy as np
import torch
from examples import read
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModel
from trim import count_pieces

Vectors = NDArray[np.float32]

SPECIALS = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
PUNCTUATION = dict(zip("。、「」『』《》【】・،؟؛―〜", '.,""""""[]·,?;-~', strict=True))
WORDS = "bert.embeddings.word_embeddings.weight"
SEEN_OFTEN = 8
"""How often English text must have a word of the reader for its embedding to be lent to others."""
NEIGHBOURS = 12
TEMPERATURE = 0.08
DIMENSIONS = 256
AT_ONCE = 512


def embed(encoder: Path, sequences: list[list[int]]) -> Vectors:
    """The mean of the encoder's last layer over each sequence of token ids: (sequences, hidden)."""
    model = AutoModel.from_pretrained(encoder).eval()
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    vectors = np.empty((len(sequences), model.config.hidden_size), np.float32)
    for first in range(0, len(order), AT_ONCE):
        some = order[first : first + AT_ONCE]
        rows = [torch.tensor(sequences[index]) for index in some]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.config.pad_token_id)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
        with torch.inference_mode():
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors[some] = ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()
    return vectors


def lendable(reader: Tokenizer, data: Path) -> dict[str, int]:
    """The reader's whole words that English text has often enough for their embeddings to be good."""
    counts = np.zeros(reader.get_vocab_size(), np.int64)
    for name in ("passages.en.jsonl.zst", "queries.en.jsonl.zst"):
        texts = [row.get("query") or f"{row['title']} {row['text']}" for row in read(data / name)]
        for encoding in reader.encode_batch_fast(texts, add_special_tokens=False):
            np.add.at(counts, encoding.ids, 1)
    words = sorted(reader.get_vocab().items(), key=lambda item: item[1])
    return {
        word: index
        for word, index in words
        if counts[index] >= SEEN_OFTEN and len(word) > 1 and word.isascii() and word.isalpha()
    }


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
    fits the words best, and fills up the usual length.
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
        lent[first : first + AT_ONCE] = mean + said + room * unsaid
    return lent


def make_start(reader: Path, encoder: Path, trimmed: Path, data: Path, out: Path) -> None:
    english, full = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (reader, encoder))
    for tokenizer in (english, full):
        tokenizer.no_truncation()
        tokenizer.no_padding()
    described = json.loads((trimmed / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = [piece for piece, _ in described["model"]["vocab"]]
    ids = np.array([full.token_to_id(piece) for piece in pieces])
    counts = count_pieces(full, data)
    shares = {lang: count[ids] / count.sum() for lang, count in counts.items() if lang != "xling"}
    in_english = shares["en"] >= np.max(list(shares.values()), axis=0) / 3
    same = [same_word(piece, at_home, english.get_vocab()) for piece, at_home in zip(pieces, in_english, strict=True)]

    lenders = lendable(english, data)
    begin, end = full.token_to_id("<s>"), full.token_to_id("</s>")
    alone = [[begin, int(index), end] for index in ids]
    vectors = embed(encoder, alone + [encoding.ids for encoding in full.encode_batch(list(lenders))])
    of_pieces, of_words = shared_space(vectors[: len(pieces)], vectors[len(pieces) :])
    weights = load_file(reader / "model.safetensors")
    known = weights[WORDS].numpy()
    embeddings = lend(of_pieces, of_words, known[list(lenders.values())])
    embeddings[pieces.index("▁")] = known[list(lenders.values())].mean(0)
    for index, at in enumerate(same):
        if at is not None:
            embeddings[index] = known[at]

    out.mkdir(parents=True, exist_ok=True)
    save_file(weights | {WORDS: torch.from_numpy(embeddings)}, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((reader / "config.json").read_text(encoding="utf-8"))
    config |= {"vocab_size": len(pieces), "pad_token_id": pieces.index("<pad>"), "num_labels": 1}
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (out / "tokenizer.json").write_bytes((trimmed / "tokenizer.json").read_bytes())
    print(f"{sum(at is not None for at in same)} of {len(pieces)} pieces are words the reader has too")


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("reader", "encoder", "trimmed", "data", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    make_start(options.reader, options.encoder, options.trimmed, options.data, options.out)
