"""Late interaction: every backend computes what its definition says, each text read by itself."""

import json
import shutil
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


def by_definition(folder: Path, pairs: list[tuple[str, str]], layers: int = 3) -> np.ndarray:
    """Each text alone through transformers' encoder, and the formula over its states, token by token."""
    model = transformers.BertModel.from_pretrained(folder).eval()
    weights = load_file(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(128, strategy="only_second")

    def states(ids: list[int], kind: int) -> torch.Tensor:
        given = {"input_ids": torch.tensor([ids]), "token_type_ids": torch.full((1, len(ids)), kind)}
        with torch.inference_mode():
            return model(**given, output_hidden_states=True).hidden_states[layers][0]

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
def test_the_early_exit_has_the_same_head(late, pairs, backend):
    query, passages = pairs[0][0], [passage for _, passage in pairs[:31]]
    looked = by_definition(late, pairs[:31], layers=1)
    with Reranker.from_pretrained(late, device="cpu", backend=backend, dtype="fp32", effort="fast") as fast:
        kept = [result.index for result in fast.rank(query, passages, top_n=7)]
    assert set(kept) == set(np.argsort(-looked)[:7].tolist())


@NATIVE
@pytest.mark.parametrize("dtype", ["int16", "fp32"])
def test_the_whole_model_goes_on_from_where_the_early_exit_left(late, pairs, dtype, monkeypatch):
    with Reranker.from_pretrained(late, device="cpu", dtype=dtype, effort="fast") as fast:
        encoded = [encoded for query, passage in pairs for encoded in fast.encode(query, [passage]).pairs]
        backend = fast.scorer.backend
        whole = backend.forward(Batch.of(encoded))
        fast.first_look.scorer.score(encoded)
        words = backend._words
        backend._words = np.zeros_like(words[:])  # whoever begins anew finds nothing
        assert np.array_equal(backend.forward(Batch.of(encoded)), whole)
        assert np.array_equal(backend.forward(Batch.of(encoded[3:8])), whole[3:8])
        backend._words = words
        monkeypatch.setattr("finerank.scoring.states.MOST_BYTES", 0)
        fast.first_look.scorer.score(encoded)
        assert np.array_equal(backend.forward(Batch.of(encoded)), whole)


def test_the_states_of_the_texts_read_first_make_room(monkeypatch):
    def texts(*ids: int) -> Batch:
        return Batch.of([EncodedPair(np.full(2, number, np.int32), np.zeros(2, np.int32)) for number in ids])

    monkeypatch.setattr("finerank.scoring.states.MOST_BYTES", 3 * 2 * 8 * 4)
    kept = TextStates()
    rows = np.arange(4 * 2 * 8, dtype=np.float32).reshape(8, 8)
    kept.keep(texts(1, 2, 3), rows[:6])
    kept.keep(texts(1, 4), rows[4:])
    assert kept.find(texts(2)) is None
    assert np.array_equal(kept.find(texts(4, 3, 1)), rows[[6, 7, 4, 5, 4, 5]])
    assert kept.find(texts(4, 2)) is None


@NATIVE
def test_a_logit_does_not_depend_on_its_company_or_the_threads(late, pairs):
    together = logits(late, pairs, threads=2)
    assert np.array_equal(together, logits(late, pairs[::-1], threads=1)[::-1])
    assert np.array_equal(together[:5], [logits(late, [pair])[0] for pair in pairs[:5]])


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
