"""Where and on what a result was measured: the machine, the commit, the versions of everything installed."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.installed import versions
from benchmarks.paths import ROOT, python

_CPU_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
)
"""What decides which matrix-product kernels run."""


def machine() -> dict[str, Any]:
    """CPU model and features, cores, memory, GPUs, operating system and Python."""
    facts = _cpuinfo()
    features = (facts.get("flags") or facts.get("Features") or "").split()
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cpu_features": [name for name in _CPU_FEATURES if name in features],
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": _gpus(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def commit() -> dict[str, Any]:
    """The commit checked out, and whether tracked files differ from it; empty outside a git checkout."""
    head = _output("git", "rev-parse", "HEAD")
    return {"id": head, "modified": bool(_output("git", "status", "--porcelain", "-uno"))} if head else {}


def here() -> dict[str, Any]:
    """When and where this process measures, and with what: the beginning of a result."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "commit": commit(),
        "load_average_before": load_average(),
        "versions": versions(),
    }


def installed(environment: str, requirements: Iterable[str]) -> dict[str, Any]:
    """`versions` of an environment, and `size_mb` of each of the requirements."""
    command = [str(python(environment)), "-m", "benchmarks.installed", *requirements]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def load_average() -> float:
    """Processes that ran or waited for a core, over the last minute: well under 1 on a quiet machine."""
    return round(os.getloadavg()[0], 2)


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _gpus() -> list[str]:
    query = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return _output(*query).splitlines() if shutil.which("nvidia-smi") else []


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
