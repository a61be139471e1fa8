"""effort="fast": what the first look leaves is scored as ever, and nothing else is."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from finerank import BrokenModel, Document, InvalidSetting, Reranker, ScoreError
from finerank.job import FirstLook
from finerank.scoring.families import FAMILIES
from finerank.scoring.processor import check_native
from finerank.serving.scheduler import Scheduler
from finerank.testing import OverlapBackend, stub_reranker

LAYERS = 1
BACKENDS = ["torch", *(["native"] if check_native().passed else [])]
QUERY = "what does an assignment do?"


@pytest.fixture(scope="module")
def with_exit(make_model, tmp_path_factory) -> Callable[..., Path]:
    """`with_exit(model_type)`: the folder of a model of three layers that has an exit after the first, or after a layer
    of the exit's own that follows it: a copy of the model's third."""

    def make(model_type: str = "xlm-roberta", layers: float = LAYERS, hidden: int = 32, own: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("exit") / "model"
        shutil.copytree(make_model(model_type), folder)
        weights = load_file(folder / "model.safetensors")
        seeded = torch.Generator().manual_seed(7)
        shapes = {
            "dense.weight": (hidden, hidden),
            "dense.bias": (hidden,),
            "out.weight": (1, hidden),
            "out.bias": (1,),
        }
        tensors = {name: 0.3 * torch.randn(shape, generator=seeded) for name, shape in shapes.items()}
        prefix = f"{FAMILIES[model_type].prefix}encoder.layer.2."
        for name in weights if own else ():
            if name.startswith(prefix):
                tensors[f"layer.0.{name.removeprefix(prefix)}"] = weights[name].half()
        save_file({**tensors, "layers": torch.tensor([float(layers)])}, folder / "exit.safetensors")
        return folder

    return make


def cut_by_transformers(folder: Path) -> Path:
    """The model up to its exit, as a model of its own."""
    head = load_file(folder / "exit.safetensors")
    own = {name.removeprefix("layer.0."): tensor for name, tensor in head.items() if name.startswith("layer.")}
    layers = LAYERS + bool(own)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_hidden_layers=layers)
    family = FAMILIES[model.config.model_type]
    if own:
        model.base_model.encoder.layer[LAYERS].load_state_dict(own)
    for part, name in (("dense", family.dense), ("out", family.out)):
        model.get_submodule(name).load_state_dict({kind: head[f"{part}.{kind}"] for kind in ("weight", "bias")})
    cut = folder.with_name("cut")
    model.save_pretrained(cut)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, cut)
    return cut


def logits(reranker: Reranker, texts: list[str], **options: object) -> dict[int, float]:
    return {result.index: result.logit for result in reranker.rank(QUERY, texts, **options)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("model_type", "own"), [*((kind, 0) for kind in sorted(FAMILIES)), ("bert", 1), ("roberta", 1)]
)
def test_an_exit_is_the_model_cut_there(with_exit, real_texts, model_type, own, backend) -> None:
    folder, texts = with_exit(model_type, own=own), real_texts[:40]
    options = {"backend": backend, "device": "cpu", "dtype": "fp32"}
    with (
        Reranker.from_pretrained(cut_by_transformers(folder), **{**options, "backend": "transformers"}) as cut,
        Reranker.from_pretrained(folder, **options) as full,
        Reranker.from_pretrained(folder, effort="fast", **options) as fast,
    ):
        looked = fast.first_look.scorer.score(fast.encode(QUERY, texts).pairs).logits
        expected, whole = logits(cut, texts), logits(full, texts)
        np.testing.assert_allclose(looked, [expected[index] for index in range(40)], atol=1e-4)
        left = sorted(range(40), key=lambda index: -looked[index])[:8]
        best = sorted(left, key=lambda index: -whole[index])[:3]
        ranked = logits(fast, texts, top_n=3)
        assert list(ranked) == best
        exact = 0 if backend == "native" else 1e-5  # torch's own sums depend on the batch
        assert list(ranked.values()) == pytest.approx([whole[index] for index in best], abs=exact)


def test_without_a_top_n_or_with_a_large_one_everything_is_scored(with_exit, real_texts) -> None:
    folder, texts = with_exit(), real_texts[:20]
    with Reranker.from_pretrained(folder) as full, Reranker.from_pretrained(folder, effort="fast") as fast:
        for top_n in (None, 20, 25):
            ranking = fast.rank(QUERY, texts, top_n=top_n)
            assert ranking.usage.skipped == 0
            assert ranking.results == full.rank(QUERY, texts, top_n=top_n).results
        assert fast.rank(QUERY, texts, top_n=3).usage.skipped == 16
        assert fast.rank(QUERY, [], top_n=3).results == ()
        assert fast.rank(QUERY, texts, top_n=0).results == ()


def test_documents_in_passages_are_looked_at_and_scored_whole(with_exit, real_texts) -> None:
    folder = with_exit()
    documents = [Document(" ".join(real_texts[first : first + 3]), id=first) for first in range(0, 60, 3)]
    options = {"long_documents": "chunk", "calibration": "off"}
    with (
        Reranker.from_pretrained(folder, **options) as full,
        Reranker.from_pretrained(folder, effort="fast", **options) as fast,
    ):
        whole = {result.document.id: result for result in full.rank(QUERY, documents)}
        ranking = fast.rank(QUERY, documents, top_n=4)
        assert ranking.usage.skipped == 16
        assert ranking.usage.pairs > 4
        for result in ranking:
            expected = whole[result.document.id]
            assert (result.logit, result.best_span) == (expected.logit, expected.best_span)


def test_requests_together_are_each_cut_by_themselves(with_exit, real_texts) -> None:
    folder, other = with_exit(), "which numbers are there?"
    requests = [(QUERY, real_texts[:20]), (other, real_texts[20:23]), (other, real_texts[:30])]
    with Reranker.from_pretrained(folder, effort="fast") as fast:
        together = fast.rank_many(requests, top_n=2)
        alone = [fast.rank(*request, top_n=2) for request in requests]
    assert [ranking.results for ranking in together] == [ranking.results for ranking in alone]
    assert [ranking.usage.skipped for ranking in together] == [16, 1, 24]


def test_a_small_model_can_take_the_look(make_model, real_texts) -> None:
    model, small, texts = make_model("xlm-roberta"), make_model("bert", num_hidden_layers=1), real_texts[:40]
    with (
        Reranker.from_pretrained(model) as full,
        Reranker.from_pretrained(small) as first,
        Reranker.from_pretrained(model, effort="fast", first_model=str(small)) as fast,
    ):
        left, whole = list(logits(first, texts))[:8], logits(full, texts)
        expected = sorted(left, key=lambda index: -whole[index])[:5]
        assert logits(fast, texts, top_n=5) == {index: whole[index] for index in expected}


@pytest.mark.parametrize("chunk", [True, False])
def test_a_small_model_reads_what_the_model_reads(make_model, real_texts, chunk) -> None:
    model, small = make_model("xlm-roberta"), make_model("bert", num_hidden_layers=1)
    documents = [f"<p>{text * 4}</p>" for text in real_texts[9:29]]
    how = "chunk" if chunk else "truncate"
    with (
        Reranker.from_pretrained(
            model, effort="fast", first_model=str(small), template="so: {query}", clean=True, long_documents=how
        ) as fast,
        Reranker.from_pretrained(small, template="so: {query}", clean=True, long_documents=how) as first,
    ):
        read = fast.first_look.read(fast.encode(QUERY, documents))
        expected = first.encode(QUERY, documents)
    assert [pair.token_ids.tolist() for pair in read.pairs] == [pair.token_ids.tolist() for pair in expected.pairs]
    assert read.counts == expected.counts
    assert (max(read.counts) > 1) == chunk


def test_closing_closes_the_look_too_and_a_queue_leaves_it_open() -> None:
    reranker, small = stub_reranker(), stub_reranker()
    reranker.first_look = FirstLook(small.scorer)
    queues = [Scheduler(scorer, max_queue_tokens=1000) for scorer in (reranker.scorer, small.scorer)]
    with reranker.scoring_with(*queues) as queued:
        assert queued.rank("reset", ["a"] * 19 + ["reset"], top_n=1).usage.skipped == 16
    assert reranker.rank("reset", ["a"] * 19 + ["reset"], top_n=1).usage.skipped == 16
    reranker.close()
    assert small.scorer.backend.closed


def test_a_look_that_fails_hides_nothing() -> None:
    reranker, poisoned = stub_reranker(), stub_reranker(OverlapBackend(nan_word="poison"))
    texts = ["reset"] * 7 + ["poison"] + ["reset"] * 12
    reranker.first_look = FirstLook(poisoned.scorer)
    ranking = reranker.rank("reset", texts, top_n=1)
    assert (ranking.usage.skipped, ranking.usage.pairs) == (0, 20)
    reranker.scorer = poisoned.scorer
    with pytest.raises(ScoreError, match=r"documents\[7\]: the model answered nan"):
        reranker.rank("reset", texts, top_n=1)


def test_a_model_no_larger_than_the_small_one_is_not_preceded_by_it(make_model) -> None:
    with pytest.raises(InvalidSetting, match="too small to be preceded by finerank-mini"):
        Reranker.from_pretrained(make_model("bert"), effort="fast")


def test_several_threads_may_rank(with_exit, real_texts) -> None:
    with Reranker.from_pretrained(with_exit(), effort="fast") as fast, ThreadPoolExecutor(8) as pool:
        alone = [fast.rank(text, real_texts[:30], top_n=3).results for text in real_texts[:16]]
        together = list(pool.map(lambda text: fast.rank(text, real_texts[:30], top_n=3).results, real_texts[:16]))
    assert together == alone


def test_a_backend_without_exits_and_no_smaller_model_is_an_error() -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(InvalidSetting, match=r"effort='fast': finerank-mini has no early exit \(or backend='onnx'"):
        Reranker.from_pretrained(effort="fast", backend="onnx")


def test_an_exit_of_nan_is_an_error(with_exit) -> None:
    folder = with_exit()
    tensors = load_file(folder / "exit.safetensors")
    save_file({**tensors, "out.bias": torch.tensor([torch.nan])}, folder / "exit.safetensors")
    with pytest.raises(BrokenModel, match="holds NaN or infinity"):
        Reranker.from_pretrained(folder, effort="fast")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 16}, "of another size"),
        ({"layers": 3}, "an exit after layer 3 of 3"),
        ({"layers": 2, "own": 1}, "an exit after layer 3 of 3"),
    ],
)
def test_an_exit_that_does_not_fit_is_an_error(with_exit, change, message) -> None:
    with pytest.raises(BrokenModel, match=message):
        Reranker.from_pretrained(with_exit(**change), effort="fast")
