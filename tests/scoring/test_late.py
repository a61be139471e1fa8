"""Late interaction: every backend computes what its definition says, each text read by itself."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer

from finerank import Reranker, UnsupportedModel
from finerank.scoring.batch import Batch, EncodedPair
from finerank.scoring.processor import check_native
from finerank.scoring.states import TextStates
from finerank.training.export import export

NATIVE = pytest.mark.skipif(not check_native().passed, reason=check_native().found)
BACKENDS = [
    pytest.param("native", "fp32", 1e-4, marks=NATIVE),
    pytest.param("native", "int16", 5e-3, marks=NATIVE),
    ("torch", "fp32", 1e-4),
    ("transformers", "fp32", 1e-4),
    ("transformers", "bf16", 0.2),
    ("torch", "bf16", 0.2),
    ("onnx", "fp32", 1e-4),
]


@pytest.fixture(scope="session")
def late(late_model, tmp_path_factory) -> Path:
    """With its ONNX graph."""
    folder = tmp_path_factory.mktemp("late") / "model"
    shutil.copytree(late_model, folder)
    export(str(folder), folder.with_name("onnx"), "fp32")
    shutil.copy(folder.with_name("onnx") / "model.onnx", folder)
    return folder


@pytest.fixture(scope="module")
def pairs(real_texts) -> list[tuple[str, str]]:
    """Two queries with passages of many lengths, one of them empty."""
    passages = [*(text[: 20 + 9 * place] for place, text in enumerate(real_texts[:30])), ""]
    return [(query, passage) for query in ("how are lists sorted?", "what is a set") for passage in passages]


def logits(folder: Path, pairs: list[tuple[str, str]], **options: object) -> np.ndarray:
    with Reranker.from_pretrained(folder, device="cpu", **options) as reranker:
        return np.array([pair.logit for pair in reranker.score_pairs(pairs)])


def by_definition(folder: Path, pairs: list[tuple[str, str]], layers: Sequence[int] = range(3)) -> np.ndarray:
    """Each text alone through layers of transformers' encoder, and the formula over its states, token by token."""
    model = transformers.BertModel.from_pretrained(folder).eval()
    model.encoder.layer = torch.nn.ModuleList(model.encoder.layer[layer] for layer in layers)
    weights = load_file(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(128, strategy="only_second")

    def states(ids: list[int], kind: int) -> torch.Tensor:
        given = {"input_ids": torch.tensor([ids]), "token_type_ids": torch.full((1, len(ids)), kind)}
        with torch.inference_mode():
            return model(**given).last_hidden_state[0]

    values = []
    for query, passage in pairs:
        encoded = tokenizer.encode(query, passage)
        ids, kinds = encoded.ids, encoded.type_ids
        first = kinds.index(1)
        q, p = states(ids[:first], 0), states(ids[first:], 1)
        z = [x @ weights["bert.pooler.dense.weight"].T + weights["bert.pooler.dense.bias"] for x in (q, p)]
        best = torch.stack([max(i @ j for j in z[1]) for i in z[0]])
        share = torch.softmax(q @ weights["classifier.weight"][0], 0)
        values.append(float(best @ share + weights["classifier.bias"][0]))
    return np.array(values)


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), BACKENDS)
def test_every_backend_computes_the_definition(late, pairs, backend, dtype, tolerance):
    expected = by_definition(late, pairs)
    assert expected.std() > 0.1  # else agreement says little
    np.testing.assert_allclose(logits(late, pairs, backend=backend, dtype=dtype), expected, atol=tolerance)


@pytest.mark.parametrize("backend", [pytest.param("native", marks=NATIVE), "torch"])
def test_the_early_exit_has_the_same_head_after_layers_of_its_own(late, pairs, backend):
    query, passages = pairs[0][0], [passage for _, passage in pairs[:31]]
    looked = by_definition(late, pairs[:31], layers=[0, 2])
    with Reranker.from_pretrained(late, device="cpu", backend=backend, dtype="fp32", effort="fast") as fast:
        kept = [result.index for result in fast.rank(query, passages, top_n=7)]
    assert set(kept) == set(np.argsort(-looked)[:7].tolist())


def without_words(backend, monkeypatch) -> None:
    """Whoever reads a text from its first layer on finds nothing."""
    monkeypatch.setattr(backend, "_words", np.zeros_like(backend._words[:]))


