"""Our C++ engine against transformers' own classes: the same order, and bits that depend on nothing but the pair."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from finerank import Reranker
from finerank.errors import BrokenModel, InvalidSetting, UnsupportedModel
from finerank.scoring import native_backend, native_weights, processor
from finerank.scoring.backend import open_backend
from finerank.scoring.batch import Batch, EncodedPair
from finerank.scoring.device import Device
from finerank.scoring.int8 import SCALE, quantise
from finerank.scoring.model_files import ModelFiles, find_model
from finerank.scoring.native_backend import NativeBackend
from finerank.scoring.native_weights import inner_chunk, padded
from finerank.scoring.processor import check_native, instruction_sets
from finerank.scoring.scorer import Scorer
from finerank.scoring.tensors import Tensors

pytestmark = pytest.mark.skipif(not check_native().passed, reason=check_native().found)

TOLERANCE = {"int16": 5e-3, "fp32": 1e-4}
PRECISIONS = tuple(TOLERANCE)
OWN_FORWARD = ["bert", "roberta", "xlm-roberta", "camembert"]
LENGTHS = (40, 9, 128, 20, 10, 100, 127, 64, 40, 9, 128, 33, 12, 11, 13, 24, 25, 2, 1)
"""In tokens, out of order: below, at and above the rows of a tile, a block and a panel."""


def random_pairs(files: ModelFiles, lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[EncodedPair]:
    rng = np.random.default_rng(seed)
    types = files.config.get("type_vocab_size", 1)

    def pair(length: int) -> EncodedPair:
        ids = rng.integers(5, files.config["vocab_size"], length).astype(np.int32)
        return EncodedPair(ids, (np.arange(length) >= length // 3).astype(np.int32) % types)

    return [pair(length) for length in lengths]


def opened(files: ModelFiles, precision: str = "int16", threads: int | None = None, **options) -> NativeBackend:
    return NativeBackend(files, Device("cpu", precision), threads, **options)


def logits_of(backend: NativeBackend, pairs: Sequence[EncodedPair]) -> np.ndarray:
    return Scorer(backend, max_batch_tokens=300).score(pairs).logits


def by_transformers(folder: Path, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """The logits of transformers' own class in fp32, each pair alone."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    logits = []
    for pair in pairs:
        ids, types = (torch.from_numpy(array).long()[None] for array in (pair.token_ids, pair.type_ids))
        types_too = {"token_type_ids": types} if getattr(model.config, "type_vocab_size", 0) > 1 else {}
        with torch.inference_mode():
            logits.append(model(input_ids=ids, attention_mask=torch.ones_like(ids), **types_too).logits.item())
    return np.array(logits)


