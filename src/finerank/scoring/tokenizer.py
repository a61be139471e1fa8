"""A model's tokenizer, read from tokenizer.json, or converted once from a SentencePiece model."""

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from finerank.errors import BrokenModel, FinerankError, MissingExtra, UnsupportedModel
from finerank.io.atomic import write_text
from finerank.paths import cache_dir

logger = logging.getLogger("finerank")


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in `path`, without the padding and truncation its file may ask for.

    Raises `BrokenModel` if it cannot be read.
    """
    try:
        tokenizer = _converted(path) if path.suffix == ".model" else Tokenizer.from_file(str(path))
    except FinerankError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise BrokenModel(
            f"{path}: not a tokenizer this version of the tokenizers library reads: {error}. Download it again, or "
            "pip install -U tokenizers."
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _converted(path: Path) -> Tokenizer:
    """The tokenizer made from a SentencePiece model, kept in the cache folder under the model's hash."""
    content = path.read_bytes()
    target = cache_dir() / "tokenizers" / f"{hashlib.sha256(content).hexdigest()}.json"
    with suppress(Exception):  # not there, not readable, or damaged: tokenizers raises bare Exception
        return Tokenizer.from_file(str(target))
    converted = convert_sentencepiece(content, str(path)).to_str()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, converted)
    except OSError as error:
        logger.warning("the converted tokenizer is not kept: %s", error)
    return Tokenizer.from_str(converted)  # as it will be read from the cache


def convert_sentencepiece(content: bytes, name: str = "model") -> Tokenizer:
    """XLM-RoBERTa's tokenizer from the SentencePiece unigram model it is distributed with.

    The vocabulary is fairseq's: <s> <pad> </s> <unk>, the pieces after the model's own three specials, <mask>.
    Needs the extra `sentencepiece`.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2 as pb2
    except ImportError as error:
        raise MissingExtra("reading a SentencePiece model", "sentencepiece") from error
    proto: Any = pb2.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError lives in different places by version
        raise BrokenModel(f"{name}: not a SentencePiece model: {error}. Download it again.") from error
    if not proto.pieces:
        raise BrokenModel(f"{name}: not a SentencePiece model: it is empty. Download it again.")
    if proto.trainer_spec.model_type != pb2.TrainerSpec.ModelType.UNIGRAM:
        raise UnsupportedModel(f"{name}: a SentencePiece model of a kind other than unigram; add a tokenizer.json.")
    pieces = [(piece.piece, piece.score) for piece in proto.pieces[3:]]
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = Tokenizer(models.Unigram([*specials, *pieces, ("<mask>", 0.0)], unk_id=3, byte_fallback=False))
    # SentencePiece drops spaces at either end; at the start Metaspace does so too.
    steps: list[Any] = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    if proto.normalizer_spec.precompiled_charsmap:
        steps.insert(0, normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ("<s>", "<pad>", "</s>", "<unk>")])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer
