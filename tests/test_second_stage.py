"""A second stage rereads the best passages, and its logits are added to the first ones."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from finerank import BrokenModel, Reranker
from finerank.scoring.batch import EncodedPair
from finerank.scoring.families import MAP_AFTER
from finerank.scoring.processor import check_native
from finerank.second_stage import KEY
from finerank.training.export import export

NATIVE = pytest.mark.skipif(not check_native().passed, reason=check_native().found)
STAGE = {"candidates": 3, "scale": 0.5, "weight": 2.0, "bias": 0.25, "unread": -1.5}
QUERY = "how are lists sorted?"


@pytest.fixture(scope="session")
def folder(late_model, make_model, tmp_path_factory) -> Path:
    """A late-interaction model whose second stage has a linear map after its first layer; its export is in `onnx`."""
    target = tmp_path_factory.mktemp("two-stage") / "model"
    shutil.copytree(late_model, target)
    (target / "exit.safetensors").unlink()
    second = make_model("bert", initializer_range=0.3)
    weights = load_file(second / "model.safetensors")
    del weights["bert.embeddings.word_embeddings.weight"]
    torch.manual_seed(3)
    weights["bert.encoder.map.weight"] = torch.eye(32) + 0.3 * torch.randn(32, 32)
    weights["bert.encoder.map.bias"] = torch.randn(32)
    save_file(weights, target / "second.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    cross = json.loads((second / "config.json").read_text()) | {MAP_AFTER: 1}
    (target / "config.json").write_text(json.dumps({**config, KEY: {**STAGE, "config": cross}}))
    export(str(target), target.parent / "onnx", "fp32")
    return target


@pytest.fixture(scope="module")
def passages(real_texts) -> list[str]:
    return [text[: 40 + 11 * place] for place, text in enumerate(real_texts[:12])]


def by_definition(folder: Path, pairs: list[EncodedPair]) -> np.ndarray:
    """The second model's logits from transformers' layers, with the map between the first two."""
    config = json.loads((folder / "config.json").read_text())[KEY]["config"]
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**config)).eval()
    weights = load_file(folder / "second.safetensors")
    words = "bert.embeddings.word_embeddings.weight"
    weights[words] = load_file(folder / "model.safetensors")[words]
    model.load_state_dict(weights, strict=False)
    matrix, bias = weights["bert.encoder.map.weight"], weights["bert.encoder.map.bias"]
    model.bert.encoder.layer[0].register_forward_hook(lambda _, __, states: states @ matrix.T + bias)
    values = []
    for pair in pairs:
        ids, types = (torch.from_numpy(part[None].astype(np.int64)) for part in (pair.token_ids, pair.type_ids))
        with torch.inference_mode():
            values.append(float(model(input_ids=ids, token_type_ids=types).logits))
    return np.array(values)


def test_a_pair_is_read_as_one_sequence(folder: Path):
    with Reranker.from_pretrained(folder, backend="torch", device="cpu") as reranker:
        (pair,) = reranker.encode(QUERY, ["a list"]).pairs
        joint = reranker.second_stage.pair(pair)
    first = pair.type_ids.tolist().index(1)
    assert joint.token_ids.tolist() == [*pair.token_ids[:first], *pair.token_ids[first + 1 :]]
    assert joint.type_ids.tolist() == [0] * first + [1] * (len(joint) - first)


@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [
        pytest.param("native", "fp32", 1e-4, marks=NATIVE),
        pytest.param("native", "int16", 2e-2, marks=NATIVE),
        ("torch", "fp32", 1e-4),
        ("onnx", "fp32", 1e-4),
    ],
)
def test_the_best_passages_are_reread_and_the_logits_added(folder, passages, backend, dtype, tolerance):
    where = folder.parent / "onnx" if backend == "onnx" else folder
    with Reranker.from_pretrained(where, backend=backend, dtype=dtype, device="cpu") as reranker:
        pairs = reranker.encode(QUERY, passages).pairs
        first = reranker.scorer.score(pairs).logits
        second = by_definition(folder, [reranker.second_stage.pair(pair) for pair in pairs])
        best = np.argsort(-first)[: STAGE["candidates"]].tolist()
        expected = [
            STAGE["scale"] * logit + STAGE["weight"] * (second[index] if index in best else -1.5) + STAGE["bias"]
            for index, logit in enumerate(first)
        ]
        ranking = reranker.rank(QUERY, passages)
        assert np.std(second) > 0.1
        found = {result.index: result.logit for result in ranking}
        np.testing.assert_allclose([found[index] for index in range(12)], expected, atol=tolerance)
        (alone,) = reranker.score_pairs([(QUERY, passages[0])])
        assert alone.logit == pytest.approx(0.5 * first[0] + 2.0 * second[0] + 0.25, abs=tolerance)
        assert reranker.explain(QUERY, passages[0]).logit == pytest.approx(alone.logit, abs=1e-3)


def test_requests_ranked_together_are_ranked_as_alone(folder, passages):
    with Reranker.from_pretrained(folder, backend="torch", device="cpu", deterministic=True) as reranker:
        alone = [reranker.rank(QUERY, passages[:number]) for number in (12, 1, 0, 5)]
        together = reranker.rank_many([(QUERY, passages[:number]) for number in (12, 1, 0, 5)])
        assert [ranking.results for ranking in together] == [ranking.results for ranking in alone]
        again = pickle.loads(pickle.dumps(reranker))
        assert again.rank(QUERY, passages).results == alone[0].results
        again.close()


def test_the_best_passage_of_a_long_document_is_reread(folder, real_texts):
    long = " ".join(real_texts[:6])
    options = {"backend": "torch", "device": "cpu", "long_documents": "chunk", "max_length": 48}
    with Reranker.from_pretrained(folder, **options) as reranker:
        request = reranker.encode(QUERY, [long])
        first = reranker.scorer.score(request.pairs).logits
        job = reranker.job(request)
        job.receive(reranker.scorer.score(job.pairs()))
        assert job.stage == "reread"
        (read,) = job.pairs()
        assert read.token_ids.tolist() == reranker.second_stage.pair(request.pairs[first.argmax()]).token_ids.tolist()


def test_effort_fast_rereads_nothing(folder, passages, make_model):
    options = {"backend": "torch", "device": "cpu", "effort": "fast", "first_model": str(make_model("bert"))}
    with Reranker.from_pretrained(folder, **options) as fast:
        pairs = fast.encode(QUERY, passages).pairs
        (best, *_) = fast.rank(QUERY, passages)
        assert best.logit == pytest.approx(0.5 * fast.scorer.score(pairs).logits.max() - 3.0 + 0.25)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"candidates": 0}, "candidates"),
        ({"weight": None}, "weight"),
        ({"config": None}, "has no config"),
    ],
)
def test_a_stage_described_wrongly_is_refused(folder, tmp_path, change, complaint):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, KEY: {**config[KEY], **change}}))
    with pytest.raises(BrokenModel, match=complaint):
        Reranker.from_pretrained(copy, backend="torch", device="cpu")


def test_missing_weights_are_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "second.safetensors").unlink()
    with pytest.raises(BrokenModel, match=r"second\.safetensors: is missing"):
        Reranker.from_pretrained(copy, backend="torch", device="cpu")
