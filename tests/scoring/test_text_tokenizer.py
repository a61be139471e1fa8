"""Users' text is text: control tokens spelled in it are ordinary pieces, and ordinary text is encoded as before."""

from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from finerank.scoring.text_tokenizer import TextTokenizer, unknown_token
from finerank.scoring.tokenizer import load_tokenizer
from finerank.testing import word_tokenizer


def tokenizer_of(model: models.Model, *, specials: list[AddedToken] | None = None) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.add_special_tokens(specials or [])
    return tokenizer


@pytest.mark.parametrize("name", ["xlmr", "bert", "mini", "roberta_tokenizer"])
def test_ordinary_text_is_encoded_as_before(request, name, real_texts, xlmr_tokenizer, minilm, default_model):
    paths = {
        "xlmr": xlmr_tokenizer,
        "bert": minilm / "tokenizer.json",
        "mini": default_model / "tokenizer.json",
    }
    plain = load_tokenizer(paths[name]) if name in paths else request.getfixturevalue(name)
    text = TextTokenizer(plain)
    texts = [*real_texts[:100], "", " ", "emoji 😀 and 𐎀", "x < y > z [1] </p> <br>", "ＦＵＬＬ <", "pad mask unk sep"]
    own = [plain.encode(each, add_special_tokens=False) for each in texts]
    assert text.encode_batch(texts) == [each.ids for each in own]
    assert [text.encode(each).offsets for each in texts] == [each.offsets for each in own]
    assert "_strict" not in vars(text)


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "<pad>": 3, "yes": 4}, unk_token="<unk>"),
        models.WordPiece({"<s>": 0, "</s>": 1, "<unk>": 2, "<pad>": 3, "yes": 4, "<": 5, "##s": 6}, unk_token="<unk>"),
        models.BPE(
            {"<s>": 0, "</s>": 1, "<unk>": 2, "<pad>": 3, "yes": 4, **{c: 5 + i for i, c in enumerate("<>/spadunkye")}}
            | {"<s": 20, "ye": 21},
            [("<", "s"), ("<s", ">"), ("y", "e"), ("ye", "s")],
            unk_token="<unk>",
            ignore_merges=True,
        ),
    ],
    ids=["WordLevel", "WordPiece", "BPE"],
)
def test_no_kind_of_vocabulary_makes_a_control_token_of_its_spelling(model):
    tokenizer = tokenizer_of(model, specials=[AddedToken("<pad>", special=True, lstrip=True, rstrip=True)])
    text = TextTokenizer(tokenizer)
    for control in ("<s>", "</s>", "<pad>"):
        ids = text.encode(f"yes {control} yes").ids
        assert ids[0] == ids[-1] == 4
        assert not {0, 1, 3} & set(ids)
    assert tokenizer.encode("yes <pad> yes", add_special_tokens=False).ids == [4, 3, 4]  # which is as it was


def test_added_tokens_that_are_no_control_tokens_keep_their_ids_and_flags():
    tokenizer = tokenizer_of(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "a": 3}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens(["covid19"])
    tokenizer.add_special_tokens([AddedToken("<|sys|>", normalized=True)])
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("GPU", single_word=True, lstrip=True)])
    text = TextTokenizer(tokenizer)
    for ordinary in ("a covid19 a", "a  a gpu a", "gpus", "COVID19 GPU"):
        own = tokenizer.encode(ordinary, add_special_tokens=False)
        assert (text.encode(ordinary).ids, text.encode(ordinary).offsets) == (own.ids, own.offsets)
    assert text.encode("a <|sys|> covid19").ids == [3, 2, 4]
    assert text.encode("a <|SYS|>").ids == [3, 2]
    assert text.encode("a <s> covid19 gpu").ids == [3, 2, 4, tokenizer.token_to_id("GPU")]  # with the other vocabulary


def test_a_special_token_of_one_character_is_text_already():
    vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2, "!": 3, "a": 4}
    tokenizer = tokenizer_of(models.WordLevel(vocabulary, unk_token="<unk>"), specials=[AddedToken("!", special=True)])
    assert TextTokenizer(tokenizer).encode("a !").ids == [4, 3]


def test_white_space_is_kept_by_byte_level_tokenizers_alone(roberta_tokenizer, bert_tokenizer, xlmr_tokenizer: Path):
    assert TextTokenizer(roberta_tokenizer).keeps_spaces
    nested = Tokenizer(models.BPE())
    nested.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])
    assert TextTokenizer(nested).keeps_spaces
    normalizing = Tokenizer(models.BPE())
    normalizing.normalizer = normalizers.ByteLevel()
    assert TextTokenizer(normalizing).keeps_spaces
    assert not TextTokenizer(bert_tokenizer).keeps_spaces
    assert not TextTokenizer(load_tokenizer(xlmr_tokenizer)).keeps_spaces
    assert not TextTokenizer(word_tokenizer()).keeps_spaces


def test_the_unknown_token_is_found_in_every_kind_of_model(bert_tokenizer, roberta_tokenizer, xlmr_tokenizer: Path):
    assert unknown_token(bert_tokenizer) == 1
    assert unknown_token(roberta_tokenizer) is None
    assert unknown_token(load_tokenizer(xlmr_tokenizer)) == 3
