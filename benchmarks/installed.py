"""What is installed in this environment: versions, and the size of a package with all it depends on.

python -m benchmarks.installed 'finerank' 'finerank[torch]'    as JSON
"""

import json
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def size_mb(requirements: Iterable[str]) -> float | None:
    """Size on disk of the distributions that `requirements` bring in, themselves included, in units of 10^6 bytes;
    None if one of them is not installed."""
    try:
        return sum(_size(distribution(name)) for name in closure(requirements)) / 1e6
    except PackageNotFoundError:
        return None


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that are needed. Raises `PackageNotFoundError` if one is not installed."""
    waiting = [Requirement(text) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) not in seen:
            seen.add((name, extras))
            waiting += _needs(distribution(name), extras)
    return {name for name, _ in seen}


def versions() -> dict[str, str]:
    """Every distribution of the environment."""
    return dict(sorted((item.metadata["Name"], item.version) for item in distributions()))


def _needs(item: Distribution, extras: frozenset[str]) -> list[Requirement]:
    requirements = [Requirement(text) for text in item.requires or ()]
    return [need for need in requirements if any(_applies(need, extra) for extra in extras | {""})]


def _applies(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _size(item: Distribution) -> int:
    return sum(path.stat().st_size for path in {*_listed(item), *_editable(item)} if path.is_file())


def _listed(item: Distribution) -> list[Path]:
    return [Path(str(item.locate_file(file))) for file in item.files or ()]


def _editable(item: Distribution) -> list[Path]:
    """The files of a package that is installed in place, and so not listed."""
    origin = json.loads(item.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return []
    spec = find_spec(item.metadata["Name"])
    return [file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*")]


if __name__ == "__main__":
    print(json.dumps({"versions": versions(), "size_mb": {each: size_mb(each.split()) for each in sys.argv[1:]}}))
