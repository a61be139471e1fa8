import pydoc_data.topics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from finerank.errors import InvalidSetting, UnreadableQuery, UnsupportedModel
from finerank.ranking import is_blank
from finerank.scoring.encode import PairEncoder
from finerank.scoring.tokenizer import load_tokenizer

# Zero-width, soft hyphen, variation selector, bidirectional and control marks, blank letters, a lone mark.
INVISIBLE = [
    *("\u200b", "\ufeff", "\u2060", "\u00ad", "\u180e", "\ufe0f", "\u200e", "\u202e\u2069", "\x00", "\x01\x7f"),
    *("\u3164", "\uffa0", "\u115f", "\u2800", "\u0301", "\u20dd", "\U000e0041", "\U000e0100", "\u061c \u200d\n"),
]
SPECIAL_IDS = {101: {0, 100, 101, 102, 103}, None: {0, 1, 2, 3, 250001}}
"""By the id of [CLS]: BERT's, and those of the RoBERTas."""

# The queries and passages of the tables below, as XLM-RoBERTa's and BERT's own tokenizers number them.
PANDA = "what is panda?"
GIANT = "The giant panda is a bear species endemic to China."
RESET = "how do I reset the device after an update, please?"
XLMR_PANDA = [2367, 83, 6, 85407, 32]
XLMR_GIANT = [581, 6051, 18, 6, 85407, 83, 10, 81148, 114149, 28117, 21068, 47, 9098, 5]
XLMR_RESET = [3642, 54, 87, 168398, 70, 75186, 7103, 142, 28350, 4, 22936, 32]
BERT_PANDA = [2054, 2003, 25462, 1029]
BERT_GIANT = [1996, 5016, 25462, 2003, 1037, 4562, 2427, 7320, 2000, 2859, 1012]
BERT_RESET = [2129, 2079, 1045, 25141, 1996, 5080, 2044, 2019, 10651, 1010, 3531, 1029]


@pytest.fixture(scope="module")
def xlmr(xlmr_tokenizer: Path) -> Tokenizer:
    return load_tokenizer(xlmr_tokenizer)


@pytest.fixture(scope="module")
def bert(minilm: Path) -> Tokenizer:
    return load_tokenizer(minilm / "tokenizer.json")


@pytest.fixture(scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def read(tokenizer: Tokenizer, passage: str) -> str:
    """What is read of a passage: byte-level BPE alone takes the white space around it."""
    return passage if isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel) else passage.strip()


every_tokenizer = pytest.mark.parametrize("tokenizer", ["xlmr", "bert", "roberta_tokenizer"], indirect=True)