@NATIVE
@pytest.mark.parametrize("dtype", ["int16", "fp32"])
def test_a_passage_read_before_is_not_read_again(late, pairs, dtype, monkeypatch):
    def score(reranker: Reranker, query: int, passages: slice) -> list[float]:
        encoded = reranker.encode(pairs[query][0], [passage for _, passage in pairs[passages]]).pairs
        return reranker.scorer.backend.forward(Batch.of(encoded)).tolist()

    with Reranker.from_pretrained(late, device="cpu", dtype=dtype, passage_cache_mb=0) as anew:
        first, second = score(anew, 0, slice(31)), score(anew, 31, slice(31))
        with monkeypatch.context() as patch:
            without_words(anew.scorer.backend, patch)
            assert score(anew, 0, slice(31)) != first
    with Reranker.from_pretrained(late, device="cpu", dtype=dtype) as reranker:
        assert score(reranker, 0, slice(20)) == first[:20]
        assert score(reranker, 31, slice(31)) == second  # a query and passages that are new, among others
        without_words(reranker.scorer.backend, monkeypatch)
        assert score(reranker, 31, slice(31)) == second
        assert score(reranker, 0, slice(5, 31)) == first[5:]


def test_white_space_around_a_query_changes_nothing(default_model):
    with Reranker.from_pretrained(default_model, device="cpu") as reranker:
        plain, spaced = (
            reranker.rank(query, ["Hold it.", "A lamp."])[0].logit for query in ("reset it", " reset it \n")
        )
        assert plain == spaced


def test_white_space_around_a_passage_changes_nothing(default_model):
    with Reranker.from_pretrained(default_model, device="cpu") as reranker:
        plain, spaced = reranker.score_pairs(("reset it", text) for text in ("Hold it.", "\n Hold it. \n"))
        assert plain == spaced
        explanation = reranker.explain("reset it", "\n Hold it. A lamp. \n", words=False)
        assert [piece.span for piece in explanation.sentences] == [(2, 10), (11, 18)]
        assert explanation.logit == reranker.rank("reset it", ["Hold it. A lamp."])[0].logit
        alone = reranker.rank("reset it", ["Hold it."])[0].logit
        assert explanation.logit - explanation.sentences[1].drop == pytest.approx(alone, abs=1e-9)


def test_a_long_passage_is_cut_alike_beside_questions_of_like_length(late, real_texts):
    def read(query: str, reranker: Reranker) -> tuple[bytes, bool]:
        [pair] = reranker.encode(query, [" ".join(real_texts)]).pairs
        assert len(pair) <= reranker.max_length
        return pair.token_ids[pair.type_ids == 1].tobytes(), pair.truncated

    with Reranker.from_pretrained(late, device="cpu") as reranker:
        assert read("sort?", reranker) == read("how are lists sorted?", reranker)
        assert read("sort?", reranker)[0] != read("how " * 40, reranker)[0]
        assert all(read("how " * count, reranker)[1] for count in range(1, 150, 7))


@NATIVE
@pytest.mark.parametrize("dtype", ["int16", "fp32"])
def test_the_whole_model_goes_on_from_where_the_early_exit_left(late, pairs, dtype, monkeypatch):
    with Reranker.from_pretrained(late, device="cpu", dtype=dtype, passage_cache_mb=0) as anew:
        encoded = [encoded for query, passage in pairs for encoded in anew.encode(query, [passage]).pairs]
        whole = anew.scorer.backend.forward(Batch.of(encoded))
    with Reranker.from_pretrained(late, device="cpu", dtype=dtype, effort="fast") as fast:
        looked = fast.first_look.scorer.score(encoded).logits
        for backend in (fast.scorer.backend, fast.first_look.scorer.backend):
            without_words(backend, monkeypatch)
        assert np.array_equal(fast.scorer.backend.forward(Batch.of(encoded[3:8])), whole[3:8])
        assert np.array_equal(fast.scorer.backend.forward(Batch.of(encoded)), whole)
        assert np.array_equal(fast.first_look.scorer.score(encoded).logits, looked)


