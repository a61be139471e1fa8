"""Query and passage to the token sequence the model reads, cut as BAAI's FlagEmbedding cuts it.

The query, alone, is cut to 3/4 of max_length; then the passage alone is cut to what room is left. The special tokens
around them are read off the tokenizer's own template, so that every family is handled by one piece of code; the texts
themselves hold none, whatever they spell. White space around a text is read by byte-level BPE alone, and a text in
which nothing can be seen is read as an empty one.
"""

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
from tokenizers import Tokenizer

from finerank.errors import BrokenModel, InvalidSetting, UnreadableQuery, UnsupportedModel
from finerank.ranking import is_blank
from finerank.scoring.batch import EncodedPair, Tokens
from finerank.scoring.families import is_late
from finerank.scoring.model_files import ModelFiles
from finerank.scoring.text_tokenizer import TextTokenizer
from finerank.scoring.tokenizer import load_tokenizer

QUERY_SHARE = 3 / 4
"""The part of max_length a query may take: FlagEmbedding's query_max_length."""

LATE_STEP = 32
"""Late interaction leaves a passage a multiple of so many tokens: beside any short query it is cut alike, and known."""

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_CHARACTERS_PER_TOKEN = 16
_MOST_CHARACTERS = 1_500_000  # tokenized in 1 s
_CUT_MARGIN = 128  # a word cut short may become 100 pieces where WordPiece makes the whole one [UNK]


