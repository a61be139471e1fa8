"""The README and the guide say what is so: their Python runs, and their option table is the settings'."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from finerank.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)


def test_every_option_is_in_the_guide_with_its_default():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", (ROOT / "docs/guide.md").read_text(encoding="utf-8"), re.M)
    documented = dict(rows)
    assert documented == {option.name: str(option.default) for option in fields(Settings)}


def test_every_file_of_the_map_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    paths = re.findall(r"^\| `([\w/.]+)` \|", readme[readme.index("## File map") :], re.M)
    assert len(paths) > 20
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing == []
    packaged = {
        str(path.relative_to(ROOT)) for path in (ROOT / "src/finerank").rglob("*.py") if path.name != "__init__.py"
    }
    assert packaged <= set(paths)
