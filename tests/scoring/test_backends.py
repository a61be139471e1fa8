"""Every backend against transformers' own classes, run one pair at a time."""

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import TensorProto, helper
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder

from finerank import Reranker
from finerank.errors import BrokenModel, OutOfMemory, ScoreError, UnsupportedModel
from finerank.scoring import torch_backend
from finerank.scoring.backend import ScoringBackend, open_backend
from finerank.scoring.batch import Batch, EncodedPair
from finerank.scoring.device import Device
from finerank.scoring.encode import PairEncoder
from finerank.scoring.model_files import ModelFiles, find_model
from finerank.scoring.onnx_backend import OnnxBackend
from finerank.scoring.scorer import Scorer
from finerank.scoring.tokenizer import load_tokenizer
from finerank.scoring.torch_backend import TorchBackend, out_of_memory_reported
from finerank.scoring.transformers_backend import TransformersBackend

TOLERANCE = 1e-4
MAX_LENGTH = 128
QUERY = "what is a class?"
OWN_FORWARD = ["bert", "roberta", "xlm-roberta", "camembert"]
BY_TRANSFORMERS = ["modernbert", "deberta-v2", "mpnet"]


def pairs_for(files: ModelFiles, texts: Sequence[str]) -> list[EncodedPair]:
    """Pairs of many lengths, out of order, from one token of passage to the model's max length."""
    encoder = PairEncoder(load_tokenizer(files.tokenizer), MAX_LENGTH)
    query = encoder.encode_query(QUERY)
    shortest = MAX_LENGTH - encoder.passage_room(query) + 1
    lengths = [
        40,
        shortest,
        MAX_LENGTH,
        20,
        shortest + 1,
        100,
        MAX_LENGTH - 1,
        64,
        40,
        shortest,
        MAX_LENGTH,
        33,
    ]
    whole = encoder.encode(query, ["\n".join(texts[index :: len(lengths)]) for index in range(len(lengths))])
    return [shortened(pair, length) for pair, length in zip(whole, lengths, strict=True)]


def shortened(pair: EncodedPair, length: int) -> EncodedPair:
    """The pair with as much of its passage left as fits."""
    assert len(pair) == MAX_LENGTH
    kept = np.r_[: length - 1, len(pair) - 1]
    return EncodedPair(pair.token_ids[kept], pair.type_ids[kept])


def logits_of(files: ModelFiles, pairs: Sequence[EncodedPair], precision: str = "fp32") -> np.ndarray:
    return scored(open_backend(files, Device("cpu", precision)), pairs)


def scored(backend: ScoringBackend, pairs: Sequence[EncodedPair], **options) -> np.ndarray:
    return Scorer(backend, max_batch_tokens=300, **options).score(pairs).logits


def by_transformers(model: torch.nn.Module, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """The logits of transformers' own class, each pair alone, without padding."""
    logits = []
    for pair in pairs:
        ids, types = (torch.from_numpy(array).long()[None] for array in (pair.token_ids, pair.type_ids))
        types_too = {"token_type_ids": types} if getattr(model.config, "type_vocab_size", 0) > 1 else {}
        with torch.inference_mode():
            logits.append(model(input_ids=ids, attention_mask=torch.ones_like(ids), **types_too).logits.item())
    return np.array(logits)


def reference(folder: Path) -> torch.nn.Module:
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def assert_same(ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert theirs.std() > 0.1  # else agreement says little
    assert np.abs(ours - theirs).max() <= tolerance
    assert ours.argsort().tolist() == theirs.argsort().tolist()


def assert_same_in_any_company(backend: ScoringBackend, pairs: Sequence[EncodedPair]) -> None:
    """To within the tolerance; bit for bit if deterministic."""
    alone = np.concatenate([scored(backend, [pair]) for pair in pairs[:4]])
    assert np.abs(scored(backend, pairs)[:4] - alone).max() <= TOLERANCE
    assert scored(backend, pairs[3::-1], deterministic=True).tolist() == alone[::-1].tolist()


@pytest.mark.parametrize("model_type", [*OWN_FORWARD, *BY_TRANSFORMERS])
def test_logits_are_transformers_own(make_model, real_texts, model_type):
    folder = make_model(model_type)
    files = find_model(folder, backend="torch" if model_type in OWN_FORWARD else "auto")
    backend = open_backend(files, Device())
    assert type(backend) is (TorchBackend if model_type in OWN_FORWARD else TransformersBackend)
    assert files.usable_length == MAX_LENGTH
    pairs = pairs_for(files, real_texts)
    assert_same(scored(backend, pairs), by_transformers(reference(folder), pairs))
    assert_same_in_any_company(backend, pairs)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "modernbert", "deberta-v2"])
