"""Which engine this machine offers and on how many threads, and what is said where there is none."""

import builtins
import importlib.util
import sys

import pytest

from finerank.errors import MissingExtra
from finerank.scoring import model_files, onnx_backend, processor
from finerank.scoring.backend import open_backend
from finerank.scoring.device import Device
from finerank.scoring.model_files import find_model
from finerank.scoring.processor import check_native, check_threads, usable_cpus


@pytest.fixture
def control_groups(tmp_path, monkeypatch):
    """`control_groups(own, folder=cpu.max)`: this process in the group `own`, with quotas of groups."""

    def place(own: str, **quotas: str) -> None:
        (tmp_path / "membership").write_text(f"1:cpu:/elsewhere\n0::{own}\n")
        for name, quota in quotas.items():
            folder = tmp_path / "fs" / name.replace("_", "/").strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cpu.max").write_text(f"{quota} 100000\n")
        monkeypatch.setattr(processor, "_MEMBERSHIP", tmp_path / "membership")
        monkeypatch.setattr(processor, "_CGROUP", tmp_path / "fs")
        monkeypatch.setattr(processor, "_cores", lambda: set(map(str, range(16))))

    return place


@pytest.mark.parametrize(
    ("own", "quotas", "threads"),
    [
        ("/", {"_": "300000"}, 3),  # in a container its own group is the root
        ("/slice/service", {"slice": "max", "slice_service": "150000"}, 2),
        ("/slice/service", {"slice": "400000", "slice_service": "max"}, 4),
        ("/slice/service", {"slice": "400000", "slice_service": "900000"}, 4),
        ("/slice/service", {"other": "100000"}, 16),
        ("/", {}, 16),
        ("/", {"_": "10000"}, 1),
    ],
)
def test_threads_keep_within_every_quota_around_the_process(control_groups, own, quotas, threads):
    control_groups(own, **quotas)
    assert usable_cpus() == threads
    assert check_threads().found.startswith(f"{threads}: ")
    assert ("a quota of" in check_threads().found) == (threads < 16)


def test_without_control_groups_every_core_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_MEMBERSHIP", tmp_path / "none")
    monkeypatch.setattr(processor, "_CGROUP", tmp_path)
    assert usable_cpus() == len(processor._cores())


def test_onnx_runtime_keeps_within_the_quota_too(minilm, monkeypatch):
    monkeypatch.setattr(onnx_backend, "usable_cpus", lambda: 3)
    files = find_model(minilm)
    for threads, expected in ((None, 3), (1, 1)):
        backend = open_backend(files, Device(), threads)
        assert backend._session.get_session_options().intra_op_num_threads == expected


@pytest.fixture
def without(monkeypatch):
    """`without(package, ...)`: as if these were not installed."""

    def hide(*packages: str) -> None:
        found, imported = importlib.util.find_spec, builtins.__import__

        def find(name: str, *rest):
            return None if name in packages else found(name, *rest)

        def load(name: str, *rest, **options):
            if name in packages or (name == "finerank.scoring" and "_native" in packages and "_native" in rest[2]):
                raise ImportError(f"No module named {name!r}")
            return imported(name, *rest, **options)

        monkeypatch.setattr(processor, "find_spec", find)
        monkeypatch.setattr(model_files, "find_spec", find)
        monkeypatch.setattr(builtins, "__import__", load)

    return hide


@pytest.mark.parametrize(
    ("absent", "found", "remedy"),
    [
        (["_native"], "; ONNX Runtime or torch scores instead", "Install a C++ compiler"),
        (["_native", "torch"], "; ONNX Runtime scores instead", "Install a C++ compiler"),
        (["_native", "torch", "onnxruntime"], "nothing is installed that scores", "Or pip install 'finerank[onnx]'"),
    ],
)
def test_what_scores_without_the_engine_is_said(without, monkeypatch, absent, found, remedy):
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    without(*absent)
    check = check_native()
    assert not check.passed
    assert "not built" in check.found
    assert found in check.found
    assert remedy in check.remedy


def test_without_engine_and_onnx_runtime_torch_takes_8_bit_weights(without, make_model, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).symlink_to(make_model("bert") / name)
    (tmp_path / "model_int8.safetensors").symlink_to(make_model("bert") / "model.safetensors")
    (tmp_path / "model_int8.onnx").write_text("a graph")
    without("_native")
    assert find_model(tmp_path, device="cpu").backend == "onnx"
    without("_native", "onnxruntime")
    assert find_model(tmp_path, device="cpu").backend == "torch"


def test_what_only_torch_can_do_names_its_extra(without):
    without("torch")
    for options, what in (({"device": "cuda"}, "device='cuda'"), ({"dtype": "bf16"}, "dtype='bf16'")):
        with pytest.raises(MissingExtra, match=rf"^{what} needs .* pip install 'finerank\[torch\]'"):
            find_model(**options)


def test_an_onnx_model_without_onnx_runtime_names_the_extra(without, minilm, monkeypatch):
    files = find_model(minilm)
    without("onnxruntime")
    monkeypatch.delitem(sys.modules, "finerank.scoring.onnx_backend")
    with pytest.raises(MissingExtra, match=r"an ONNX model needs .* pip install 'finerank\[onnx\]'"):
        open_backend(files, Device())
