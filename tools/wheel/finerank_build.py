"""The build backend: scikit-build-core, and where the native engine cannot be compiled, a wheel without it that needs
ONNX Runtime. Also the provider of the wheel's dependencies, which are known only once the compiler is done.

There is no `prepare_metadata_for_build_wheel` on purpose: pip then reads the dependencies off the finished wheel.
"""

from collections.abc import Callable, Mapping
from typing import Any

from scikit_build_core import build
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

Config = dict[str, list[str] | str]

_without_engine: Config = {"wheel.cmake": "false"}
_built_with: Config = {}


def build_wheel(folder: str, config: Config | None = None, metadata_folder: str | None = None) -> str:
    """The wheel, written into `folder`; its name."""
    return _built(build.build_wheel, folder, config or {})


def build_editable(folder: str, config: Config | None = None, metadata_folder: str | None = None) -> str:
    """The same for `pip install -e`."""
    return _built(build.build_editable, folder, config or {})


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, list[str]]:
    """The dependencies: those in pyproject.toml, and of a wheel without the engine those of the extra `onnx`."""
    extra = project["optional-dependencies"]["onnx"] if _built_with == _without_engine else []
    return {"dependencies": [*settings["dependencies"], *extra]}


def dynamic_wheel(settings: Mapping[str, Any]) -> dict[str, bool]:
    """That a wheel's dependencies may differ from those of the sdist."""
    return {"dependencies": True}


def _built(build_it: Callable[[str, Config], str], folder: str, config: Config) -> str:
    _built_with.clear()
    try:
        return build_it(folder, config)
    except SystemExit:  # what scikit-build-core makes of a failed CMake
        _built_with.update(_without_engine)
        print("the native engine cannot be built here: going on without it, with ONNX Runtime")
        return build_it(folder, {**config, **_without_engine})