def changed(folder: Path, target: Path, change) -> Path:
    """A copy of a model with its weights, a dictionary of tensors, changed."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    change(weights)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


def tamed(weights: dict[str, torch.Tensor]) -> None:
    """Wide layers no stronger than narrow ones: else softmax saturates, and any rounding is seen."""
    for name, weight in weights.items():
        if "encoder" in name and weight.ndim == 2:
            weight *= min(1.0, (16 / weight.shape[1]) ** 0.5)


def assert_same_order(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """No logit further off than the tolerance, and the same order but for ties within it."""
    assert theirs.std() > 0.1  # else agreement says little
    assert np.abs(ours - theirs).max() <= tolerance
    earlier, later = np.triu_indices(len(ours), 1)
    apart = np.abs(theirs[earlier] - theirs[later]) > tolerance
    assert (np.sign(ours[earlier] - ours[later]) == np.sign(theirs[earlier] - theirs[later]))[apart].all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model_type", OWN_FORWARD)
def test_logits_are_transformers_own(make_model, model_type, precision):
    folder = make_model(model_type)
    files = find_model(folder, device="cpu")
    backend = open_backend(files, Device("cpu", precision))
    assert type(backend) is NativeBackend
    pairs = random_pairs(files)
    assert_same_order(logits_of(backend, pairs), by_transformers(folder, pairs), TOLERANCE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize(
    "sizes",
    [
        {
            "hidden_size": 48,
            "num_attention_heads": 4,
            "intermediate_size": 100,
        },  # heads of 12, nothing a multiple of 32
        {"hidden_size": 33, "num_attention_heads": 3, "intermediate_size": 7},
        {"hidden_size": 160, "num_attention_heads": 2, "intermediate_size": 1400},  # heads of 80; three chunks
        {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1},
    ],
    ids=lambda sizes: "x".join(map(str, sizes.values())),
)
def test_any_size_is_computed_by_every_instruction_set(make_model, tmp_path, sizes, instruction_set, precision):
    folder = changed(make_model("bert", **sizes), tmp_path / "m", tamed)
    files = find_model(folder, backend="native")
    backend = opened(files, precision, instruction_set=instruction_set)
    pairs = random_pairs(files)
    assert_same_order(logits_of(backend, pairs), by_transformers(folder, pairs), TOLERANCE[precision])
    for short in (pairs[13:16], pairs[-3:]):  # 48 tokens, the most that go by columns; and pairs of one and two
        by_rows, *by_columns = (
            opened(files, precision, threads, instruction_set=instruction_set).forward(Batch.of(short)).tolist()
            for threads in (1, 2, 3, 4)
        )
        assert by_columns == [by_rows] * 3


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "gelu_pytorch_tanh"])
def test_every_kind_of_gelu_is_computed_as_named(make_model, hidden_act, precision):
    folder = make_model("bert", hidden_act=hidden_act)
    files = find_model(folder, backend="native")
    pairs = random_pairs(files)
    assert_same_order(logits_of(opened(files, precision), pairs), by_transformers(folder, pairs), TOLERANCE[precision])


def test_another_activation_is_refused(make_model):
    with pytest.raises(UnsupportedModel, match="hidden_act 'relu'; use backend='transformers'"):
        opened(find_model(make_model("bert", hidden_act="relu"), backend="native"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_pair_of_8192_tokens_is_scored(make_model, precision):
    folder = make_model("xlm-roberta", max_position_embeddings=8194, num_hidden_layers=2)
    files = find_model(folder, backend="native")
    pairs = random_pairs(files, [8192, 8191, 1000, 513, 512])
    assert_same_order(logits_of(opened(files, precision), pairs), by_transformers(folder, pairs), TOLERANCE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_a_logit_is_the_same_to_the_last_bit_in_any_company_on_any_number_of_threads(
    make_model, instruction_set, precision
):
    files = find_model(make_model("bert", hidden_size=64, num_attention_heads=2), backend="native")
    pairs = random_pairs(files)
    alone = opened(files, precision, 1, instruction_set=instruction_set)
    expected = [alone.forward(Batch.of([pair]))[0] for pair in pairs]
    for threads in (1, 2, 3, 7):
        backend = opened(files, precision, threads, instruction_set=instruction_set)
        assert backend.forward(Batch.of(pairs)).tolist() == expected
        assert backend.forward(Batch.of(pairs[::-1])).tolist() == expected[::-1]
        for few in (slice(3, 4), slice(3, 5), slice(3, 8), slice(13, 16), slice(-3, None)):
            assert backend.forward(Batch.of(pairs[few])).tolist() == expected[few]


def test_requests_in_two_threads_do_not_know_of_each_other(make_model):
    files = find_model(make_model("bert"), backend="native")
    backend = opened(files, threads=2)
    pairs = [random_pairs(files, seed=seed) for seed in range(4)]
    expected = [backend.forward(Batch.of(some)).tolist() for some in pairs]
    found: list[bool] = []

    def score(index: int) -> None:
        found.extend(backend.forward(Batch.of(pairs[index])).tolist() == expected[index] for _ in range(50))

    threads = [threading.Thread(target=score, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200


def test_python_goes_on_while_the_engine_computes(make_model):
    files = find_model(make_model("bert", hidden_size=256, num_attention_heads=2), backend="native")
    backend, pairs = opened(files, threads=1), random_pairs(files, [128] * 60)
    done = threading.Event()

    def score() -> None:
        backend.forward(Batch.of(pairs))
        done.set()

    thread = threading.Thread(target=score)
    thread.start()
    steps = 0
    while not done.is_set():
        steps += 1
        time.sleep(0)
    thread.join()
    assert steps > 1


def test_a_fork_can_score(make_model):
    program = (
        "import os, sys; from finerank import Reranker; "
        f"reranker = Reranker.from_pretrained({str(make_model('bert'))!r}, backend='native', threads=2); "
        "before = reranker.rank('what?', ['that'])[0].logit; child = os.fork(); "
        "after = reranker.rank('what?', ['that'])[0].logit; "
        "os._exit(before != after) if child == 0 else sys.exit(os.waitpid(child, 0)[1] or before != after)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


# Weights that try to overflow


def outliers(weights: dict[str, torch.Tensor]) -> None:
    """A few channels many times the others, as trained models have them, and more."""
    for name, weight in weights.items():
        if name.endswith("LayerNorm.weight"):
            weight[3] *= 30
        elif weight.ndim == 2 and "encoder" in name:
            weight[:, 5] *= 10
            weight[7] *= 10


def endless(weights: dict[str, torch.Tensor]) -> None:
    """Attention scores of millions: softmax must neither overflow nor lose the largest."""
    outliers(weights)
    for name, weight in weights.items():
        if name.endswith(("query.weight", "key.weight")):
            weight *= 1000


def all_alike(weights: dict[str, torch.Tensor]) -> None:
    """Every product of one sign and size: the largest sum there is."""
    for name, weight in weights.items():
        if "encoder" in name and weight.ndim == 2:
            weight[:] = 0.5
        elif name.endswith("LayerNorm.weight"):
            weight[:] = 0.0
        elif name.endswith("LayerNorm.bias"):
            weight[:] = torch.linspace(5, 6, len(weight))


def zeros(weights: dict[str, torch.Tensor]) -> None:
    for name, weight in weights.items():
        if "encoder.layer.1" in name or "LayerNorm" in name:
            weight[:] = 0.0


def tiny_and_huge(weights: dict[str, torch.Tensor]) -> None:
    for name, weight in weights.items():
        if name.endswith("query.weight"):
            weight *= 1e-20
        if name.endswith("value.weight"):
            weight *= 1e6


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("change", [outliers, endless, all_alike, zeros, tiny_and_huge])
def test_no_weights_make_a_sum_overflow(make_model, tmp_path, change, instruction_set):
    """An overflow would show as a logit far off: here it must stay near what fp32 says, on the logits' own scale."""
    folder = changed(make_model("bert", intermediate_size=2048), tmp_path / "m", change)
    files = find_model(folder, backend="native")
    pairs = random_pairs(files)
    theirs = by_transformers(folder, pairs)
    assert np.isfinite(theirs).all()
    exact = logits_of(opened(files, "fp32", instruction_set=instruction_set), pairs)
    narrow = logits_of(opened(files, "int16", instruction_set=instruction_set), pairs)
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(exact, theirs, atol=1e-3 * scale)
    assert np.isfinite(narrow).all()
    assert (
        np.median(np.abs(narrow - theirs)) <= 0.01 * scale
    )  # scores of millions that are near ties may fall otherwise


