"""Encodes users' text as text: what spells a control token, such as `[SEP]` or `<pad>`, becomes ordinary pieces.

A tokenizer finds control tokens in two ways, and both are closed here. It cuts them out of the text before the
vocabulary sees it; so only the other added tokens are kept. And a vocabulary may hold them as pieces (all those
converted from SentencePiece do); a text whose tokens show it is encoded again, with a vocabulary in which they have
names that no text spells. Ordinary text is encoded as before, token by token.
"""

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, Encoding, Tokenizer, models, normalizers, pre_tokenizers

from finerank.ranking import is_blank

_METASPACE = "▁"


class TextTokenizer:
    """A tokenizer for text without control tokens. The one it is made of stays as it is.

    >>> tokens = TextTokenizer(tokenizer).encode("[SEP] yes").tokens     # doctest: +SKIP
    ['[', 'sep', ']', 'yes']
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._source = tokenizer
        self._unknown = unknown_token(tokenizer)
        self._controls = _control_tokens(tokenizer, self._unknown)
        self._tokenizer = _without_controls(tokenizer, tokenizer.model, self._controls)
        self.keeps_spaces = _is_byte_level(tokenizer)
        """Whether white space at the ends of a text is the model's to read, as to byte-level BPE. To WordPiece it is
        nothing, and to SentencePiece a token that a file's last line break would add."""

    def encode(self, text: str) -> Encoding:
        """The tokens and their offsets."""
        # encode_batch lets other threads run meanwhile, encode does not
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        return self._again(text) if self._spells_control(text, encoding.ids) else encoding

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        every = [encoding.ids for encoding in encodings]
        return [
            self._again(text).ids if self._spells_control(text, ids) else ids
            for text, ids in zip(texts, every, strict=True)
        ]

    def holds_words(self, token_ids: Iterable[int]) -> bool:
        """Whether one of the tokens says something: it is not the unknown token, white space or invisible."""
        pieces = (self._tokenizer.id_to_token(token) or "?" for token in token_ids if token != self._unknown)
        return any(not is_blank(piece.strip(_METASPACE)) for piece in pieces)

    def _spells_control(self, text: str, ids: Sequence[int]) -> bool:
        """Whether the vocabulary made a control token of its spelling, and not the unknown token of what is unknown."""
        if self._controls.keys().isdisjoint(ids):
            return False
        found = self._controls.keys() & set(ids)
        normalizer = self._tokenizer.normalizer
        if self._unknown is None or found != {self._unknown}:
            return True
        return self._controls[self._unknown] in (text if normalizer is None else normalizer.normalize_str(text))

    def _again(self, text: str) -> Encoding:
        (encoding,) = self._strict.encode_batch([text], add_special_tokens=False)
        return encoding

    @cached_property
    def _strict(self) -> Tokenizer:
        """For texts that spell control tokens. Made when the first comes: it takes as long as the tokenizer to load."""
        return _without_controls(
            self._source, _renamed(self._source.model, set(self._controls.values())), self._controls
        )


def unknown_token(tokenizer: Tokenizer) -> int | None:
    """The id of the token that stands for what the vocabulary does not know, if there is one."""
    if isinstance(tokenizer.model, models.Unigram):  # which tells it in its state alone
        found = re.search(rb'"unk_id":(\d+)', tokenizer.model.__getstate__())
        return int(found[1]) if found else None
    token = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(token) if token else None


def _control_tokens(tokenizer: Tokenizer, unknown: int | None) -> dict[int, str]:
    """The tokens that are no text, by id: those flagged special, those of the template, and the unknown token.

    One character is text, whatever its flag.
    """
    controls = {token: added.content for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    for token in (*tokenizer.encode("", "").ids, unknown):
        content = None if token is None else tokenizer.id_to_token(token)
        if token is not None and content is not None:
            controls[token] = content
    return {token: content for token, content in controls.items() if len(content) > 1}


def _without_controls(tokenizer: Tokenizer, model: models.Model, controls: Mapping[int, str]) -> Tokenizer:
    """The same steps and added tokens with `model`, and without the control tokens."""
    text = Tokenizer(model)
    if tokenizer.normalizer is not None:
        text.normalizer = tokenizer.normalizer
    if tokenizer.pre_tokenizer is not None:
        text.pre_tokenizer = tokenizer.pre_tokenizer
    if tokenizer.post_processor is not None:  # some trim the offsets
        text.post_processor = tokenizer.post_processor
    size = tokenizer.get_vocab_size(with_added_tokens=False)
    for token, added in sorted(tokenizer.get_added_tokens_decoder().items()):
        if token not in controls:
            text.add_tokens([added])
        elif token >= size:  # keeps the place, so that those after it keep theirs
            text.add_tokens([AddedToken(_unspellable(added.content), special=True, normalized=False)])
    return text


def _renamed(model: models.Model, contents: set[str]) -> models.Model:
    """The model with pieces of the same ids and scores, those in `contents` under names that no text spells."""
    state = json.loads(model.__getstate__())
    names = {content: _unspellable(content) for content in contents}
    if isinstance(state["vocab"], list):
        state["vocab"] = [(names.get(piece, piece), score) for piece, score in state["vocab"]]
    else:
        state["vocab"] = {names.get(piece, piece): token for piece, token in state["vocab"].items()}
    if state.get("unk_token") in names:
        state["unk_token"] = names[state["unk_token"]]
    if "merges" in state:
        state["merges"] = [merge for merge in state["merges"] if not contents & _pieces_of(merge)]
    renamed = type(model)()
    renamed.__setstate__(json.dumps(state).encode())
    return renamed


def _pieces_of(merge: str | Sequence[str]) -> set[str]:
    """The two pieces of a merge, and what they become."""
    one, other = merge.split(" ") if isinstance(merge, str) else merge
    return {one, other, one + other}


def _unspellable(content: str) -> str:
    return f" {secrets.token_hex(16)} {content}"


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    kinds = (pre_tokenizers.ByteLevel, normalizers.ByteLevel)
    return any(isinstance(step, kinds) for step in (*_steps(tokenizer.pre_tokenizer), *_steps(tokenizer.normalizer)))


def _steps(part: Any) -> list[Any]:  # noqa: ANN401 - a normalizer or a pre-tokenizer
    """The part, or the parts of a sequence, which has no length."""
    if not isinstance(part, normalizers.Sequence | pre_tokenizers.Sequence):
        return [part]
    steps: list[Any] = []
    while True:
        try:
            steps += _steps(part[len(steps)])
        except IndexError:
            return steps
