"""Which device scores, in which precision, and the checks that decided it.

A GPU is taken after three checks: its driver answers, torch sees it, and a half-precision forward on it is finite and
agrees with float32. `auto` falls back to the CPU and says why; a device asked for by name must pass.
"""

import ctypes
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from finerank.errors import DeviceUnavailable, InvalidSetting
from finerank.settings import check_device

HALF_TOLERANCE = 3e-2
"""Largest difference, relative to the largest value, between the half-precision and the float32 trial forward."""

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what, whether it held, what was found, and what to do if it did not hold."""

    name: str
    passed: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """Where scores are computed: `name` as torch spells it, `precision` of weights and activations, and the checks
    made on the way. `reason` says why it is not the GPU, where one was looked for."""

    name: str = "cpu"
    precision: str = "fp32"
    checks: tuple[Check, ...] = ()
    reason: str = ""

    @property
    def kind(self) -> str:
        """The name without its number: cpu, cuda or mps."""
        return self.name.split(":")[0]


def choose_device(requested: str = "auto", dtype: str = "auto") -> Device:
    """The device for torch models. `requested` is auto, cpu, mps, cuda or cuda:N.

    Raises `DeviceUnavailable` if a device asked for by name fails a check, `InvalidSetting` on another name.
    """
    kind = requested.partition(":")[0]
    check_device(requested)
    if dtype == "int8":
        raise InvalidSetting("dtype='int8': only ONNX models come in int8; see `finerank export --precision int8`")
    if dtype == "int16":
        raise InvalidSetting("dtype='int16': only the native engine computes in it; `finerank doctor` says if it runs")
    if kind == "cpu":
        return Device("cpu", "fp32" if dtype == "auto" else dtype)
    precision = "fp16" if dtype == "auto" else dtype
    checks = check_gpu(requested if kind != "auto" else _usual_gpu(), precision)
    failed = next((check for check in checks if not check.passed), None)
    if failed is None:
        return Device(_usual_gpu() if kind == "auto" else requested, precision, checks)
    if kind != "auto":
        raise DeviceUnavailable(f"device={requested!r}: {failed.name}: {failed.found}. {failed.remedy}")
    return Device("cpu", "fp32" if dtype == "auto" else dtype, checks, f"{failed.name}: {failed.found}")


def check_gpu(name: str, precision: str = "fp16") -> tuple[Check, ...]:
    """The three checks of a GPU, in order, up to the first that fails. For fp32 the third, the trial forward in half
    precision, is left out."""

    def run() -> Iterator[Check]:
        for check in _CHECKS if precision != "fp32" else _CHECKS[:2]:
            result = check(name, precision)
            yield result
            if not result.passed:
                return

    return tuple(run())


def has_gpu_driver() -> bool:
    """Whether an NVIDIA driver answers and has a GPU: what can be known without importing torch."""
    return _driver_answers("cuda", "").passed


def _usual_gpu() -> str:
    return "mps" if platform.system() == "Darwin" else "cuda"


def _driver_answers(name: str, precision: str) -> Check:
    what = "GPU driver"
    if name == "mps":
        return Check(what, platform.machine() == "arm64", platform.platform(), "Metal needs Apple silicon.")
    library = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return Check(what, False, "no NVIDIA driver", f"Install it ({library} was not found), or use device='cpu'.")
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    error = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if error == _NO_DEVICE or not (error or count.value):
        return Check(what, False, "a driver, and no GPU visible to it", "Look at CUDA_VISIBLE_DEVICES and nvidia-smi.")
    if error:
        return Check(what, False, f"CUDA error {error}", "Run nvidia-smi; reload the driver or reboot.")
    cuda.cuDriverGetVersion(ctypes.byref(version))
    found = f"{count.value} GPU(s), driver for CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return Check(what, True, found)


def _torch_sees(name: str, precision: str) -> Check:
    what = "torch sees it"
    try:
        import torch
    except ImportError:
        return Check(what, False, "torch is not installed", "pip install 'finerank[torch]'")
    if name == "mps":
        return Check(what, torch.backends.mps.is_available(), f"torch {torch.__version__}", "Update macOS and torch.")
    built_for = torch.version.cuda
    if built_for is None:
        found = f"torch {torch.__version__} was built for the CPU"
        return Check(what, False, found, "Install a CUDA build of torch.")
    if not torch.cuda.is_available():
        found = f"torch {torch.__version__} (CUDA {built_for}) cannot use the driver"
        return Check(what, False, found, "Update the driver, or install a torch built for its CUDA version.")
    number = int(name.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        return Check(what, False, f"there are {torch.cuda.device_count()} GPUs", f"Use cuda:0 instead of {name}.")
    memory = torch.cuda.get_device_properties(number).total_memory / 2**30
    return Check(what, True, f"{torch.cuda.get_device_name(number)}, {memory:.0f} GiB, torch {torch.__version__}")


def _half_forward_agrees(name: str, precision: str) -> Check:
    what = "half-precision forward"
    try:
        difference = half_precision_difference(name, precision)
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        return Check(what, False, first_line, "The GPU does not run torch's kernels: match torch to the driver.")
    agrees = difference <= HALF_TOLERANCE
    return Check(what, agrees, f"differs from float32 by {difference:.1e}", "Use device='cpu' or dtype='fp32'.")


def half_precision_difference(name: str, precision: str = "fp16") -> float:
    """Largest relative difference between a seeded transformer block in fp16 or bf16 on `name` and in fp32 on the CPU.

    Infinite if the half-precision result holds NaN or infinity.
    """
    import torch
    from torch.nn import functional as F  # noqa: N812 - torch's own convention

    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> torch.Tensor:
        scaled: torch.Tensor = torch.randn(*shape, generator=generator) / shape[-1] ** 0.5
        return scaled

    rows, up, down = weights(1, 4, 64, 64) * 8, weights(256, 64), weights(64, 256)

    def forward(device: str, dtype: torch.dtype) -> torch.Tensor:
        x, first, second = (tensor.to(device, dtype) for tensor in (rows, up, down))
        x = F.layer_norm(x + F.scaled_dot_product_attention(x, x, x), (64,))
        y: torch.Tensor = F.linear(F.gelu(F.linear(x, first)), second)
        return y.float().cpu()

    exact, half = forward("cpu", torch.float32), forward(name, torch.bfloat16 if precision == "bf16" else torch.float16)
    if not half.isfinite().all():
        return float("inf")
    return float((half - exact).abs().max() / exact.abs().max())


_CHECKS: tuple[Callable[[str, str], Check], ...] = (_driver_answers, _torch_sees, _half_forward_agrees)