@dataclass(frozen=True, slots=True)
class _Template:
    """The special tokens before, between and after query and passage, and the types of these and of both texts."""

    before: Tokens
    between: Tokens
    after: Tokens
    special_types: tuple[Tokens, Tokens, Tokens]
    text_types: tuple[int, int]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        pair = tokenizer.encode("a", "b")
        parts = pair.sequence_ids
        if 0 not in parts or 1 not in parts:
            raise UnsupportedModel("the tokenizer has no template for pairs: its post_processor drops one side")
        query, passage = parts.index(0), parts.index(1)
        query_end, passage_end = len(parts) - parts[::-1].index(0), len(parts) - parts[::-1].index(1)
        ids, types = np.array(pair.ids, np.int32), np.array(pair.type_ids, np.int32)
        return cls(
            before=ids[:query],
            between=ids[query_end:passage],
            after=ids[passage_end:],
            special_types=(types[:query], types[query_end:passage], types[passage_end:]),
            text_types=(int(types[query]), int(types[passage])),
        )

    def __len__(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query's tokens, cut to its share; made once a request."""

    token_ids: Tokens
    truncated: bool


class PairEncoder:
    """Builds the pairs of one model, in which a passage may have a multiple of `step` tokens, if there is room for one.

    >>> encoder = PairEncoder(tokenizer, max_length=512)             # doctest: +SKIP
    >>> encoder.encode(encoder.encode_query("who?"), ["I", "you"])   # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, step: int = 1) -> None:
        self._tokenizer = TextTokenizer(tokenizer)
        self._step = step
        self._template = _Template.of(tokenizer)
        self._set_length(max_length)

    def _set_length(self, max_length: int) -> None:
        self.max_length = max_length
        self._query_length = min(int(max_length * QUERY_SHARE), max_length - len(self._template) - 1)
        if self._query_length < 1:
            raise InvalidSetting(f"max_length={max_length}: leaves no room for a query and a passage; use 32 or more")

    @property
    def types_differ(self) -> bool:
        """Whether a query's tokens are of type 0 and a passage's of type 1, with the special tokens around each."""
        before, between, after = self._template.special_types
        types = np.concatenate([before, [self._template.text_types[0]], between, [self._template.text_types[1]], after])
        return set(types.tolist()) == {0, 1} and bool((np.diff(types) >= 0).all())

    def encode_query(self, query: str) -> EncodedQuery:
        """The query's tokens, cut to 3/4 of max_length."""
        ((ids, cut),) = self._tokenize([query], self._query_length)
        return EncodedQuery(ids[: self._query_length], cut)

    def shortened(self, max_length: int) -> "PairEncoder":
        """The same for shorter pairs. Raises `InvalidSetting` when there is no room in them."""
        shorter = copy(self)
        shorter._set_length(max_length)
        return shorter

    def trimmed(self, text: str) -> str:
        """The text as it is read: empty if nothing in it can be seen, and without the white space around it unless the
        model was trained to read that."""
        if is_blank(text):
            return ""
        return text if self._tokenizer.keeps_spaces else text.strip()

    def check_query(self, query: str) -> None:
        """Raises `UnreadableQuery` if the tokenizer leaves nothing of it: a model may score that as high as a match."""
        ((ids, _),) = self._tokenize([self.trimmed(query)], self._query_length)
        if not self._tokenizer.holds_words(ids[: self._query_length].tolist()):
            raise UnreadableQuery(
                "query has no token that this model knows, so there is nothing to rank by; write it in words of a "
                "language that the model reads"
            )

    def encode(self, query: EncodedQuery, passages: Sequence[str], room: int | None = None) -> list[EncodedPair]:
        """One pair a passage, each at most max_length tokens, and at most `room` of them the passage's."""
        room = self.passage_room(query) if room is None else room
        read = [self.trimmed(passage) for passage in passages]
        return [self._pair(query, ids[:room], cut) for ids, cut in self._tokenize(read, room)]

    def passage_room(self, query: EncodedQuery) -> int:
        """How many tokens of a passage fit beside this query."""
        room = self.max_length - len(query.token_ids) - len(self._template)
        return room // self._step * self._step or room

    def read_length(self, query: EncodedQuery, passage: str) -> int:
        """How many characters of a passage are read beside this query, with the white space before them."""
        room = self.passage_room(query)
        read = self.trimmed(passage)
        size = room * _CHARACTERS_PER_TOKEN
        while len(spans := self.token_spans(read[:size])) <= room and size < min(len(read), _MOST_CHARACTERS):
            size *= 4
        before = passage.find(read)
        if len(spans) > room:
            return before + spans[room - 1][1]
        return len(passage) if size >= len(read) else before + size

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, uncut and without special tokens."""
        return [len(ids) for ids in self._tokenizer.encode_batch([encodable(text) for text in texts])]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of `text` lies in it, as character offsets."""
        return list(self._tokenizer.encode(encodable(text)).offsets)

    def _pair(self, query: EncodedQuery, passage_ids: Tokens, cut: bool) -> EncodedPair:
        template = self._template
        before, between, after = template.special_types
        of_query, of_passage = template.text_types
        types = (before, np.full(len(query.token_ids), of_query), between, np.full(len(passage_ids), of_passage), after)
        return EncodedPair(
            token_ids=np.concatenate((template.before, query.token_ids, template.between, passage_ids, template.after)),
            type_ids=np.concatenate(types, dtype=np.int32),
            truncated=query.truncated or cut,
        )

    def _tokenize(self, texts: Sequence[str], limit: int) -> list[tuple[Tokens, bool]]:
        """Token ids of each text, and whether there are more than `limit`; of a text much longer only the beginning,
        past the limit.

        A long text is read in windows that grow until they hold enough tokens, or `_MOST_CHARACTERS`: only a text of
        hardly any tokens goes on beyond, such as 3 MB of characters the tokenizer drops, and the rest of it is cut.
        """
        window = limit * _CHARACTERS_PER_TOKEN
        heads = [encodable(text if len(text) <= window else _head(text, window)) for text in texts]
        ids = [np.array(each, np.int32) for each in self._tokenizer.encode_batch(heads)]
        cut = [False] * len(texts)
        for index, text in enumerate(texts):
            size = window
            while min(len(text), _MOST_CHARACTERS) > size and len(ids[index]) < limit + _CUT_MARGIN:
                size *= 4
                (longer,) = self._tokenizer.encode_batch([encodable(_head(text, size))])
                ids[index] = np.array(longer, np.int32)
            cut[index] = len(ids[index]) > limit or len(text) > max(size, _MOST_CHARACTERS)
        return list(zip(ids, cut, strict=True))


def open_encoder(files: ModelFiles, max_length: int) -> PairEncoder:
    """Raises `BrokenModel` if the tokenizer makes tokens that the model has no embedding for, and `UnsupportedModel` if
    the model reads the texts apart and the tokenizer does not tell them apart."""
    tokenizer = load_tokenizer(files.tokenizer)
    tokens, vocabulary = tokenizer.get_vocab_size(), files.config.get("vocab_size")
    if isinstance(vocabulary, int) and tokens > vocabulary:
        raise BrokenModel(
            f"{files.tokenizer}: makes {tokens} tokens, and config.json says {vocabulary}. They belong to different "
            "models; download both again."
        )
    late = is_late(files.config)
    encoder = PairEncoder(tokenizer, max_length, LATE_STEP if late else 1)
    if late and not encoder.types_differ:
        raise UnsupportedModel(
            f"{files.tokenizer}: for late interaction, and without token types for the two texts: its template has to "
            "give the query's tokens type 0 and the passage's type 1"
        )
    return encoder


def encodable(text: str) -> str:
    """The text with lone surrogates, of a broken file name or JSON escape, as the replacement character: UTF-8 and
    tokenizers refuse them."""
    return _LONE_SURROGATES.sub("\ufffd", text)


def _head(text: str, size: int) -> str:
    """About the first `size` characters, ending at a space if there is one near, so that no word is cut."""
    space = text.rfind(" ", size - 1000 if size > 1000 else 0, size)
    return text[: space if space > 0 else size]