def test_scores_are_sentence_transformers_own(make_model, real_texts, model_type):
    folder = make_model(model_type)
    theirs = CrossEncoder(str(folder), device="cpu", max_length=MAX_LENGTH, activation_fn=torch.nn.Identity())
    passages = real_texts[:10]
    expected = theirs.predict([(QUERY, passage) for passage in passages], show_progress_bar=False)
    ranking = Reranker.from_pretrained(folder, device="cpu", dtype="fp32").rank(QUERY, passages)
    assert any(result.truncated for result in ranking)
    assert [result.index for result in ranking] == (-expected).argsort(kind="stable").tolist()
    np.testing.assert_allclose([result.logit for result in ranking], np.sort(expected)[::-1], atol=1e-4)


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "gelu_pytorch_tanh"])
def test_every_kind_of_gelu_is_computed_as_named(make_model, real_texts, hidden_act):
    folder = make_model("bert", hidden_act=hidden_act)
    files = find_model(folder)
    pairs = pairs_for(files, real_texts)
    logits = logits_of(files, pairs)
    assert_same(logits, by_transformers(reference(folder), pairs))
    other = make_model("bert", hidden_act="gelu" if hidden_act != "gelu" else "gelu_new")
    assert np.abs(logits - by_transformers(reference(other), pairs)).max() > TOLERANCE


def test_another_activation_is_refused_and_left_to_transformers(make_model, real_texts):
    folder = make_model("bert", hidden_act="relu")
    with pytest.raises(UnsupportedModel, match="hidden_act 'relu'; use backend='transformers'"):
        open_backend(find_model(folder), Device())
    files = find_model(folder, backend="transformers")
    pairs = pairs_for(files, real_texts)
    assert_same(logits_of(files, pairs), by_transformers(reference(folder), pairs))


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta"])
def test_the_transformers_backend_when_asked_for_gives_the_same_logits(make_model, real_texts, model_type):
    ours = find_model(make_model(model_type))
    theirs = find_model(make_model(model_type), backend="transformers")
    assert type(open_backend(theirs, Device())) is TransformersBackend
    pairs = pairs_for(ours, real_texts)
    assert_same(logits_of(ours, pairs), logits_of(theirs, pairs))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.02), ("bf16", 0.15)])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_half_precision_on_a_cpu_is_near(make_model, real_texts, model_type, precision, tolerance):
    files = find_model(make_model(model_type), dtype=precision)
    pairs = pairs_for(files, real_texts)
    exact, half = logits_of(files, pairs), logits_of(files, pairs, precision=precision)
    assert 0 < np.abs(half - exact).max() <= tolerance * np.ptp(exact)
    if model_type in OWN_FORWARD:  # the head runs in float32, so that logits are not rounded into ties
        assert (half != half.astype(np.float16)).any()


def test_the_torch_backend_does_not_import_transformers(make_model):
    program = (
        "import sys; from finerank import Reranker; "
        f"reranker = Reranker.from_pretrained({str(make_model('bert'))!r}, device='cpu', backend='torch'); "
        "reranker.rank('what?', ['that']); "
        "assert 'torch' in sys.modules; sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0


def test_a_lack_of_memory_on_the_cpu_is_reported_as_such():
    with pytest.raises(OutOfMemory, match="allocate memory"), out_of_memory_reported():
        torch.empty(1 << 50)
    with pytest.raises(RuntimeError, match="inconsistent tensor size"), out_of_memory_reported():
        torch.zeros(2) @ torch.zeros(3)


# ONNX


class _LogitsOnly(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        return self.model(input_ids, attention_mask, token_type_ids).logits


@pytest.fixture(scope="module")
def export(make_model, tmp_path_factory):
    """`export(model_type)`: a folder with the model as torch's own exporter writes it."""

    def run(model_type: str) -> Path:
        source, folder = make_model(model_type), tmp_path_factory.mktemp("onnx")
        for name in ("config.json", "tokenizer.json"):
            (folder / name).write_bytes((source / name).read_bytes())
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if model_type == "bert" else [])]
        inputs = torch.arange(5, 21).reshape(2, 8), torch.ones(2, 8).long(), torch.zeros(2, 8).long()
        with warnings.catch_warnings(action="ignore"):  # of tracing, and of this exporter's age
            torch.onnx.export(
                _LogitsOnly(reference(source)).eval(),
                inputs[: len(names)],
                str(folder / "model.onnx"),
                input_names=names,
                output_names=["logits"],
                dynamic_axes={name: {0: "pairs", 1: "tokens"} for name in names} | {"logits": {0: "pairs"}},
                dynamo=False,
            )
        return folder

    return run


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta"])
def test_logits_of_an_onnx_model_are_transformers_own(make_model, export, real_texts, model_type):
    files = find_model(export(model_type))
    assert files.backend == "onnx"
    pairs = pairs_for(files, real_texts)
    backend = open_backend(files, Device())
    assert_same(scored(backend, pairs), by_transformers(reference(make_model(model_type)), pairs))
    assert_same_in_any_company(backend, pairs)


