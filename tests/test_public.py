import builtins
import doctest
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import finerank
from finerank import errors
from finerank.settings import Options, Settings

PACKAGE = Path(finerank.__file__).parent
ERRORS = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
}


def modules_with_examples() -> list[str]:
    paths = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text("utf-8")]
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths)


def test_all_names_what_the_package_exports() -> None:
    public = {
        name
        for name, value in vars(finerank).items()
        if not name.startswith("_") and name != "TYPE_CHECKING" and not isinstance(value, ModuleType)
    }
    assert set(finerank.__all__) == public | {"Explanation", "RemoteReranker", "Reranker", "__version__"}
    assert finerank.__all__ == sorted(finerank.__all__) == dir(finerank)
    assert all(getattr(finerank, name).__module__.startswith("finerank.") for name in public)
    assert set(ERRORS) <= public


def test_names_resolved_on_first_use() -> None:
    assert finerank.Reranker.__module__ == "finerank.reranker"
    assert finerank.Explanation.__module__ == "finerank.explain"
    with pytest.raises(AttributeError, match="'finerank' has no attribute 'Rerankr'"):
        _ = finerank.Rerankr


def test_version_is_that_of_the_distribution() -> None:
    assert finerank.__version__ == version("finerank")


def test_import_loads_neither_numpy_nor_a_runtime() -> None:
    code = "import sys, finerank; print({'numpy', 'torch', 'onnxruntime', 'tokenizers'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_the_tree_of_errors_is_the_tree_of_classes() -> None:
    drawn = {"FinerankError": "Exception"}
    path = ["FinerankError"]
    for line in errors.__doc__.splitlines():
        if match := re.match(r"([│ ]*)[├└]── (\w+).*?(?:\(also an? (\w+)\))?$", line):
            margin, name, also = match.groups()
            path[len(margin) // 4 + 1 :] = [name]
            drawn[name] = path[-2]
            assert also is None or issubclass(ERRORS[name], getattr(builtins, also))
    assert drawn == {name: error.__bases__[0].__name__ for name, error in ERRORS.items()}


def test_options_are_the_fields_of_settings() -> None:
    types = {field.name: field.type for field in fields(Settings)}
    assert types.pop("model") is str
    assert Options.__annotations__ == {**types, "use_fp16": bool}


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_run(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.failed == 0
