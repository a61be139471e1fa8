"""The start of finerank-mini: an English cross-encoder that reads other languages' words.

    python recipes/finerank-mini/transplant.py READER TRIMMED DATA OUT

READER is a folder of ms-marco-MiniLM-L-12-v2, which ranks English well; TRIMMED is what trim.py made of
multilingual-e5-small, in whose space a word of any language lies near the English words it means. All layers are the
reader's. A piece that both vocabularies have keeps the reader's embedding; any other gets those of the English words
nearest to it, as in WECHSEL (Minixhofer et al. 2022, arXiv:2112.06598), and a part of its own, so that different words
stay different. Where a word lies is the mean over the texts it stands in (Bommasani et al. 2020, aclanthology
2020.acl-main.431): of 70 words in 14 languages, the nearest English word is then the translation for 87%, and for 51%
when each is read alone.
"""

import argparse
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
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
Ids = NDArray[np.int64]

SPECIALS = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
PUNCTUATION = dict(zip("。、「」『』《》【】・،؟؛―〜", '.,""""""[]·,?;-~', strict=True))
WORDS = "bert.embeddings.word_embeddings.weight"

LAYER = 5
"""Of the encoder's 12, where a word's meaning is clearest: above, it gives way to that of the whole text."""
CONTEXT_TOKENS = 2_400_000
"""Read in all, a language's part the same as any other's but English's, which is three times that."""
SEGMENT = 96
"""Tokens read together."""
RARE = (4, 15)
"""A text is read for a piece seen less often than this, first the one and then the other; then any text."""
SEEN_OFTEN = 2
"""How often an English word must have been read for its embedding to be lent to others."""

NEIGHBOURS = 12
TEMPERATURE = 0.08
DIMENSIONS = 256
OWN_PART = 0.5
AT_ONCE = 512

_WORD = re.compile("[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens read together, and which of them, as (first, last, word), are words that the reader has."""

    language: str
    ids: Ids
    words: list[tuple[int, int, int]] = field(default_factory=list)


class Means:
    """The mean of a vector over all contexts, each against the mean of its language, which says only which it is."""

    def __init__(self, count: int, hidden: int) -> None:
        self._sums = torch.zeros(count, hidden)
        self._of_language: dict[str, torch.Tensor] = {}
        self.seen: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(count))

    def add(self, language: str, ids: torch.Tensor, vectors: torch.Tensor) -> None:
        self._sums.index_add_(0, ids, vectors)
        self.seen[language].index_add_(0, ids, torch.ones(len(ids)))
        self._of_language[language] = self._of_language.get(language, 0) + vectors.sum(0)

    def mean(self) -> tuple[Vectors, NDArray[np.float32]]:
        """Vectors (count, hidden), 0 for what was never seen, and how often each was."""
        usual = sum(torch.outer(seen, self._of_language[language] / seen.sum()) for language, seen in self.seen.items())
        seen = torch.stack(list(self.seen.values())).sum(0)
        return ((self._sums - usual) / seen.clamp(min=1)[:, None]).numpy(), seen.numpy()


def segments(tokenizer: Tokenizer, data: Path, words: dict[str, int]) -> Iterator[Segment]:
    """Texts of every language cut into segments, those with rare pieces first; and every piece alone."""
    rng = np.random.default_rng(0)
    seen = np.zeros(tokenizer.get_vocab_size(), np.int64)
    texts: dict[str, list[str]] = defaultdict(list)
    for path in sorted(data.glob("*.jsonl.zst")):
        language = path.name.split(".")[1]
        if language != "xling":
            texts[language] += [row.get("query") or f"{row['title']} {row['text']}".strip() for row in read(path)]
    budget = CONTEXT_TOKENS / (len(texts) + 2)
    for language, of_language in texts.items():
        left = budget * (3 if language == "en" else 1)
        for rare in (*RARE, np.inf):
            for index in rng.permutation(len(of_language)):
                if left <= 0:
                    break
                for segment in _cut(tokenizer, language, of_language[index], words):
                    if (seen[segment.ids] < rare).any():
                        np.add.at(seen, segment.ids, 1)
                        left -= len(segment.ids)
                        yield segment
    for piece in range(len(seen)):
        yield Segment("alone", np.array([piece]))


