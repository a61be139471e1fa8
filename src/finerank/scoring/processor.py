"""What this processor offers: instruction sets that the native engine uses, and how many CPUs are ours."""

import os
import platform
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from finerank.scoring.device import Check

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_NO_QUOTA = 1_000_000
_OTHERS: Mapping[str, str] = {"onnxruntime": "ONNX Runtime", "torch": "torch"}
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def instruction_sets() -> list[str]:
    """Those the native engine has kernels for and this processor runs, the best first; none if it was not built."""
    try:
        from finerank.scoring import _native
    except ImportError:
        return []
    return _native.instruction_sets()


def check_native() -> Check:
    """Whether the native engine runs here, with which instruction set, or why not and what scores instead."""
    what = "native engine"
    sets = instruction_sets()
    if sets:
        return Check(what, True, f"{sets[0]}, {usable_cpus()} threads")
    reason, remedy = _missing()
    others = [name for package, name in _OTHERS.items() if find_spec(package)]
    if others:
        return Check(what, False, f"{reason}; {' or '.join(others)} scores instead", remedy)
    remedy = f"{remedy} Or pip install 'finerank[onnx]', which scores ONNX models.".strip()
    return Check(what, False, f"{reason}, and nothing is installed that scores instead", remedy)


def _missing() -> tuple[str, str]:
    """Why there is no native engine, and what to do about it, if anything."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"not for {platform.machine()}", ""
    try:
        from finerank.scoring import _native
    except ImportError as error:
        return f"not built ({error})", "Install a C++ compiler (apt-get install g++) and finerank again."
    del _native
    return "this processor has no AVX2", ""


def check_threads() -> Check:
    """How many threads score on the CPU unless the settings say otherwise, and what decides it."""
    cpus, cores, quota = _affinity(), len(_cores()), _quota_here()
    limit = f"a quota of {quota} in the control group" if quota < _NO_QUOTA else "no quota in the control group"
    return Check("threads", True, f"{usable_cpus()}: {cpus} CPUs on {cores} cores for this process, {limit}")


def usable_cpus() -> int:
    """Cores this process may use: those of its affinity, two threads of one core counted once, within the quota of its
    control group."""
    return max(1, min(len(_cores()), _quota_here()))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cores() -> set[str]:
    """Each core of the affinity, as the list of its CPUs."""
    if not hasattr(os, "sched_getaffinity"):
        return {str(cpu) for cpu in range(os.cpu_count() or 1)}
    return {_siblings(cpu) for cpu in os.sched_getaffinity(0)}


def _siblings(cpu: int) -> str:
    try:
        return Path(_TOPOLOGY.format(cpu)).read_text()
    except OSError:
        return str(cpu)


def _quota_here() -> int:
    """The lowest quota of this process' control groups: its own and those around it, a service's and its slice's, say.
    In a container its own is the root."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:  # no control groups
        lines = []
    own = Path(next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/"))
    return min(_quota(_CGROUP / folder.relative_to("/")) for folder in (own, *own.parents))


def _quota(cgroup: Path) -> int:
    """Whole CPUs of the control group's quota, rounded up; a million if there is none."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return -(-int(quota) // int(period)) if int(quota) > 0 else _NO_QUOTA
    except (OSError, ValueError):  # no control groups; "max"
        return _NO_QUOTA