def test_rows_of_int16_keep_within_the_bound():
    rng = np.random.default_rng(0)
    rows = [np.full(512, 7.0), np.eye(1, 512)[0] * 1e9, rng.standard_normal(512), np.zeros(512), np.full(512, 1e-20)]
    weight = np.array(rows, np.float32)
    narrow, scale = native_weights._narrow(weight)
    assert np.abs(narrow.astype(int)).max() <= 32000
    norms = np.sqrt((narrow.astype(float) ** 2).sum(1))
    assert norms.max() ** 2 < 2**31 - 1
    np.testing.assert_allclose(narrow * scale[:, None], weight, atol=1e-4 * np.abs(weight).max(1).max(), rtol=1e-3)


@pytest.mark.parametrize("inner", [1, 7, 32, 100, 512, 513, 1400, 1536, 3072, 4096])
def test_chunks_cover_the_inner_size_in_whole_panels(inner):
    chunk = inner_chunk(inner)
    assert chunk % 32 == 0
    assert chunk <= 512
    assert -(-padded(inner) // chunk) == -(-padded(inner) // 512)


# Files


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_widened(make_model, tmp_path, dtype):
    folder = make_model("bert")

    def halve(weights: dict[str, torch.Tensor]) -> None:
        for name, weight in weights.items():
            weights[name] = weight.to(dtype)

    def round_(weights: dict[str, torch.Tensor]) -> None:
        for name, weight in weights.items():
            weights[name] = weight.to(dtype).float()

    halved = find_model(changed(folder, tmp_path / "half", halve), backend="native")
    rounded = find_model(changed(folder, tmp_path / "rounded", round_), backend="native")
    pairs = random_pairs(halved)
    assert logits_of(opened(halved, "fp32"), pairs).tolist() == logits_of(opened(rounded, "fp32"), pairs).tolist()


def test_weights_in_8_bits_are_widened(make_model, tmp_path):
    folder = make_model("bert", hidden_size=64, intermediate_size=128)
    wide, narrow = shutil.copytree(folder, tmp_path / "wide"), shutil.copytree(folder, tmp_path / "narrow")
    weights = load_file(folder / "model.safetensors")
    widened, stored = dict(weights), dict(weights)
    for name, weight in weights.items():
        if weight.ndim == 2 and weight.shape[1] % 64 == 0 and ("encoder" in name or "word" in name):
            steps, scale = quantise(weight.numpy())
            stored[name], stored[name + SCALE] = torch.from_numpy(steps), torch.from_numpy(scale)
            blocks = (steps.reshape(len(steps), -1, 64).astype(np.float32) - 128) * scale[..., None]
            widened[name] = torch.from_numpy(blocks.reshape(weight.shape))
    save_file(widened, wide / "model.safetensors", {"format": "pt"})
    (narrow / "model.safetensors").unlink()
    save_file(stored, narrow / "model_int8.safetensors", {"format": "pt"})
    (narrow / "model_int8.onnx").write_text("a graph")
    files = find_model(narrow, device="cpu")
    assert (files.backend, files.weights[0].name) == ("native", "model_int8.safetensors")
    assert find_model(narrow, dtype="int8").backend == "onnx"
    pairs = random_pairs(files)
    expected = logits_of(opened(find_model(wide, backend="native")), pairs)
    assert logits_of(opened(files), pairs).tolist() == expected.tolist()


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def garbled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.2.output.dense.weight"]
    save_file(weights, folder / "model.safetensors")


def of_another_size(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.2.output.dense.weight"] = torch.zeros(32, 65)
    save_file(weights, folder / "model.safetensors")


def not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.2.output.dense.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "truncated or damaged"),
        (garbled, "truncated or damaged"),
        (without_a_layer, r"has no weights named bert\.encoder\.layer\.2\.output\.dense\.weight"),
        (of_another_size, r"output\.dense\.weight is \[32, 65\], and config\.json says \[32, 64\]"),
        (not_finite, r"output\.dense\.weight holds NaN or infinity"),
    ],
)
def test_broken_weights_are_reported(make_model, tmp_path, damage, message):
    folder = shutil.copytree(make_model("bert"), tmp_path / "m")
    damage(folder)
    with pytest.raises(BrokenModel, match=message):
        opened(find_model(folder, backend="native"))


