"""A wheel builds with a compiler and without one, needs ONNX Runtime only in the latter case, and ranks either way."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_string
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from safetensors.numpy import load_file, save_file

from finerank.scoring.processor import check_native
from finerank.training.export import export

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow
with_engine = pytest.mark.skipif(not check_native().passed, reason=check_native().found)


def build(target: Path, *sources: str, **environment: str) -> Path:
    """The wheel of this checkout, built from nothing in `target`."""
    command = [sys.executable, "-m", "pip", "wheel", *(sources or [str(ROOT)])]
    command += ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(target)]
    command += ["-C", f"build-dir={target / 'build'}"]
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, env={**os.environ, "PATH": tools, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("finerank-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("pure"), CC="/nonexistent", CXX="/nonexistent")


@pytest.fixture(scope="module")
def int8_model(make_model, tmp_path_factory) -> Path:
    """One file of 8-bit weights and a graph beside it, as the embedded model has them."""
    folder = tmp_path_factory.mktemp("int8") / "model"
    source = shutil.copytree(
        make_model("bert", hidden_size=64, intermediate_size=128, num_hidden_layers=1), folder.with_name("source")
    )
    weights = load_file(source / "model.safetensors")
    usual = {name: weight * (0.6 if ".layer." in name and weight.ndim == 2 else 1) for name, weight in weights.items()}
    save_file({name: weight.astype("f4") for name, weight in usual.items()}, source / "model.safetensors")
    export(str(source), folder, "int8")
    return folder


def needs(wheel: Path) -> list[str]:
    """The names that installing the wheel brings in at the first step."""
    with zipfile.ZipFile(wheel) as content:
        (path,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(content.read(path).decode())
    return required(metadata.get_all("Requires-Dist"))


def required(requirements: list[str] | None) -> list[str]:
    wanted = [Requirement(text) for text in requirements or []]
    return [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]


def environment_for(wheel: Path, folder: Path) -> Path:
    """The Python of a new environment with the wheel and what it needs, and nothing else: links to our own packages."""
    venv.create(folder)
    (packages,) = folder.glob("lib/*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    waiting, seen = needs(wheel), set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            found = distribution(name)
            waiting += required(found.requires)
            for top in {Path(str(file)).parts[0] for file in found.files or []} - {"..", "__pycache__"}:
                (packages / top).exists() or (packages / top).symlink_to(found.locate_file(top))
    return folder / "bin/python"


def ranked_by(python: Path, model: Path) -> tuple[str, list[str]]:
    """The backend, and passages in order, of a process that knows of this environment only."""
    program = (
        "import json, sys; from finerank import Reranker; reranker = Reranker.from_pretrained(sys.argv[1]); "
        "ranking = reranker.rank('print a line', ['The print function.', 'A class has a name.', 'Lines of text.']); "
        "print(json.dumps([reranker.files.backend, [result.document.text for result in ranking]]))"
    )
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([python, "-c", program, model], env=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    backend, texts = json.loads(done.stdout)
    return backend, texts


@with_engine
def test_a_wheel_holds_the_engine_and_the_models(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "linux" not in sys.platform or "linux_x86_64" in wheel.name
    assert any(name.startswith("finerank/scoring/_native.") and name.endswith(".so") for name in names)
    models = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/finerank/models").glob("*/*")}
    assert models <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".cpp")]


@with_engine
def test_with_the_engine_an_int8_model_ranks_without_onnx_runtime(wheel, int8_model, tmp_path):
    assert "onnxruntime" not in needs(wheel)
    python = environment_for(wheel, tmp_path / "empty")
    assert subprocess.run([python, "-c", "import onnxruntime"], capture_output=True).returncode != 0
    assert ranked_by(python, int8_model)[0] == "native"
    of_onnx = [python, "-m", "finerank", "rank", "q", "--backend", "onnx", "--model", int8_model]
    refused = subprocess.run(of_onnx, input="a passage", capture_output=True, text=True)
    assert refused.returncode == 1
    assert "pip install 'finerank[onnx]'" in refused.stderr


def test_without_a_compiler_onnx_runtime_is_needed_and_ranks(pure_wheel, int8_model, tmp_path):
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(pure_wheel).namelist()
    assert "finerank/scoring/native_backend.py" in names
    assert not [name for name in names if name.endswith(".so")]
    assert "onnxruntime" in needs(pure_wheel)
    assert ranked_by(environment_for(pure_wheel, tmp_path / "empty"), int8_model)[0] == "onnx"


def test_the_sources_build_without_the_checkout(tmp_path):
    program = "import os, sys, finerank_build; os.chdir(sys.argv[1]); print(finerank_build.build_sdist(sys.argv[2]))"
    tools = {**os.environ, "PYTHONPATH": str(ROOT / "tools/wheel")}
    command = [sys.executable, "-c", program, ROOT, tmp_path]
    subprocess.run(command, env=tools, check=True, capture_output=True)
    (sources,) = tmp_path.glob("finerank-*.tar.gz")
    with tarfile.open(sources) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    assert {"pyproject.toml", "CMakeLists.txt", "tools/wheel/finerank_build.py", "src/native/kernels.cpp"} <= names
    assert not [name for name in names if "ms-marco" in name or name.endswith(".so")]
    built = build(tmp_path, str(sources), CC="/nonexistent", CXX="/nonexistent")
    assert "onnxruntime" in needs(built)
