"""Masked language modelling on the pairs of a ranking batch, in the same forward pass.

    collator = MaskingCollator(lists, Words.of(tokenizer, files), seed=0)
    scorer = MaskingScorer(ListScorer(model, loss), find_head(model, files), weight=1.0)

15% of the words are predicted, of which 80% are hidden, 10% are another word and 10% stay (Devlin et al. 2018, "BERT:
Pre-training of deep bidirectional transformers for language understanding", section 3.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from finerank.errors import MissingExtra, UnsupportedModel
from finerank.scoring.model_files import ModelFiles
from finerank.training.examples import Example
from finerank.training.lists import ListCollator

try:
    import torch
    from torch import Tensor
    from torch.nn import functional as F  # noqa: N812 - torch's own convention
    from transformers import AutoModelForMaskedLM

    from finerank.scoring.transformers_backend import quietly
    from finerank.training.trainer import ListScorer
except ImportError as error:
    raise MissingExtra("pretraining", "train") from error

PREDICTED = 0.15
HIDDEN = 0.8
REPLACED = 0.1

_MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True, slots=True)
class Words:
    """Which tokens are words, that can be predicted, and the token that hides one: `mask`, and bool [vocabulary]."""

    mask: int
    are_words: NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: Tokenizer, name: str) -> Self:
        """Raises `UnsupportedModel` if the tokenizer has no mask token."""
        mask = next((token for token in map(tokenizer.token_to_id, _MASKS) if token is not None), None)
        if mask is None:
            raise UnsupportedModel(
                f"{name}: its tokenizer has no {' or '.join(_MASKS)}; pretrain with mlm_weight=0, without masked words"
            )
        words = np.ones(tokenizer.get_vocab_size(), bool)
        words[[token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special]] = False
        words[[mask, *tokenizer.encode("", "").ids]] = False
        return cls(mask, words)

    def hide(self, ids: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The ids with some words hidden or replaced, and which were chosen."""
        chosen = self.are_words[ids] & (rng.random(ids.shape) < PREDICTED)
        fate = rng.random(ids.shape)
        others = rng.choice(np.flatnonzero(self.are_words), ids.shape)
        hidden = np.where(fate < HIDDEN, self.mask, np.where(fate < HIDDEN + REPLACED, others, ids))
        return np.where(chosen, hidden, ids), chosen


@dataclass(frozen=True, slots=True)
class MaskingCollator:
    """Batches of lists with words hidden in them. `masked` holds, for each group, where its words were chosen (bool,
    as the input ids) and what these were (int64).

    The draw hangs on the batch's own tokens: a resumed run, which sees the same batches, hides the same words.
    """

    lists: ListCollator
    words: Words
    seed: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        batch = self.lists(examples)
        contents = b"".join(group["input_ids"].numpy().tobytes() for group in batch["groups"])
        rng = np.random.default_rng((self.seed, crc32(contents)))
        hidden = [self._hide(group, rng) for group in batch["groups"]]
        return {**batch, "groups": [group for group, _ in hidden], "masked": [masked for _, masked in hidden]}

    def _hide(
        self, group: Mapping[str, Tensor], rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        ids, chosen = self.words.hide(group["input_ids"].numpy(), rng)
        places = torch.from_numpy(chosen) & group["attention_mask"].bool()
        kept = torch.where(places, torch.from_numpy(ids), group["input_ids"])
        return {**group, "input_ids": kept}, (places, group["input_ids"][places])


class WordHead(torch.nn.Module):
    """Hidden states to logits over the vocabulary, by the word embeddings, which are the model's own."""

    def __init__(self, dense: torch.nn.Linear, norm: torch.nn.Module, bias: Tensor) -> None:
        super().__init__()
        self.dense = dense
        self.norm = norm
        self.bias = torch.nn.Parameter(bias.detach().clone())

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(hidden))), embeddings, self.bias)


class MaskingScorer(torch.nn.Module):
    """A `ListScorer` that predicts masked words too: the loss is its own and `weight` times theirs."""

    def __init__(self, lists: ListScorer, head: WordHead, weight: float) -> None:
        super().__init__()
        self.lists = lists
        self.head = head
        self._weight = weight
        self.figures: dict[str, Tensor] = {}

    @property
    def model(self) -> torch.nn.Module:
        """The cross-encoder."""
        return self.lists.model

    def forward(
        self,
        groups: Sequence[dict[str, Tensor]],
        masked: Sequence[tuple[Tensor, Tensor]] | None = None,
        **lists: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `ListScorer`; without `masked`, as the dev lists are scored, the loss is that of the lists alone."""
        if masked is None:
            return self.lists(groups, **lists)  # type: ignore[no-any-return]
        outputs = [self.model(**group, output_hidden_states=True) for group in groups]
        relevance, scores = self.lists.judge([output.logits for output in outputs], **lists)
        hidden = torch.cat(
            [output.hidden_states[-1][places] for output, (places, _) in zip(outputs, masked, strict=True)]
        )
        words = self._words_loss(hidden, torch.cat([wanted for _, wanted in masked]))
        self.figures = {**self.lists.figures, "relevance_loss": relevance.detach(), "mlm_loss": words.detach()}
        return relevance + self._weight * words, scores

    def _words_loss(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        embeddings = self.model.get_input_embeddings().weight  # type: ignore[operator]
        logits = self.head(hidden, embeddings).float()
        return F.cross_entropy(logits, wanted, reduction="sum") / max(len(wanted), 1)


def find_head(files: ModelFiles) -> WordHead:
    """The masked-word head of the checkpoint, or a new one where it has none.

    Raises `UnsupportedModel` if transformers has no masked language model of its architecture that predicts as BERT's.
    """
    try:
        with quietly():
            model = AutoModelForMaskedLM.from_pretrained(
                files.folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
        decoder = model.get_output_embeddings()
        outside = _modules_outside(model)
        (dense,) = (part for part in outside if isinstance(part, torch.nn.Linear) and part is not decoder)
        (norm,) = (part for part in outside if isinstance(part, torch.nn.LayerNorm))
    except (ValueError, OSError, AttributeError) as error:
        raise UnsupportedModel(
            f"{files.name}: transformers has no masked language model for it ({error}); pretrain with mlm_weight=0"
        ) from error
    bias = decoder.bias if decoder.bias is not None else torch.zeros(decoder.out_features)
    return WordHead(dense, norm, bias)


def _modules_outside(model: Any) -> list[torch.nn.Module]:  # noqa: ANN401 - transformers is untyped
    """The modules that are not of the encoder."""
    encoder = set(model.base_model.modules())
    return [part for part in model.modules() if part not in encoder]
