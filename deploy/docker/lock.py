"""Writes constraints.txt: a version of every package that an image or its build may install.

    pip install uv
    python deploy/docker/lock.py

Versions already pinned stay; `python deploy/docker/lock.py --upgrade` takes the newest.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "deploy/docker/constraints.txt"
EXTRAS = ("serve", "otel", "onnx", "torch", "transformers", "sentencepiece", "rag", "mcp")
"""What the build argument EXTRAS may name."""

BUILD_TOOLS = ("cmake>=3.18", "ninja>=1.11")
"""What scikit-build-core fetches where the system has none."""


def requirements() -> list[str]:
    """What the images ask for, without finerank, whose own dependencies are computed while it is built."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    base = project["tool"]["dynamic-metadata"][0]["dependencies"]
    extras = [each for extra in EXTRAS for each in project["project"]["optional-dependencies"][extra]]
    wanted = [*base, *extras, *project["build-system"]["requires"], *BUILD_TOOLS]
    return sorted({each for each in wanted if not each.startswith("finerank[")})


def main(options: list[str]) -> None:
    command = ["uv", "pip", "compile", "-", "--universal", "--python-version", "3.13", "--output-file", CONSTRAINTS]
    command += ["--quiet", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", *options]
    subprocess.run(command, input="\n".join(requirements()), text=True, check=True)
    pins = CONSTRAINTS.read_text(encoding="utf-8")
    CONSTRAINTS.write_text(f"# Written by lock.py: the versions that the images install.\n{pins}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
