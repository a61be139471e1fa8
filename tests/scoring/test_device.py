import pytest

from finerank import Reranker
from finerank.errors import DeviceUnavailable, InvalidSetting
from finerank.scoring import device
from finerank.scoring.device import HALF_TOLERANCE, Check, Device, choose_device, half_precision_difference
from finerank.settings import Settings


def check(name: str, passed: bool, found: str = "found", remedy: str = "Do this."):
    return lambda device_name, precision: Check(name, passed, f"{found} {device_name}", remedy)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a GPU driver, wherever the test runs."""

    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(device.ctypes, "CDLL", no_library)


@pytest.fixture
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.platform, "system", lambda: "Linux")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch, on_linux):
    """`checks(True, False, True)`: what the three checks of a GPU say."""

    def replace(*passed: bool) -> None:
        names = ("GPU driver", "torch sees it", "half-precision forward")
        table = tuple(check(name, ok) for name, ok in zip(names, passed, strict=True))
        monkeypatch.setattr(device, "_CHECKS", table)

    return replace


def test_auto_without_a_gpu_is_the_cpu_and_says_why(no_gpu, on_linux):
    chosen = choose_device("auto")
    assert (chosen.name, chosen.precision, chosen.kind) == ("cpu", "fp32", "cpu")
    assert chosen.reason == "GPU driver: no NVIDIA driver"
    assert [(c.name, c.passed) for c in chosen.checks] == [("GPU driver", False)]
    assert "libcuda.so.1 was not found" in chosen.checks[0].remedy


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_a_gpu_asked_for_by_name_must_be_there(no_gpu, on_linux, name):
    with pytest.raises(DeviceUnavailable, match=rf"device='{name}': GPU driver: no NVIDIA driver\. Install it"):
        choose_device(name)


def test_the_cpu_is_taken_without_any_check():
    assert choose_device("cpu") == Device("cpu", "fp32")
    assert choose_device("cpu", "bf16") == Device("cpu", "bf16")


def test_all_checks_passed_is_the_gpu_in_half_precision(checks):
    checks(True, True, True)
    chosen = choose_device("auto")
    assert (chosen.name, chosen.kind, chosen.precision, chosen.reason) == ("cuda", "cuda", "fp16", "")
    assert [c.found for c in chosen.checks] == ["found cuda"] * 3
    assert choose_device("cuda:1").name == "cuda:1"
    assert choose_device("cuda:1").kind == "cuda"
    assert choose_device("cuda", "bf16").precision == "bf16"


def test_fp32_does_not_need_the_half_precision_check(checks):
    checks(True, True, False)
    chosen = choose_device("cuda", "fp32")
    assert (chosen.name, chosen.precision, len(chosen.checks)) == ("cuda", "fp32", 2)


@pytest.mark.parametrize(
    ("passed", "failed"),
    [
        ((False, True, True), "GPU driver"),
        ((True, False, True), "torch sees it"),
        ((True, True, False), "half-precision forward"),
    ],
)
def test_a_failed_check_is_the_cpu_or_an_error_and_ends_the_checks(checks, passed, failed):
    checks(*passed)
    chosen = choose_device("auto")
    assert (chosen.name, chosen.precision) == ("cpu", "fp32")
    assert chosen.reason == f"{failed}: found cuda"
    assert len(chosen.checks) == passed.index(False) + 1
    with pytest.raises(DeviceUnavailable, match=rf"device='cuda:2': {failed}: found cuda:2\. Do this\."):
        choose_device("cuda:2")


def test_a_gpu_whose_half_precision_is_wrong_fails_its_check(monkeypatch):
    for difference, passed in (
        (HALF_TOLERANCE / 2, True),
        (HALF_TOLERANCE * 2, False),
        (float("inf"), False),
    ):
        monkeypatch.setattr(device, "half_precision_difference", lambda *device, value=difference: value)
        assert device._half_forward_agrees("cuda", "fp16").passed is passed

    def fails(name: str, precision: str) -> float:
        raise RuntimeError("no kernel image is available\nand more")

    monkeypatch.setattr(device, "half_precision_difference", fails)
    failed = device._half_forward_agrees("cuda", "fp16")
    assert (failed.passed, failed.found) == (False, "no kernel image is available")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:0", "auto:1", "", "CUDA"])
def test_a_wrong_name_is_refused(name):
    with pytest.raises(InvalidSetting, match="must be auto, cpu, mps, cuda or cuda:N"):
        choose_device(name)
    with pytest.raises(InvalidSetting, match="must be auto, cpu, mps, cuda or cuda:N"):
        Settings(device=name)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda"])
def test_torch_models_do_not_come_in_int8(name):
    with pytest.raises(InvalidSetting, match="dtype='int8': only ONNX models come in int8; see `finerank export"):
        choose_device(name, "int8")


def test_half_precision_on_the_cpu_is_near_float32_and_not_equal():
    assert 0 < half_precision_difference("cpu") < HALF_TOLERANCE / 4


def test_onnx_models_refuse_a_gpu_and_a_precision_that_is_not_their_own(minilm):
    with pytest.raises(InvalidSetting, match="device='cuda': ONNX models run on the CPU; load safetensors"):
        Reranker.from_pretrained(minilm, device="cuda")
    with pytest.raises(InvalidSetting, match="dtype='fp16': an ONNX model has the precision of its file"):
        Reranker.from_pretrained(minilm, dtype="fp16")


@pytest.mark.gpu
def test_a_real_gpu_passes_its_checks():
    chosen = choose_device("auto")
    assert (chosen.kind, chosen.precision, chosen.reason) == ("cuda", "fp16", "")
    assert [c.passed for c in chosen.checks] == [True] * 3
    with pytest.raises(DeviceUnavailable, match="Use cuda:0 instead of cuda:99"):
        choose_device("cuda:99")
