"""Where things lie: the repository, the virtual environments and the files made for the benchmarks."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / ".assets"
RESULTS = ROOT / "benchmarks/results"

ENVIRONMENTS = {"main": ROOT / ".venv-bench", "optimum": ROOT / ".venv-bench-optimum"}
"""Two, because not all the peers install together: see requirements.txt and requirements-optimum.txt."""


def python(environment: str) -> Path:
    """The interpreter of an environment; raises `FileNotFoundError` if it is not there."""
    path = ENVIRONMENTS[environment] / "bin/python"
    if not path.exists():
        raise FileNotFoundError(f"{ENVIRONMENTS[environment].name} is missing; `make bench` builds it")
    return path
