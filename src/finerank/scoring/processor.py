"""What this processor offers: instruction sets that the native engine uses, and how many CPUs are ours."""

import os
import platform
from pathlib import Path

from finerank.scoring.device import Check

_CGROUP = Path("/sys/fs/cgroup")
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def instruction_sets() -> list[str]:
    """Those the native engine has kernels for and this processor runs, the best first; none if it was not built."""
    try:
        from finerank.scoring import _native
    except ImportError:
        return []
    return _native.instruction_sets()


def check_native() -> Check:
    """Whether the native engine runs here, with which instruction set, or why not."""
    what = "native engine"
    sets = instruction_sets()
    if sets:
        return Check(what, True, f"{sets[0]}, {usable_cpus()} threads")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return Check(what, False, f"not for {platform.machine()}; ONNX Runtime or torch scores instead")
    try:
        from finerank.scoring import _native
    except ImportError as error:
        found = f"not built ({error}); ONNX Runtime or torch scores instead"
        return Check(what, False, found, "Install a C++ compiler (apt-get install g++) and finerank again.")
    del _native
    return Check(what, False, "this processor has no AVX2; ONNX Runtime or torch scores instead")


def usable_cpus() -> int:
    """Cores this process may use: those of its affinity, two threads of one core counted once, within the quota of its
    control group."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota(_CGROUP)))


def _siblings(cpu: int) -> str:
    try:
        return Path(_TOPOLOGY.format(cpu)).read_text()
    except OSError:
        return str(cpu)


def _quota(cgroup: Path) -> int:
    """Whole CPUs of the control group's quota, rounded up; a million if there is none."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return -(-int(quota) // int(period)) if int(quota) > 0 else 1_000_000
    except (OSError, ValueError):  # no control groups; "max"
        return 1_000_000
