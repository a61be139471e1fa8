"""The accuracy gate of the native engine: on real text, models of real size rank as fp32 transformers ranks, with the
same bits in any company and on any number of threads.

bge-reranker's weights are seeded, in the true architecture but for a smaller vocabulary, with attention that
attends, a few outlier channels, and logits that spread like a trained model's.
"""

import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from finerank.evaluation.keyword_traps import load_traps, trap_languages
from finerank.scoring.batch import Batch, EncodedPair
from finerank.scoring.device import Device
from finerank.scoring.encode import PairEncoder
from finerank.scoring.families import is_late
from finerank.scoring.int8 import SCALE, quantise
from finerank.scoring.model_files import EMBEDDED_DIR, ModelFiles, find_model
from finerank.scoring.native_backend import NativeBackend
from finerank.scoring.processor import check_native
from finerank.scoring.tokenizer import load_tokenizer
from finerank.training.export import read_weights

pytestmark = [pytest.mark.skipif(not check_native().passed, reason=check_native().found), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TOLERANCE = {"int16": 5e-3, "fp32": 1e-4}
VOCABULARY = 4096
SPREAD = 1.5
"""Standard deviation of seeded logits. Random layers amplify rounding some five times more than trained ones do."""

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A model, pairs of real text as it reads them, and the logits that transformers gives them in fp32."""

    files: ModelFiles
    pairs: list[EncodedPair]
    logits: np.ndarray


# Real text


def trap_texts(languages: Sequence[str], traps: int) -> Iterator[tuple[str, list[str]]]:
    """Queries with passages that share their words: some answer, some only sound like it."""
    for language in languages:
        for trap in load_traps(language)[:traps]:
            yield trap.query, trap.passages


def encoded(tokenizer: Path, requests, max_length: int) -> list[EncodedPair]:
    encoder = PairEncoder(load_tokenizer(tokenizer), max_length)
    return [pair for query, texts in requests for pair in encoder.encode(encoder.encode_query(query), texts)]


def folded(pairs: Sequence[EncodedPair]) -> list[EncodedPair]:
    """The pairs in a smaller vocabulary: special tokens stay, others share a number."""

    def fold(ids: np.ndarray) -> np.ndarray:
        return np.where(ids < 5, ids, 5 + ids % (VOCABULARY - 5)).astype(np.int32)

    return [replace(pair, token_ids=fold(pair.token_ids)) for pair in pairs]


# Models


def logits_in_fp32(config: Mapping[str, object], weights: Weights, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """What transformers' own class gives these weights, each pair alone."""
    return read_out(config, weights, pairs)[0]


def read_out(
    config: Mapping[str, object], weights: Weights, pairs: Sequence[EncodedPair]
) -> tuple[np.ndarray, torch.Tensor]:
    """Logits, and what the last layer makes them of: [pairs, hidden]."""
    settings = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = transformers.AutoModelForSequenceClassification.from_config(settings)
    model.load_state_dict(weights, strict=True, assign=True)
    model.eval()
    if is_late(config):
        return np.array([compared(model, pair) for pair in pairs]), torch.empty(0)
    read: list[torch.Tensor] = []
    model.get_submodule(last_layer(config)).register_forward_hook(lambda layer, inputs, _: read.append(inputs[0][0]))
    logits = []
    for pair in pairs:
        ids, types = (torch.from_numpy(array).long()[None] for array in (pair.token_ids, pair.type_ids))
        first = settings.pad_token_id + 1 if config["model_type"] == "xlm-roberta" else 0
        places = first + torch.arange(len(pair))[None]
        with torch.inference_mode():
            logits.append(model(ids, torch.ones_like(ids), types, places).logits.item())
    return np.array(logits), torch.stack(read)


@torch.no_grad()
def compared(model: torch.nn.Module, pair: EncodedPair) -> float:
    """Late interaction: each text alone through transformers' encoder, then the definition in float64."""
    first = int((pair.type_ids == 0).sum())
    states = []
    for text in (slice(0, first), slice(first, None)):
        ids, types = (torch.from_numpy(array[text]).long()[None] for array in (pair.token_ids, pair.type_ids))
        places = torch.arange(ids.shape[1])[None]
        states.append(model.bert(ids, torch.ones_like(ids), types, places).last_hidden_state[0].double())
    query, passage = (
        states[i] @ model.bert.pooler.dense.weight.double().T + model.bert.pooler.dense.bias for i in (0, 1)
    )
    weights = torch.softmax(states[0] @ model.classifier.weight[0].double(), 0)
    return float(weights @ (query @ passage.T).max(1).values + model.classifier.bias)


def last_layer(config: Mapping[str, object]) -> str:
    return "classifier.out_proj" if config["model_type"] == "xlm-roberta" else "classifier"


def seeded(config: Mapping[str, object]) -> Weights:
    """Weights in bf16 for the model of this config: out of one pool of noise, each tensor from a place of its own."""
    with torch.device("meta"):
        model = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.for_model(**config))
    pool = torch.randn(2**23 + 12_347, generator=torch.Generator().manual_seed(0))
    weights, place = {}, 0
    for name, parameter in model.named_parameters():
        end = place + parameter.numel()
        noise = torch.cat([pool[place:end], pool[: max(0, end - len(pool))]]).reshape(parameter.shape)
        place = (place + 1_000_003) % len(pool)
        weights[name] = (_as_trained(name, noise)).bfloat16()
    return weights