# The cache of packed weights


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FINERANK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache/native"


def test_weights_are_packed_once_and_again_when_they_change(make_model, tmp_path, own_cache, monkeypatch):
    folder = shutil.copytree(make_model("bert"), tmp_path / "m")
    files = find_model(folder, backend="native")
    pairs = random_pairs(files)
    first = logits_of(opened(files), pairs).tolist()
    monkeypatch.setattr(native_weights, "_pack", lambda *_: pytest.fail("packed again"))
    assert logits_of(opened(files), pairs).tolist() == first
    monkeypatch.undo()
    monkeypatch.setenv("FINERANK_CACHE_DIR", str(own_cache.parent))
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert logits_of(opened(files), pairs) == pytest.approx([logit + 1 for logit in first])
    assert len(list(own_cache.iterdir())) == 2


def bit_flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],
        lambda content: b"",
        lambda content: b"x" * 100,
        lambda content: bit_flipped(content, len(content) // 2),
        lambda content: bit_flipped(content, len(content) - 30),  # in the index
        lambda content: bit_flipped(content, len(content) - 15),  # in its length
        lambda content: content[:8192] + bytes(4096) + content[12288:],
        lambda content: content[4096:8192] + content[:4096] + content[8192:],
    ],
    ids=["cut", "empty", "another", "weight", "index", "length", "lost page", "swapped pages"],
)
def test_a_packed_file_that_is_damaged_is_made_anew(make_model, own_cache, damage):
    files = find_model(make_model("bert"), backend="native")
    pairs = random_pairs(files)
    expected = logits_of(opened(files), pairs).tolist()
    (path,) = own_cache.iterdir()
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert logits_of(opened(files), pairs).tolist() == expected
    assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_costs_no_ranking(make_model, own_cache, caplog):
    own_cache.parent.write_text("a file where the folder should be")
    files = find_model(make_model("bert"), backend="native")
    assert np.isfinite(logits_of(opened(files), random_pairs(files))).all()
    assert "packed weights are not kept" in caplog.text


