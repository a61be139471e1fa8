"""A wheel builds with a compiler and without one, and works in an empty environment."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from finerank.scoring.processor import check_native

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def build(target: Path, **environment: str) -> Path:
    """The wheel of this checkout, built from nothing in `target`."""
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--quiet"]
    command += ["--wheel-dir", str(target), "-C", f"build-dir={target / 'build'}"]
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, env={**os.environ, "PATH": tools, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("finerank-*.whl")
    return wheel


def run_in_empty_environment(folder: Path, wheel: Path, program: str) -> str:
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(not check_native().passed, reason=check_native().found)
def test_a_wheel_holds_the_engine_and_the_models_and_works_in_an_empty_environment(tmp_path):
    wheel = build(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    assert "linux" not in sys.platform or "linux_x86_64" in wheel.name
    assert any(name.startswith("finerank/scoring/_native.") and name.endswith(".so") for name in names)
    models = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/finerank/models").glob("*/*")}
    assert models <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".cpp")]
    program = "from finerank.scoring import _native; print(_native.instruction_sets()[0])"
    assert run_in_empty_environment(tmp_path / "empty", wheel, program) in check_native().found


def test_without_a_compiler_the_wheel_is_pure_python(tmp_path):
    wheel = build(tmp_path, CC="/nonexistent", CXX="/nonexistent")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "finerank/scoring/native_backend.py" in names
    assert not [name for name in names if name.endswith(".so")]
