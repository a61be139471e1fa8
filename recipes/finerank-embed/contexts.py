"""Where an encoder puts every piece of its vocabulary, on average over the texts it stands in.

    python recipes/finerank-embed/contexts.py TRIMMED DATA OUT

TRIMMED is what finerank-mini's trim.py made of multilingual-e5-small: words that mean the same lie near each other in
it, whatever their language. A piece is often only a part of a word, and read alone it says little: of 70 words in 14
languages the nearest English word is the translation for 87% by the mean over contexts (Bommasani et al. 2020,
aclanthology 2020.acl-main.431), and for 51% when each is read alone. OUT (.npz) also says how often each language uses
each piece.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

sys.path.append(str(Path(__file__).parents[1] / "finerank-mini"))
from examples import read
from trim import count_pieces

LAYER = 5
"""Of the encoder's 12, where a word's meaning is clearest: above, it gives way to that of the whole text."""
CONTEXT_TOKENS = 2_400_000
"""Read in all, a language's part the same as any other's but English's, which is three times that."""
SEGMENT = 96
"""Tokens read together."""
RARE = (4, 15)
"""A text is read for a piece seen less often than this, first the one and then the other; then any text."""
SEGMENTS_AT_ONCE = 64

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens read together."""

    language: str
    ids: Ids


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

    def mean(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors (count, hidden), 0 for what was never seen, and how often each was."""
        usual = sum(torch.outer(seen, self._of_language[language] / seen.sum()) for language, seen in self.seen.items())
        seen = torch.stack(list(self.seen.values())).sum(0)
        return ((self._sums - usual) / seen.clamp(min=1)[:, None]).numpy(), seen.numpy()


def segments(tokenizer: Tokenizer, data: Path) -> Iterator[Segment]:
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
                for segment in _cut(tokenizer, language, of_language[index]):
                    if (seen[segment.ids] < rare).any():
                        np.add.at(seen, segment.ids, 1)
                        left -= len(segment.ids)
                        yield segment
    for piece in range(len(seen)):
        yield Segment("alone", np.array([piece]))


def _cut(tokenizer: Tokenizer, language: str, text: str) -> Iterator[Segment]:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    for first in range(0, len(ids), SEGMENT):
        yield Segment(language, np.array(ids[first : first + SEGMENT]))


def in_context(encoder: Path, read_segments: list[Segment], pieces: int) -> Means:
    """Where the encoder's layer puts every piece."""
    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    del model.encoder.layer[LAYER:]
    begin, end, pad = 0, 2, model.config.pad_token_id
    means = Means(pieces, model.config.hidden_size)
    read_segments.sort(key=lambda segment: (-len(segment.ids), segment.language))
    for first in range(0, len(read_segments), SEGMENTS_AT_ONCE):
        some = read_segments[first : first + SEGMENTS_AT_ONCE]
        rows = [torch.from_numpy(np.concatenate([[begin], segment.ids, [end]])) for segment in some]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            hidden = model(input_ids=ids, attention_mask=(ids != pad).long()).last_hidden_state.float()
        for segment, vectors in zip(some, hidden[:, 1:], strict=True):
            means.add(segment.language, torch.from_numpy(segment.ids), vectors[: len(segment.ids)])
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trimmed", "data", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.trimmed / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = list(segments(tokenizer, options.data))
    means = in_context(options.trimmed, found, tokenizer.get_vocab_size())
    counts = count_pieces(tokenizer, options.data)
    counts.pop("xling", None)  # its texts are the other languages' own
    pieces, seen = means.mean()
    languages = {"languages": np.array(list(counts)), "counts": np.stack(list(counts.values()))}
    np.savez(options.out, pieces=pieces, seen=seen, **languages)
    print(f"{(seen > 1).sum()} of {len(seen)} pieces stand in texts")


if __name__ == "__main__":
    main()