def _as_trained(name: str, noise: torch.Tensor) -> torch.Tensor:
    if "LayerNorm.weight" in name:
        gain = 1 + 0.2 * noise
        gain[:3] = 2  # the outlier channels that trained encoders have
        return gain
    if name.endswith("bias"):
        return 0.1 * noise
    if "embeddings" in name:
        return (1.0 if "word" in name else 0.3) * noise
    # What a layer adds is less than what it is added to: else random layers, unlike trained ones, amplify any rounding.
    gain = 0.5 if "attention.output" in name else 0.3 if "output.dense" in name else 1.0
    return gain * noise / noise.shape[1] ** 0.5


def widened(weights: Weights) -> Weights:
    return {name: weight.float() for name, weight in weights.items()}


def spread_out(config: Mapping[str, object], weights: Weights, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """Sets the last layer, as training would, to what the pairs differ in most; their logits, of the spread above."""
    _, read = read_out(config, weights, pairs)
    mean = read.mean(0)
    direction = torch.linalg.svd(read - mean, full_matrices=False).Vh[0]
    direction = direction * SPREAD / ((read - mean) @ direction).std()
    weights[f"{last_layer(config)}.weight"] = direction[None].contiguous()
    weights[f"{last_layer(config)}.bias"] = -(mean @ direction)[None]
    return (read @ direction - mean @ direction).numpy().astype(np.float64)


def written(folder: Path, config: Mapping[str, object], weights: Weights, name: str, tokenizer: Path) -> ModelFiles:
    folder.mkdir(exist_ok=True)
    architecture = {"bert": "Bert", "xlm-roberta": "XLMRoberta"}[str(config["model_type"])]
    config = {**config, "architectures": [f"{architecture}ForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "tokenizer.json").symlink_to(tokenizer)
    if weights:
        save_file(weights, folder / name, {"format": "pt"})
    return find_model(folder, backend="native")


def xlm_roberta(layers: int, hidden: int, heads: int, inner: int, positions: int) -> dict[str, object]:
    return {
        "model_type": "xlm-roberta",
        "vocab_size": VOCABULARY,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        "pad_token_id": 1,
        "num_labels": 1,
    }


BASE = xlm_roberta(12, 768, 12, 3072, 514)
V2_M3 = xlm_roberta(24, 1024, 16, 4096, 8194)
LARGE = {**V2_M3, "max_position_embeddings": 514}
"""But for its positions the architecture of v2-m3."""

MINI = {
    **xlm_roberta(6, 384, 12, 1536, 512),
    **{"model_type": "bert", "type_vocab_size": 2, "layer_norm_eps": 1e-12},
}
"""A small cross-encoder of 8-bit weights."""


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory) -> Iterator[None]:
    """Packed weights of a gigabyte do not outlive the tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("packed")
        patch.setenv("FINERANK_CACHE_DIR", str(folder))
        yield
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def multilingual(xlmr_tokenizer) -> list[EncodedPair]:
    """A query and two passages in each of twelve languages."""
    texts = [(query, passages[:2]) for query, passages in trap_texts(trap_languages(), 1)]
    return folded(encoded(xlmr_tokenizer, texts, 64))


@pytest.fixture(scope="module")
def minilm_fp32(minilm, real_texts, tmp_path_factory) -> Case:
    """ms-marco-MiniLM-L-12-v2, its weights widened from the int8 file that is fetched, on pairs up to 512 tokens."""
    spec = importlib.util.spec_from_file_location("dequantise", ROOT / "benchmarks/dequantise.py")
    dequantise = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dequantise)
    weights = {
        name: torch.from_numpy(array.copy())
        for name, array in dequantise.float32_weights(minilm / "model.onnx").items()
    }
    config = json.loads((minilm / "config.json").read_text())
    folder = tmp_path_factory.mktemp("minilm")
    files = written(folder, config, weights, "model.safetensors", minilm / "tokenizer.json")
    long = " ".join(sorted(real_texts, key=len)[-3:])
    requests = [*trap_texts(["en", "zh"], 4), ("What does a class body do?", [*real_texts[9:12], long])]
    pairs = encoded(files.tokenizer, requests, 512)
    return Case(files, pairs, logits_in_fp32(files.config, weights, pairs))


@pytest.fixture(scope="module")
def embedded(real_texts) -> Case:
    """A model of 8-bit weights that ships in the package, if there is one."""
    folder = next((path.parent for path in EMBEDDED_DIR.glob("*/model_int8.safetensors")), None)
    if folder is None:
        pytest.skip("no model of 8-bit weights is embedded")
    files = find_model(folder, backend="native")
    requests = [*trap_texts(trap_languages(), 2), ("What does a class body do?", real_texts[9:12])]
    pairs = encoded(files.tokenizer, requests, files.usable_length)
    weights = {name: torch.from_numpy(array) for name, array in read_weights(replace(files, backend="torch")).items()}
    return Case(files, pairs, logits_in_fp32(files.config, weights, pairs))


@pytest.fixture(scope="module")
def int8(multilingual, xlmr_tokenizer, tmp_path_factory) -> Case:
    """Seeded weights in 8 bits, and what they are worth in fp32."""
    weights = widened(seeded(MINI))
    spread_out(MINI, weights, multilingual)
    stored = dict(weights)
    for name, weight in weights.items():
        if "word_embeddings" in name or (".layer." in name and weight.ndim == 2):
            steps, scale = quantise(weight.numpy())
            stored[name], stored[name + SCALE] = torch.from_numpy(steps), torch.from_numpy(scale)
            blocks = (steps.reshape(len(steps), -1, 64).astype(np.float32) - 128) * scale[..., None]
            weights[name] = torch.from_numpy(blocks.reshape(steps.shape))
    folder = tmp_path_factory.mktemp("int8")
    files = written(folder, MINI, stored, "model_int8.safetensors", xlmr_tokenizer)
    return Case(files, multilingual, logits_in_fp32(MINI, weights, multilingual))


@pytest.fixture(scope="module")
def base(multilingual, xlmr_tokenizer, tmp_path_factory) -> Iterator[Case]:
    yield from seeded_case(BASE, multilingual, xlmr_tokenizer, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def v2_m3(multilingual, xlmr_tokenizer, tmp_path_factory) -> Iterator[Case]:
    few = sorted(multilingual, key=len)[::3]
    yield from seeded_case(V2_M3, few, xlmr_tokenizer, tmp_path_factory.mktemp("v2-m3"))


@pytest.fixture(scope="module")
def large(v2_m3, xlmr_tokenizer) -> Case:
    """The same weights under another config: of the positions only the first 514 are used."""
    folder = v2_m3.files.folder
    (folder / "large").mkdir()
    (folder / "large/model.safetensors").symlink_to(folder / "model.safetensors")
    return replace(v2_m3, files=written(folder / "large", LARGE, {}, "", xlmr_tokenizer))


def seeded_case(
    config: Mapping[str, object], pairs: list[EncodedPair], tokenizer: Path, folder: Path
) -> Iterator[Case]:
    stored = seeded(config)
    weights = widened(stored)
    logits = spread_out(config, weights, pairs)
    stored |= {name: weight for name, weight in weights.items() if name.startswith(last_layer(config))}
    del weights
    yield Case(written(folder, config, stored, "model.safetensors", tokenizer), pairs, logits)
    shutil.rmtree(folder)


# The gate


@pytest.mark.parametrize(
    ("case", "precision"),
    [*product(["minilm_fp32", "embedded", "int8", "base", "v2_m3"], TOLERANCE), ("large", "int16")],
)
def test_a_model_of_real_size_ranks_as_in_fp32_transformers_and_always_with_the_same_bits(case, precision, request):
    model: Case = request.getfixturevalue(case)
    ours = forward(model.files, precision, 2, model.pairs)
    theirs = model.logits
    assert theirs.std() > 0.5  # else agreement says little
    tolerance = TOLERANCE[precision] * min(1.0, theirs.std())
    assert np.abs(ours - theirs).max() <= tolerance
    earlier, later = np.triu_indices(len(ours), 1)
    apart = np.abs(theirs[earlier] - theirs[later]) > tolerance
    assert (np.sign(ours[earlier] - ours[later]) == np.sign(theirs[earlier] - theirs[later]))[apart].all()
    alone = [forward(model.files, precision, 1, [pair]).item() for pair in model.pairs[:3]]
    assert alone == ours[:3].tolist()
    assert forward(model.files, precision, 3, model.pairs[::-1]).tolist() == ours[::-1].tolist()


def forward(files: ModelFiles, precision: str, threads: int, pairs: Sequence[EncodedPair]) -> np.ndarray:
    backend = NativeBackend(files, Device("cpu", precision), threads)
    return backend.forward(Batch.of(pairs))