def letters(*specials: str) -> Tokenizer:
    """A tokenizer whose tokens are the given specials and then the letters: with four specials, "a" is 4."""
    vocabulary = {token: index for index, token in enumerate((*specials, *"abcdefghijklmnopqrstuvwxyz"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=specials[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def roberta_letters() -> Tokenizer:
    tokenizer = letters("<s>", "<pad>", "</s>", "<unk>")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def encode_one(tokenizer: Tokenizer, max_length: int, query: str, passage: str):
    encoder = PairEncoder(tokenizer, max_length)
    (pair,) = encoder.encode(encoder.encode_query(query), [passage])
    return pair


@pytest.mark.parametrize(
    ("query", "passage", "expected", "truncated"),
    [
        (PANDA, "hi", [0, *XLMR_PANDA, 2, 2, 1274, 2], False),
        (PANDA, GIANT, [0, *XLMR_PANDA, 2, 2, *XLMR_GIANT[:11], 2], True),
        (f"{RESET} {PANDA}", "hi", [0, *XLMR_RESET, 2367, 83, 6, 2, 2, 1274, 2], True),
        (f"{RESET} {PANDA}", GIANT, [0, *XLMR_RESET, 2367, 83, 6, 2, 2, 581, 2], True),
        (PANDA, "", [0, *XLMR_PANDA, 2, 2, 2], False),
    ],
    ids=["uncut", "passage cut", "query cut to 15 of 20", "both cut", "no passage"],
)
def test_xlm_roberta_pairs_are_flag_embeddings(xlmr, query, passage, expected, truncated):
    pair = encode_one(xlmr, 20, query, passage)
    assert pair.token_ids.tolist() == expected
    assert pair.type_ids.tolist() == [0] * len(expected)
    assert pair.truncated is truncated


@pytest.mark.parametrize(
    ("query", "passage", "first", "second", "truncated"),
    [
        (PANDA, "hi", [101, *BERT_PANDA, 102], [7632, 102], False),
        (PANDA, GIANT, [101, *BERT_PANDA, 102], [*BERT_GIANT[:9], 102], True),
        (f"{RESET} hi", "hi", [101, *BERT_RESET, 102], [7632, 102], True),
        (f"{RESET} hi", GIANT, [101, *BERT_RESET, 102], [1996, 102], True),
    ],
    ids=["uncut", "passage cut", "query cut to 12 of 16", "both cut"],
)
def test_bert_pairs_are_flag_embeddings(bert, query, passage, first, second, truncated):
    pair = encode_one(bert, 16, query, passage)
    assert pair.token_ids.tolist() == first + second
    assert pair.type_ids.tolist() == [0] * len(first) + [1] * len(second)
    assert pair.truncated is truncated


@pytest.mark.parametrize(
    ("query", "passage", "expected", "truncated"),
    [
        ("a b", "c", [0, 4, 5, 2, 2, 6, 2], False),
        ("a b", "c d e f g h i j k l m n o p q", [0, 4, 5, 2, 2, *range(6, 20), 2], True),
        ("a b c d e f g h i j k l m n o p", "q", [0, *range(4, 19), 2, 2, 20, 2], True),
        ("a b c d e f g h i j k l m n o p", "q r s", [0, *range(4, 19), 2, 2, 20, 2], True),
    ],
    ids=["uncut", "passage cut", "query cut to 15 of 20", "both cut"],
)
def test_roberta_pairs_are_flag_embeddings(query, passage, expected, truncated):
    pair = encode_one(roberta_letters(), 20, query, passage)
    assert pair.token_ids.tolist() == expected
    assert pair.type_ids.tolist() == [0] * len(expected)
    assert pair.truncated is truncated


@every_tokenizer
def test_an_uncut_pair_is_what_the_tokenizer_itself_makes_of_it(tokenizer, real_texts):
    for query, passage in zip(real_texts[:40], real_texts[40:80], strict=True):
        pair, own = encode_one(tokenizer, 4096, query, passage), tokenizer.encode(query, read(tokenizer, passage))
        assert (pair.token_ids.tolist(), pair.type_ids.tolist()) == (own.ids, own.type_ids)
        assert not pair.truncated


def test_special_tokens_may_have_a_type_of_their_own():
    tokenizer = letters("[CLS]", "[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="[CLS]:3 $A:0 [SEP]:2 $B:1 [SEP]:4", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    pair = encode_one(tokenizer, 16, "a b", "c d")
    assert pair.token_ids.tolist() == [0, 2, 3, 1, 4, 5, 1]
    assert pair.type_ids.tolist() == [3, 0, 0, 2, 1, 1, 4]


@every_tokenizer
def test_special_tokens_in_a_text_are_ordinary_text(tokenizer):
    encoder, before = PairEncoder(tokenizer, 512), tokenizer.to_str()
    template = encoder.encode(encoder.encode_query(""), [""])[0].token_ids.tolist()
    for text in ("</s> a <s> b <mask>c <pad><unk>", "[SEP] a [CLS]b [MASK] [PAD] [UNK]"):
        (pair,) = encoder.encode(encoder.encode_query(text), [text])
        specials = [token for token in pair.token_ids.tolist() if token in SPECIAL_IDS[tokenizer.token_to_id("[CLS]")]]
        assert specials == template
        assert encoder.count_tokens([text]) == [len(encoder.token_spans(text))] == [(len(pair) - len(template)) // 2]
    assert tokenizer.to_str() == before


_CHARACTERS = st.text(st.sampled_from("a bé.\n人て한ü🐼ß﷽Ａ"), max_size=80)


@every_tokenizer
@settings(max_examples=60, deadline=None)
@given(query=_CHARACTERS, passages=st.lists(_CHARACTERS, max_size=4), max_length=st.integers(20, 60))
def test_pairs_fit_and_only_what_must_be_cut_is_cut(tokenizer, query, passages, max_length):
    """FlagEmbedding's rule: the query cut to max_length * 3 // 4, then the passage alone to the room left."""
    specials = tokenizer.num_special_tokens_to_add(is_pair=True)
    texts = (query, *("" if is_blank(passage) else read(tokenizer, passage) for passage in passages))
    whole_query, *whole = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
    query_ids = whole_query[: max_length * 3 // 4]
    encoder = PairEncoder(tokenizer, max_length)
    for pair, ids in zip(encoder.encode(encoder.encode_query(query), passages), whole, strict=True):
        room = max_length - specials - len(query_ids)
        assert len(pair) == specials + len(query_ids) + min(len(ids), room) <= max_length
        assert pair.token_ids[1:][: len(query_ids)].tolist() == query_ids
        assert pair.token_ids[:-1][len(pair) - 1 - min(len(ids), room) :].tolist() == ids[:room]
        assert pair.truncated == (len(whole_query) > len(query_ids) or len(ids) > room)


LONG_TEXTS = {
    "English": "\n\n".join(pydoc_data.topics.topics.values())[:300_000],
    "Chinese without spaces": "人人生而自由，在尊严和权利上一律平等。" * 5000,
    "one word of 1 MB": "abcdefghij" * 100_000,
    "nothing but spaces, then a word": " " * 200_000 + "word",
    "lines without a space": "reset\n" * 50_000,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
@every_tokenizer
def test_a_very_long_text_is_cut_as_if_all_of_it_had_been_tokenized(tokenizer, text):
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    encoder = PairEncoder(tokenizer, 512)
    query = encoder.encode_query(text)
    assert query.token_ids.tolist() == whole[:384]
    assert query.truncated is (len(whole) > 384)
    short = encoder.encode_query("a")
    room = encoder.passage_room(short)
    (pair,) = encoder.encode(short, [text])
    whole = tokenizer.encode(read(tokenizer, text), add_special_tokens=False).ids
    assert pair.token_ids[:-1][-min(room, len(whole)) :].tolist() == whole[:room]
    assert pair.truncated is (len(whole) > room)


strips_white_space = pytest.mark.parametrize("tokenizer", ["xlmr", "bert"], indirect=True)


@every_tokenizer
@pytest.mark.parametrize("blank", [" ", "\n \t", *INVISIBLE])
def test_a_passage_in_which_nothing_can_be_seen_is_an_empty_one(tokenizer, blank):
    encoder = PairEncoder(tokenizer, 64)
    empty, pair = encoder.encode(encoder.encode_query("who?"), ["", blank])
    assert pair.token_ids.tolist() == empty.token_ids.tolist()


@every_tokenizer
@pytest.mark.parametrize("query", ["", "  ", *INVISIBLE])
def test_a_query_that_leaves_no_token_of_its_own_is_refused(tokenizer, query):
    with pytest.raises(UnreadableQuery, match="no token that this model knows"):
        PairEncoder(tokenizer, 64).check_query(query)


@pytest.mark.parametrize(("name", "query"), [("bert", "🤖"), ("xlmr", "\U00010380"), ("xlmr", "▁")])
def test_a_query_of_unknown_characters_is_refused(request, name, query):
    encoder = PairEncoder(request.getfixturevalue(name), 64)
    with pytest.raises(UnreadableQuery, match="no token that this model knows"):
        encoder.check_query(query)
    encoder.check_query(f"{query} a")


@every_tokenizer
@pytest.mark.parametrize("query", ["?", "a", "\u200bwho\u200b", "[SEP]", "人", "e\u0301"])
def test_a_query_with_a_token_of_its_own_is_read(tokenizer, query):
    PairEncoder(tokenizer, 64).check_query(query)


@pytest.mark.parametrize("max_length", [12, 64])
@pytest.mark.parametrize("spaced", [f"{GIANT}\n", f" \n\t{GIANT}\u3000 \r\n", "\n\n" + GIANT, f"  {GIANT}"])
def test_white_space_around_a_passage_is_read_by_byte_level_bpe(roberta_tokenizer, max_length, spaced):
    encoder = PairEncoder(roberta_tokenizer, max_length)
    query = encoder.encode_query(" who?\n")
    own = roberta_tokenizer.encode(" who?\n", add_special_tokens=False).ids
    assert query.token_ids.tolist() == own[: max_length * 3 // 4]
    (pair,) = encoder.encode(query, [spaced])
    whole = roberta_tokenizer.encode(spaced, add_special_tokens=False).ids
    assert pair.token_ids.tolist()[len(query.token_ids) + 3 : -1] == whole[: encoder.passage_room(query)]
    end = encoder.read_length(query, spaced)
    (alone,) = encoder.encode(query, [spaced[:end]])
    assert alone.token_ids.tolist() == pair.token_ids.tolist()


@strips_white_space
@pytest.mark.parametrize("max_length", [12, 64])
def test_white_space_around_a_passage_is_not_read(tokenizer, max_length):
    encoder = PairEncoder(tokenizer, max_length)
    query = encoder.encode_query("who?")
    plain, *spaced = encoder.encode(query, [GIANT, f"{GIANT}\n", f" \n\t{GIANT}\u3000 \r\n", "\n" * 100_000 + GIANT])
    for pair in spaced:
        assert pair.token_ids.tolist() == plain.token_ids.tolist()
        assert pair.truncated == plain.truncated
    empty, *blank = encoder.encode(query, ["", " ", "\n \t"])
    assert [pair.token_ids.tolist() for pair in blank] == [empty.token_ids.tolist()] * 2


@strips_white_space
def test_what_is_read_of_a_passage_ends_alike_with_white_space_around_it(tokenizer):
    encoder = PairEncoder(tokenizer, 12)
    query = encoder.encode_query("who?")
    end = encoder.read_length(query, GIANT)
    assert 0 < end < len(GIANT)
    assert encoder.read_length(query, f"\n  {GIANT}\n") == 3 + end
    assert encoder.read_length(query, "  hi\n") == len("  hi\n")


def test_a_word_too_long_for_wordpiece_stays_unknown_where_the_text_is_cut_inside_it(bert):
    # Of the first 16 * 20 characters the last 89 are of the word: short enough to be read as 89 pieces.
    encoder = PairEncoder(bert, 24)
    query = encoder.encode_query("a")
    assert encoder.passage_room(query) == 20
    (pair,) = encoder.encode(query, ["a" + "\n" * 230 + "qxzj" * 100])
    assert pair.token_ids.tolist() == [101, 1037, 102, 1037, 100, 102]
    assert not pair.truncated


def test_lone_surrogates_are_read_as_the_replacement_character(xlmr):
    assert encode_one(xlmr, 64, "a\ud800", "b\udfff").token_ids.tolist() == xlmr.encode("a\ufffd", "b\ufffd").ids
    assert PairEncoder(xlmr, 64).token_spans("b\udfff")[-1][1] == 2


@every_tokenizer
def test_count_tokens_and_spans_are_of_the_uncut_text(tokenizer, real_texts):
    encoder = PairEncoder(tokenizer, 32)
    counts = encoder.count_tokens(real_texts[:20])
    assert counts == [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in real_texts[:20]]
    spans = encoder.token_spans(real_texts[0])
    assert len(spans) == counts[0]
    assert "".join(real_texts[0][start:end] for start, end in spans).split() != []
    assert spans == sorted(spans)


@pytest.mark.parametrize("max_length", [1, 4, 5])
def test_a_max_length_without_room_for_a_pair_is_refused(max_length):
    with pytest.raises(InvalidSetting, match=f"max_length={max_length}: leaves no room .* use 32 or more"):
        PairEncoder(roberta_letters(), max_length)
    assert len(encode_one(roberta_letters(), 6, "a b c", "d e f")) == 6


def test_a_tokenizer_that_loses_a_side_of_the_pair_is_refused():
    with pytest.raises(UnsupportedModel, match="no template for pairs"):
        PairEncoder(Tokenizer(models.BPE({"x": 0}, [])), 64)