LOAD = "import sys; from finerank import Reranker; Reranker.from_pretrained(sys.argv[1], backend='native')"


def test_two_processes_at_once_and_a_kill_in_the_middle_leave_a_whole_file(make_model, own_cache):
    folder = make_model("bert", hidden_size=256, intermediate_size=1024)
    environment = {**os.environ, "FINERANK_CACHE_DIR": str(own_cache.parent)}
    command = [sys.executable, "-c", LOAD, str(folder)]
    killed = subprocess.Popen(command, env=environment)
    while killed.poll() is None and not (own_cache.exists() and any(own_cache.iterdir())):
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    both = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    whole = [path for path in own_cache.iterdir() if path.suffix == ".bin"]
    assert len(whole) == 1
    assert native_weights._mapped(whole[0])


def test_leftovers_of_killed_processes_are_removed_in_time(make_model, own_cache):
    own_cache.mkdir(parents=True)
    for name, age_s in (("part-old", 100_000), ("part-new", 10)):
        (own_cache / name).write_text("half")
        os.utime(own_cache / name, (time.time() - age_s,) * 2)
    opened(find_model(make_model("bert"), backend="native"))
    assert {path.name for path in own_cache.iterdir() if path.suffix != ".bin"} == {"part-new"}


def test_packed_files_not_opened_for_long_are_removed_when_another_is_made(make_model, own_cache):
    own_cache.mkdir(parents=True)
    for name, days in (("old.bin", 31), ("new.bin", 29)):
        (own_cache / name).write_bytes(b"weights")
        os.utime(own_cache / name, (time.time() - days * 86400,) * 2)
    files = find_model(make_model("bert"), backend="native")
    opened(files)
    assert not (own_cache / "old.bin").exists()
    assert (own_cache / "new.bin").exists()
    (own,) = (path for path in own_cache.iterdir() if path.name != "new.bin")
    os.utime(own, (time.time() - 31 * 86400,) * 2)
    opened(files)
    assert time.time() - own.stat().st_mtime < 60