def test_a_model_quantised_at_run_time_scores_a_pair_the_same_in_any_company(minilm, real_texts):
    files = find_model(minilm)
    pairs = pairs_for(files, real_texts)[:5]
    scorer = Scorer(open_backend(files, Device()), max_batch_tokens=10_000)
    together = scorer.score(pairs).logits.tolist()
    assert [scorer.score([pair]).logits[0] for pair in pairs] == together
    assert scorer.score(pairs[::-1]).logits.tolist() == together[::-1]


def test_minilm_gives_the_logits_its_model_card_publishes(minilm):
    passages = [
        "Berlin is well known for its museums.",
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
    ]
    ranking = Reranker.from_pretrained(minilm).rank("How many people live in Berlin?", passages)
    assert [result.index for result in ranking] == [1, 0]
    # Published for fp32; int8 moves them by 0.05, more on a processor whose int8 sums saturate.
    np.testing.assert_allclose([result.logit for result in ranking], [9.218911, -4.0780287], atol=0.3)


def graph(
    folder: Path,
    inputs: dict[str, int],
    shape: tuple[int | str, ...],
    takes: tuple[int | str, ...] = ("pairs", "tokens"),
) -> ModelFiles:
    """A model whose logit is the sum of its inputs, in a folder."""
    kinds = [helper.make_tensor_value_info(name, kind, list(takes)) for name, kind in inputs.items()]
    nodes = [helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT) for name in inputs]
    nodes.append(helper.make_node("Sum", [f"{name}_f" for name in inputs], ["all"]))
    nodes.append(helper.make_node("ReduceSum", ["all", "axes"], ["sum"], keepdims=0))
    nodes.append(helper.make_node("Unsqueeze", ["sum", "axes"], ["column"]))
    nodes.append(helper.make_node("Expand", ["column", "width"], ["wide"]))
    nodes.append(helper.make_node("Squeeze", ["wide", "axes"], ["flat"]))
    out = "flat" if len(shape) == 1 else "wide"
    used = [node for node in nodes if node.op_type != "Squeeze" or out == "flat"]
    width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 1
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("width", TensorProto.INT64, [2], [1, width]),
    ]
    result = helper.make_tensor_value_info(out, TensorProto.FLOAT, list(shape))
    model = helper.make_model(
        helper.make_graph(used, "sum", kinds, [result], constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.save(model, folder / "model.onnx")
    return ModelFiles("m", folder, "onnx", {"pad_token_id": 7}, (folder / "model.onnx",), folder / "t.json")


PAIRS = [
    EncodedPair(np.array([5, 6, 7], np.int32), np.array([0, 1, 1], np.int32)),
    EncodedPair(np.array([9, 9], np.int32), np.array([0, 1], np.int32)),
]


@pytest.mark.parametrize("shape", [("pairs",), ("pairs", 1), ("pairs", "labels")])
@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32])
def test_an_onnx_graph_gets_the_inputs_it_names_in_the_type_it_names(tmp_path, kind, shape):
    files = graph(tmp_path, {"input_ids": kind}, shape)
    assert logits_of(files, PAIRS).tolist() == [18, 18 + 7]  # the shorter is padded with the config's pad id
    files = graph(tmp_path, {"attention_mask": kind, "input_ids": kind}, shape)
    assert logits_of(files, PAIRS).tolist() == [18 + 3, 25 + 2]
    files = graph(tmp_path, {"input_ids": kind, "attention_mask": kind, "token_type_ids": kind}, shape)
    assert logits_of(files, PAIRS).tolist() == [18 + 3 + 2, 25 + 2 + 1]


