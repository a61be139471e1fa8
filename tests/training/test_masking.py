"""Masked words: which are chosen, what becomes of them, and what predicting them costs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM

from finerank import UnsupportedModel
from finerank.scoring.encode import PairEncoder
from finerank.scoring.model_files import find_model
from finerank.scoring.transformers_backend import load_model
from finerank.testing import word_tokenizer
from finerank.training.examples import Example
from finerank.training.lists import ListCollator
from finerank.training.losses import infonce
from finerank.training.masking import MaskingCollator, MaskingScorer, Words, find_head
from finerank.training.trainer import ListScorer

MakeLists = Callable[..., list[Example]]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_model / "tokenizer.json"))


@pytest.fixture(scope="module")
def words(tokenizer: Tokenizer) -> Words:
    return Words.of(tokenizer, "tiny")


@pytest.fixture(scope="module")
def collator(tokenizer: Tokenizer, words: Words) -> MaskingCollator:
    return MaskingCollator(ListCollator(PairEncoder(tokenizer, 64), 0, 400), words, seed=0)


def scorer(model: Path, weight: float = 0.5) -> MaskingScorer:
    files = find_model(str(model), backend="transformers", headless=True)
    torch.manual_seed(0)
    ranking = ListScorer(load_model(files, torch.float32, headless=True).eval(), infonce)
    return MaskingScorer(ranking, find_head(files), weight).eval()


def test_fifteen_in_a_hundred_words_are_chosen_and_most_are_hidden(words: Words):
    ids = np.arange(200_000).reshape(400, -1) % len(words.are_words)
    hidden, chosen = words.hide(ids, np.random.default_rng(0))
    can = words.are_words[ids]
    assert not chosen[~can].any()
    assert (hidden[~chosen] == ids[~chosen]).all()
    assert chosen[can].mean() == pytest.approx(0.15, abs=0.005)
    assert (hidden[chosen] == words.mask).mean() == pytest.approx(0.8, abs=0.01)
    # One in 37 of the words drawn for another is the word itself.
    assert (hidden[chosen] == ids[chosen]).mean() == pytest.approx(0.1 + 0.1 / 37, abs=0.01)
    assert words.are_words[hidden[chosen & (hidden != words.mask)]].all()


def test_special_tokens_are_no_words(words: Words, tokenizer: Tokenizer):
    assert [tokenizer.id_to_token(token) for token in np.flatnonzero(~words.are_words)] == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    ]  # fmt: skip


def test_a_tokenizer_without_a_mask_is_refused():
    with pytest.raises(UnsupportedModel, match=r"no \[MASK\] or <mask>; pretrain with mlm_weight=0"):
        Words.of(word_tokenizer(), "stub")


def test_a_batch_remembers_what_it_hid(collator: MaskingCollator, make_lists: MakeLists):
    lists = make_lists(8)
    plain, batch = collator.lists(lists), collator(lists)
    assert len(plain["groups"]) > 1
    changed = 0
    for before, after, (places, wanted) in zip(plain["groups"], batch["groups"], batch["masked"], strict=True):
        assert torch.equal(before["input_ids"][places], wanted)
        assert torch.equal(before["input_ids"][~places], after["input_ids"][~places])
        assert torch.equal(before["attention_mask"], after["attention_mask"])
        changed += int((before["input_ids"] != after["input_ids"]).sum())
    assert changed > 0
    assert torch.equal(plain["places"], batch["places"])


def test_the_same_batch_hides_the_same_words_and_another_hides_others(collator: MaskingCollator, make_lists: MakeLists):
    lists = make_lists(8)
    one, again, turned = (collator(each)["groups"][0]["input_ids"] for each in (lists, lists, lists[::-1]))
    assert torch.equal(one, again)
    assert not torch.equal(one, turned)
    other = MaskingCollator(collator.lists, collator.words, seed=1)(lists)["groups"][0]["input_ids"]
    assert not torch.equal(one, other)


def test_the_losses_are_those_of_the_two_models(
    tmp_path: Path, tokenizer: Tokenizer, collator: MaskingCollator, make_lists: MakeLists
):
    """A checkpoint with a head predicts through our scorer as it does in transformers."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=42, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    whole = BertForMaskedLM(config).eval()
    torch.nn.init.normal_(whole.cls.predictions.bias)
    whole.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    lists, batch = scorer(tmp_path), collator(make_lists(4))
    with torch.no_grad():
        loss, scores = lists(**batch)
        logits = [
            whole(**group).logits[places] for group, (places, _) in zip(batch["groups"], batch["masked"], strict=True)
        ]
        expected = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat([w for _, w in batch["masked"]]))
        ranking, same_scores = lists.lists(**{name: value for name, value in batch.items() if name != "masked"})
    assert torch.allclose(scores, same_scores, atol=1e-5)
    assert float(lists.figures["mlm_loss"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(lists.figures["relevance_loss"]) == pytest.approx(float(ranking), rel=1e-4)
    assert float(loss) == pytest.approx(float(ranking) + 0.5 * float(expected), rel=1e-4)


def test_without_masked_words_the_lists_are_only_ranked(
    tiny_model: Path, collator: MaskingCollator, make_lists: MakeLists
):
    whole, batch = scorer(tiny_model), collator.lists(make_lists(4))
    with torch.no_grad():
        assert torch.equal(whole(**batch)[1], whole.lists(**batch)[1])


def test_the_decoder_is_the_models_own_embeddings(tiny_model: Path, collator: MaskingCollator, make_lists: MakeLists):
    whole = scorer(tiny_model)
    names = [name for name, _ in whole.named_parameters()]
    assert sorted(name for name in names if name.startswith("head.")) == [
        "head.bias", "head.dense.bias", "head.dense.weight", "head.norm.bias", "head.norm.weight",
    ]  # fmt: skip
    loss, _ = whole(**collator(make_lists(4)))
    loss.backward()
    embeddings = whole.model.get_input_embeddings().weight
    unseen = torch.ones(42, dtype=torch.bool)
    for group in collator(make_lists(4))["groups"]:
        unseen[group["input_ids"].flatten()] = False
    unseen[0] = False  # padding
    assert embeddings.grad is not None
    assert unseen.any()
    assert (embeddings.grad[unseen].abs().sum(1) > 0).all()  # reached as outputs, never as inputs
    assert all(parameter.grad is not None for parameter in whole.parameters())


def test_a_batch_that_hides_nothing_has_a_gradient_all_the_same(tiny_model: Path, collator: MaskingCollator):
    whole = scorer(tiny_model)
    batch = collator([Example("[UNK]", ("[UNK]", "[UNK] [UNK]"), (1.0, 0.0))])
    assert sum(len(wanted) for _, wanted in batch["masked"]) == 0
    loss, _ = whole(**batch)
    loss.backward()
    assert loss.isfinite()
    assert whole.head.bias.grad is not None


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "modernbert", "deberta-v2"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit in deberta-v2
def test_other_families_have_heads_too(make_model: Callable[..., Path], family: str):
    head = find_head(find_model(str(make_model(family)), backend="transformers"))
    assert head.dense.in_features == 32