def test_of_too_many_packed_files_those_opened_longest_ago_are_removed(make_model, own_cache, monkeypatch):
    monkeypatch.setattr(native_weights, "_KEPT_BYTES", 100)
    own_cache.mkdir(parents=True)
    for age, name in enumerate(("a.bin", "b.bin", "c.bin")):
        (own_cache / name).write_bytes(bytes(40))
        os.utime(own_cache / name, (time.time() - age,) * 2)
    opened(find_model(make_model("bert"), backend="native"))
    names = {path.name for path in own_cache.iterdir()}
    assert len(names) == 3
    assert names > {"a.bin", "b.bin"}


def test_a_tensor_reads_rows_as_float32(make_model):
    folder = make_model("bert")
    tensors = Tensors([folder / "model.safetensors"])
    name = "bert.embeddings.word_embeddings.weight"
    expected = load_file(folder / "model.safetensors")[name].numpy()
    rows = np.array([3, 1, 3])
    assert (tensors[name][rows] == expected[rows]).all()
    tensors.let_go()
    assert (tensors[name][:] == expected).all()


# Settings


def test_int16_is_what_auto_means_and_fp32_is_there(make_model):
    folder = make_model("bert")
    assert Reranker.from_pretrained(folder, device="cpu").device.precision == "int16"
    assert Reranker.from_pretrained(folder, device="cpu", dtype="fp32").device.precision == "fp32"
    for dtype in ("fp16", "bf16"):
        assert Reranker.from_pretrained(folder, device="cpu", dtype=dtype).files.backend == "torch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "native", "device": "cuda"}, "device='cuda': the native engine runs on the CPU"),
        ({"backend": "native", "dtype": "bf16"}, "dtype='bf16': the native engine computes in int16 and fp32"),
        ({"backend": "torch", "dtype": "int16", "device": "cpu"}, "dtype='int16': only the native engine"),
    ],
)
def test_what_the_engine_does_not_do_is_said(make_model, options, message):
    with pytest.raises(InvalidSetting, match=message):
        Reranker.from_pretrained(make_model("bert"), **options)


def test_without_the_engine_another_backend_serves_and_the_reason_is_known(make_model, monkeypatch):
    folder = make_model("bert")
    monkeypatch.setattr(processor, "instruction_sets", list)
    monkeypatch.setattr(native_backend, "instruction_sets", list)
    assert find_model(folder, device="cpu").backend == "torch"
    with pytest.raises(UnsupportedModel, match="backend='native': this processor has no AVX2; ONNX Runtime or torch"):
        opened(find_model(folder, backend="native"))
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    assert check_native().found == "not for aarch64; ONNX Runtime or torch scores instead"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 1_000_000),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1_000_000),
        ({}, 1_000_000),
    ],
)
def test_the_quota_of_a_control_group_limits_the_threads(tmp_path, files, cpus):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert processor._quota(tmp_path) == cpus


@pytest.mark.parametrize("int16", [True, False])
def test_the_peak_of_an_instruction_set_can_be_measured(int16):
    from finerank.scoring import _native

    for instruction_set in instruction_sets():
        assert _native.peak(instruction_set, int16=int16) > 0
    with pytest.raises(ValueError, match="no avx1024"):
        _native.peak("avx1024", int16=int16)


def test_tokens_the_engine_cannot_place_are_refused(make_model):
    files = find_model(make_model("bert"), backend="native")
    backend = opened(files)
    (pair,) = random_pairs(files, [20])
    with pytest.raises(ValueError, match="no positions"):
        backend.forward(
            Batch(*(np.tile(array, 10) for array in (pair.token_ids, pair.type_ids)), np.array([200], "i4"))
        )
    with pytest.raises(ValueError, match="unknown token type"):
        backend.forward(Batch(pair.token_ids, pair.type_ids + 2, np.array([20], np.int32)))
    with pytest.raises(ValueError, match="differ"):
        backend.forward(Batch(pair.token_ids, pair.type_ids, np.array([19], np.int32)))
    assert json.dumps(backend.forward(Batch.of([pair])).tolist())