@pytest.mark.parametrize(
    ("inputs", "shape", "message"),
    [
        (
            ("input_ids", "pixels"),
            ("pairs", 1),
            r"takes the inputs \['input_ids', 'pixels'\]; a cross-encoder takes",
        ),
        (("attention_mask",), ("pairs", 1), "a cross-encoder takes input_ids"),
        (("input_ids",), ("pairs", 3), r"gives \['pairs', 3\]; a reranker gives one logit a pair"),
    ],
)
def test_an_onnx_graph_that_is_no_cross_encoder_is_refused(tmp_path, inputs, shape, message):
    with pytest.raises(UnsupportedModel, match=message):
        OnnxBackend(graph(tmp_path, dict.fromkeys(inputs, TensorProto.INT64), shape), Device())


@pytest.mark.parametrize("takes", [(1, 128), (8, 128), ("pairs", 128), (8, "tokens")])
def test_an_onnx_graph_for_one_shape_is_refused_with_the_fix(tmp_path, takes):
    files = graph(tmp_path, {"input_ids": TensorProto.INT64}, ("pairs", 1), takes)
    with pytest.raises(UnsupportedModel, match=r"input_ids has the fixed shape \[.*\], .* `finerank export MODEL OUT`"):
        OnnxBackend(files, Device())


def test_an_onnx_graph_for_single_pairs_gets_them_one_by_one(tmp_path):
    files = graph(tmp_path, {"input_ids": TensorProto.INT64}, (1, 1), (1, "tokens"))
    assert logits_of(files, PAIRS).tolist() == [18, 18]


def test_what_onnx_runtime_refuses_is_an_error_of_ours(tmp_path):
    files = graph(tmp_path, {"input_ids": TensorProto.INT64}, ("pairs", 1))
    backend = OnnxBackend(files, Device())
    backend._inputs["input_ids"] = "tensor(int32)"  # as for a graph whose operators do not fit what they are given
    with pytest.raises(ScoreError, match=r"model\.onnx: ONNX Runtime fails on 2 pairs of 3 tokens: .*export it again"):
        backend.forward(Batch.of(PAIRS))


def test_an_unreadable_onnx_file_is_broken(tmp_path):
    files = graph(tmp_path, {"input_ids": TensorProto.INT64}, ("pairs", 1))
    files.weights[0].write_bytes(b"no graph")
    with pytest.raises(BrokenModel, match=r"model\.onnx: ONNX Runtime cannot load it: .* export it again"):
        OnnxBackend(files, Device())


# The true size


