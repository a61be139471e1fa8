"""Doubles for tests of code that ranks: deterministic, quick, without weights or settings from outside.

>>> ranking = stub_reranker().rank("reset button", ["Keep it dry.", "Hold the reset button."])
>>> ranking[0].document.text
'Hold the reset button.'
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Unpack
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from tokenizers import PreTokenizedString, Regex, Token, Tokenizer, models, pre_tokenizers, processors

from finerank.errors import OutOfMemory
from finerank.reranker import Reranker
from finerank.scoring.backend import ScoringBackend
from finerank.scoring.batch import Batch, Tokens
from finerank.scoring.cache import open_cache
from finerank.scoring.calibration import find_calibration
from finerank.scoring.encode import PairEncoder
from finerank.scoring.scorer import Scorer
from finerank.settings import Options, Settings
from finerank.text.terms import terms

_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_CJK = r"\u3040-\u30ff\u3400-\u9fff"
# One token is a Chinese or Japanese character, a word, or a punctuation mark.
_WORD = Regex(rf"[{_CJK}]|[\w&&[^{_CJK}]]+|[^\w\s]")


def word_id(word: str) -> int:
    """A word's token id: a hash of it in lower case, so that there is no vocabulary and no unknown word."""
    return len(_SPECIALS) + crc32(word.lower().encode()) % (2**31 - len(_SPECIALS))


class _HashedWords:
    def pre_tokenize(self, text: PreTokenizedString) -> None:
        text.tokenize(lambda word: [Token(word_id(word), word, (0, len(word.encode())))])


def word_tokenizer() -> Tokenizer:
    """One token a word, in BERT's layout: [CLS] query [SEP] passage [SEP], of types 0 and 1."""
    vocabulary = {token: token_id for token_id, token in enumerate(_SPECIALS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORD, "removed", invert=True),
            pre_tokenizers.PreTokenizer.custom(_HashedWords()),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer


@dataclass
class OverlapBackend:
    """A pair's logit is the share of the query's words that the passage holds, less 1/10,000 a word of it.

    Faults on request: a batch of more than `memory_tokens` runs out of memory, every forward raises `error`,
    a passage that holds `nan_word` scores NaN. `batches` are those seen, failed ones too.

    >>> backend = OverlapBackend(memory_tokens=3)
    >>> stub_reranker(backend).rank("reset button", ["Hold it."])   # doctest: +ELLIPSIS
    Traceback (most recent call last):
    finerank.errors.OutOfMemory: one pair of 8 tokens does not fit into the device's memory...
    """

    padded: bool = False
    memory_tokens: int | None = None
    error: Exception | None = None
    nan_word: str | None = None
    batches: list[Batch] = field(default_factory=list, init=False)
    closed: bool = field(default=False, init=False)

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        self.batches.append(batch)
        if self.error is not None:
            raise self.error
        tokens = len(batch) * int(batch.lengths.max()) if self.padded else len(batch.token_ids)
        if self.memory_tokens is not None and tokens > self.memory_tokens:
            raise OutOfMemory(f"the stub has memory for {self.memory_tokens} tokens, not for {tokens}")
        cuts = batch.starts[1:-1]
        pairs = zip(np.split(batch.token_ids, cuts), np.split(batch.type_ids, cuts), strict=True)
        return np.array([self._logit(token_ids, type_ids) for token_ids, type_ids in pairs], np.float32)

    def close(self) -> None:
        self.closed = True

    def _logit(self, token_ids: Tokens, type_ids: Tokens) -> float:
        words = token_ids >= len(_SPECIALS)
        query, passage = set(token_ids[words & (type_ids == 0)]), token_ids[words & (type_ids == 1)]
        if self.nan_word is not None and word_id(self.nan_word) in passage:
            return float("nan")
        return len(query.intersection(passage)) / max(len(query), 1) - len(passage) / 10_000


class TermsEmbedder:
    """A vector counts a text's terms, hashed to `dimensions` places: texts with the same terms lie together."""

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self.embedded: list[str] = []

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += texts
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for term in terms(text):
                row[crc32(term.encode()) % self.dimensions] += 1
        return vectors

    embed_passages = embed_queries


@dataclass
class ScriptedGenerator:
    """Writes `pieces`, then raises `error` if there is one. `asked` are the chats it was given.

    >>> "".join(ScriptedGenerator(["Hold ", "it [1]."]).stream([{"role": "user", "content": "how?"}]))
    'Hold it [1].'
    """

    pieces: Sequence[str] = ()
    error: Exception | None = None
    name: str = "scripted"
    asked: list[list[dict[str, str]]] = field(default_factory=list, init=False)

    def stream(self, messages: Sequence[dict[str, str]]) -> Iterator[str]:
        self.asked.append(list(messages))
        yield from self.pieces
        if self.error is not None:
            raise self.error


def stub_reranker(backend: ScoringBackend | None = None, /, **options: Unpack[Options]) -> Reranker:
    """A `Reranker` on `word_tokenizer` and `backend`, an `OverlapBackend` unless given. max_length is 512.

    Options are those of `Settings`; with fallback="cpu" it falls back to an `OverlapBackend` without faults.
    """
    settings = Settings(**options)  # type: ignore[misc]  # use_fp16 is understood by Settings.load alone
    scorer = Scorer(
        backend or OverlapBackend(),
        max_batch_tokens=settings.batch_tokens or 1024,
        namespace="stub",
        cache=open_cache(settings.cache, settings.cache_entries),
        deterministic=settings.deterministic,
        open_fallback=OverlapBackend if settings.fallback == "cpu" else None,
    )
    encoder = PairEncoder(word_tokenizer(), settings.max_length or 512)
    calibration = find_calibration(settings.calibration, None)
    return Reranker(encoder, scorer, settings=settings, calibration=calibration)