def test_the_texts_used_longest_ago_make_room():
    def texts(*ids: int) -> Batch:
        return Batch.of([EncodedPair(np.full(2, number, np.int32), np.zeros(2, np.int32)) for number in ids])

    def filled(*ids: int) -> tuple[list[float], list[bool]]:
        states = np.full((2 * len(ids), 1 << 16), -1, np.float32)
        missing = kept.fill(texts(*ids), states)
        return states[::2, 0].tolist(), missing.tolist()

    kept = TextStates(megabytes=2)  # of which a text of two tokens takes half a one
    states = np.repeat(np.arange(1, 5, dtype=np.float32), 2)[:, None] * np.ones(1 << 16, np.float32)
    kept.keep(texts(1, 2, 3, 4), states)
    assert filled(1) == ([1], [False])
    kept.keep(texts(4, 5), states[:4])
    assert filled(1, 2, 3, 4, 5) == ([1, -1, 3, 1, 2], [False, True, False, False, False])
    kept.keep(texts(6, 7), states[:4])
    assert filled(1, 3, 4) == ([-1, -1, 1], [True, True, False])
    long = Batch.of([EncodedPair(np.full(9, 8, np.int32), np.zeros(9, np.int32))])
    kept.keep(long, np.ones((9, 1 << 16), np.float32))
    assert filled(4, 6, 7) == ([1, 1, 2], [False] * 3)
    as_passage = Batch.of([EncodedPair(np.full(2, 7, np.int32), np.ones(2, np.int32))])
    assert kept.fill(as_passage, states[:2].copy()).all()


@NATIVE
def test_texts_of_which_the_early_exit_read_a_part_are_read_from_the_beginning(late):
    passages = [f"list number {number} of many" for number in range(8)]
    with Reranker.from_pretrained(late, device="cpu", passage_cache_mb=0) as anew:
        encoded = anew.encode("how do lists sort?", passages).pairs
        whole = anew.scorer.backend.forward(Batch.of(encoded))
    with Reranker.from_pretrained(late, device="cpu", effort="fast") as fast:
        fast.first_look.scorer.score(encoded[:4])
        assert np.array_equal(fast.scorer.backend.forward(Batch.of(encoded)), whole)


@NATIVE
def test_a_logit_does_not_depend_on_its_company_or_the_threads(late, pairs):
    together = logits(late, pairs, threads=2)
    assert np.array_equal(together, logits(late, pairs[::-1], threads=1)[::-1])
    for threads in (1, 2, 3):
        assert np.array_equal(together[:5], [logits(late, [pair], threads=threads)[0] for pair in pairs[:5]])


@NATIVE
def test_an_early_exits_logit_does_not_depend_on_the_threads(late, pairs):
    def looked(threads: int, some: list[tuple[str, str]]) -> list[float]:
        with Reranker.from_pretrained(late, device="cpu", effort="fast", threads=threads) as fast:
            encoded = [pair for query, passage in some for pair in fast.encode(query, [passage]).pairs]
            return fast.first_look.scorer.score(encoded).logits.tolist()

    whole = looked(1, pairs)
    assert [looked(threads, pairs[:1]) for threads in (1, 2, 3)] == [whole[:1]] * 3


def test_int8_exports_rank_alike(late, tmp_path, pairs):
    parity = export(str(late), tmp_path / "int8", "int8")
    assert parity.kendall_tau > 0.95
    assert json.loads((tmp_path / "int8" / "config.json").read_text())["architectures"] == ["BertForLateInteraction"]
    assert np.corrcoef(logits(tmp_path / "int8", pairs), logits(late, pairs))[0, 1] > 0.99


def test_texts_are_read_once_each():
    def pair(query: list[int], passage: list[int]) -> EncodedPair:
        types = [0] * len(query) + [1] * len(passage)
        return EncodedPair(np.array(query + passage, np.int32), np.array(types, np.int32))

    texts, places = Batch.of([pair([1, 2], [3]), pair([1, 2], [4, 5]), pair([6], [3])]).texts()
    assert texts.token_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert texts.type_ids.tolist() == [0, 0, 1, 1, 1, 0]
    assert texts.lengths.tolist() == [2, 1, 2, 1]
    assert places.tolist() == [[0, 1], [0, 2], [3, 1]]


@pytest.mark.parametrize(
    "change", [{"architectures": ["RobertaForLateInteraction"], "model_type": "roberta"}, {"type_vocab_size": 1}]
)
def test_other_encoders_cannot_be_late(late_model, tmp_path, change):
    folder = tmp_path / "model"
    shutil.copytree(late_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UnsupportedModel, match="late interaction is for BERT encoders with two token types"):
        Reranker.from_pretrained(folder)


def test_a_tokenizer_without_token_types_cannot_be_late(late_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(late_model, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for part in tokenizer["post_processor"]["pair"]:
        next(iter(part.values()))["type_id"] = 0
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UnsupportedModel, match=r"for late interaction, .* without token types .* type 0 and .* type 1"):
        Reranker.from_pretrained(folder)