def write_random_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of uniform random float32, norms around 1, written without making the tensors.

    All come from one pool, each from another place of it: 568 million fresh numbers would take half a minute.
    """
    noise = np.random.default_rng(0).uniform(-0.08, 0.08, 5_000_011).astype(np.float32)
    pools = {centre: memoryview((noise + np.float32(centre)).tobytes()) for centre in (0, 1)}
    ends = np.cumsum([4 * math.prod(shape) for shape in shapes.values()]).tolist()
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [end - 4 * math.prod(shape), end]}
        for (name, shape), end in zip(shapes.items(), ends, strict=True)
    }
    text = json.dumps(header)
    text += " " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text.encode())
        for index, (name, shape) in enumerate(shapes.items()):
            pool, place, left = pools["LayerNorm.weight" in name], 4 * 1009 * index, 4 * math.prod(shape)
            while left:
                left -= file.write(pool[place : place + left])
                place = 0


@pytest.fixture
def bge_reranker_v2_m3(tmp_path, xlmr_tokenizer):
    """BAAI/bge-reranker-v2-m3 in all but its weights, which are random; 2.3 GB, deleted after the test."""
    config = transformers.XLMRobertaConfig(
        architectures=["XLMRobertaForSequenceClassification"],
        vocab_size=250002,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=8194,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        num_labels=1,
    )
    with torch.device("meta"):
        model = transformers.XLMRobertaForSequenceClassification(config).eval()
    path = tmp_path / "model.safetensors"
    write_random_weights(path, {name: tuple(parameter.shape) for name, parameter in model.named_parameters()})
    config.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").symlink_to(xlmr_tokenizer)
    yield tmp_path, model
    path.unlink()


@pytest.mark.slow
def test_logits_of_the_true_architecture_are_transformers_own(bge_reranker_v2_m3):
    folder, model = bge_reranker_v2_m3
    files = find_model(folder)
    assert sum(parameter.numel() for parameter in model.parameters()) == 567_755_777
    assert (files.usable_length, files.tuned_length) == (8192, 1024)
    encoder = PairEncoder(load_tokenizer(files.tokenizer), 1024)
    passages = [
        "hi",
        "The giant panda is a bear species endemic to China.",
        "大熊猫是中国特有的一种熊科动物。",
    ]
    pairs = encoder.encode(encoder.encode_query("what is panda?"), passages)
    ours = logits_of(files, pairs)
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=False, assign=True)
    model.roberta.embeddings.position_ids = torch.arange(8194)[None]
    model.roberta.embeddings.token_type_ids = torch.zeros(1, 8194).long()
    assert_same(ours, by_transformers(model, pairs))


# GPU


@pytest.mark.gpu
@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "modernbert", "deberta-v2"])
def test_a_gpu_agrees_with_the_cpu(make_model, real_texts, model_type):
    files = find_model(make_model(model_type))
    pairs = pairs_for(files, real_texts)
    exact = logits_of(files, pairs)

    def on_gpu(precision: str) -> np.ndarray:
        backend = open_backend(files, Device("cuda", precision))
        return Scorer(backend, max_batch_tokens=300).score(pairs).logits

    assert np.abs(on_gpu("fp32") - exact).max() <= 1e-3
    assert np.abs(on_gpu("fp16") - exact).max() <= 5e-2 * np.ptp(exact)


@pytest.mark.gpu
def test_attention_over_varied_lengths_agrees_with_attention_per_run(make_model, real_texts, monkeypatch):
    files = find_model(make_model("xlm-roberta"))
    pairs = pairs_for(files, real_texts)
    backend = open_backend(files, Device("cuda", "fp16"))
    packed = Scorer(backend, max_batch_tokens=10_000).score(pairs).logits
    monkeypatch.setattr(torch_backend, "has_varlen", lambda device: False)
    per_run = Scorer(backend, max_batch_tokens=10_000).score(pairs).logits
    assert np.abs(packed - per_run).max() <= 2e-2 * np.ptp(per_run)


CONTROLS = "[SEP] how do I cancel [SEP] [PAD] [MASK] </s> <pad><mask> [CLS] <s>"


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta"])
def test_control_tokens_in_a_text_are_text_to_every_backend(make_model, model_type):
    """No backend treats them as ends of texts or as padding, and so all agree."""
    folder = make_model(model_type)
    documents = [f"Our logo is blue. {CONTROLS}", f"a <pad> b{'<pad>' * 20}", CONTROLS, "plain"]
    logits = {}
    for backend in ("native", "torch", "transformers"):
        with Reranker.from_pretrained(folder, backend=backend, dtype="fp32", device="cpu") as reranker:
            logits[backend] = [pair.logit for pair in reranker.score_pairs([(CONTROLS, text) for text in documents])]
            specials = {0, 1, 2, 3, 4} if model_type == "bert" else {0, 1, 2, 3}
            pairs = reranker.encode(CONTROLS, documents).pairs
            counts = {sum(int(token) in specials for token in pair.token_ids) for pair in pairs}
            assert counts == {3 if model_type == "bert" else 4}
            assert [piece.text for piece in reranker.explain("a", documents[1]).sentences] == [documents[1]]
    for other in ("native", "transformers"):
        np.testing.assert_allclose(logits[other], logits["torch"], atol=1e-4)


def test_white_space_at_the_ends_of_a_text_moves_a_byte_level_models_logits_as_transformers_does(make_model):
    import torch
    import transformers

    folder = make_model("roberta")
    texts = ["who can?", "who can?  ", "\nwho can?", " who can?\t\n"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with Reranker.from_pretrained(folder, backend="torch", device="cpu") as reranker, torch.inference_mode():
        own = [pair.logit for pair in reranker.score_pairs([(texts[index], text) for index, text in enumerate(texts)])]
        chunked = Reranker.from_pretrained(folder, backend="torch", device="cpu", long_documents="chunk")
        theirs = [float(model(**tokenizer(text, text, return_tensors="pt")).logits) for text in texts]
        assert [pair.logit for pair in chunked.score_pairs([(text, text) for text in texts])] == pytest.approx(own)
    np.testing.assert_allclose(own, theirs, atol=1e-4)
    assert len({round(logit, 3) for logit in own}) == len(texts)