def _cut(tokenizer: Tokenizer, language: str, text: str, words: dict[str, int]) -> Iterator[Segment]:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    begins = {start + text[start:end].startswith(" "): token for token, (start, end) in enumerate(encoding.offsets)}
    ends = {end: token for token, (_, end) in enumerate(encoding.offsets)}
    found = [
        (begins[word.start()], ends[word.end()], words[word[0].lower()])
        for word in (_WORD.finditer(text) if language == "en" else ())
        if word[0].lower() in words and word.start() in begins and word.end() in ends
    ]
    for first in range(0, len(encoding.ids), SEGMENT):
        last = first + SEGMENT
        inside = [(begin - first, end - first, word) for begin, end, word in found if begin >= first and end < last]
        yield Segment(language, np.array(encoding.ids[first:last]), inside)


def in_context(encoder: Path, read_segments: list[Segment], pieces: int, words: int) -> tuple[Means, Means]:
    """Where the encoder's layer puts every piece, and every word of the reader's."""
    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    del model.encoder.layer[LAYER:]
    begin, end, pad = 0, 2, model.config.pad_token_id
    of_pieces, of_words = (Means(count, model.config.hidden_size) for count in (pieces, words))
    read_segments.sort(key=lambda segment: (-len(segment.ids), segment.language))
    for first in range(0, len(read_segments), AT_ONCE // 8):
        some = read_segments[first : first + AT_ONCE // 8]
        rows = [torch.from_numpy(np.concatenate([[begin], segment.ids, [end]])) for segment in some]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            hidden = model(input_ids=ids, attention_mask=(ids != pad).long()).last_hidden_state.float()
        for segment, vectors in zip(some, hidden[:, 1:], strict=True):
            of_pieces.add(segment.language, torch.from_numpy(segment.ids), vectors[: len(segment.ids)])
            if segment.words:
                means = torch.stack([vectors[begin : end + 1].mean(0) for begin, end, _ in segment.words])
                of_words.add(segment.language, torch.tensor([word for *_, word in segment.words]), means)
    return of_pieces, of_words


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


def make_start(reader: Path, trimmed: Path, data: Path, out: Path) -> None:
    english, pieces_of = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (reader, trimmed))
    for tokenizer in (english, pieces_of):
        tokenizer.no_truncation()
        tokenizer.no_padding()
    vocabulary = english.get_vocab()
    pieces = [pieces_of.id_to_token(index) for index in range(pieces_of.get_vocab_size())]
    counts = count_pieces(pieces_of, data)
    shares = {lang: count / count.sum() for lang, count in counts.items() if lang != "xling"}
    in_english = shares["en"] >= np.max(list(shares.values()), axis=0) / 3
    same = [same_word(piece, at_home, vocabulary) for piece, at_home in zip(pieces, in_english, strict=True)]

    lenders = [word for word in sorted(vocabulary) if len(word) > 1 and word.isascii() and word.isalpha()]
    read_segments = list(segments(pieces_of, data, {word: place for place, word in enumerate(lenders)}))
    of_pieces, of_words = in_context(trimmed, read_segments, len(pieces), len(lenders))
    word_vectors, seen = of_words.mean()
    often = seen >= SEEN_OFTEN
    weights = load_file(reader / "model.safetensors")
    known = weights[WORDS].numpy()
    lent = known[[vocabulary[word] for word, enough in zip(lenders, often, strict=True) if enough]]
    embeddings = lend(*shared_space(of_pieces.mean()[0], word_vectors[often]), lent)
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
    for name in ("reader", "trimmed", "data", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    make_start(options.reader, options.trimmed, options.data, options.out)
