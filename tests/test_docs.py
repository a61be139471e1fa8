"""The README and the guide say what is so: their Python runs, and their tables of options are the settings'."""

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from finerank.settings import RagSettings, ServeSettings, Settings
from finerank.training.losses import LOSS_NAMES
from finerank.training.options import TrainSettings
from finerank.training.pretrain import PretrainSettings

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```python\n" in page.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)


def guide_table(section: str, page: str = "guide") -> dict[str, tuple[str, str]]:
    """By option: its default and its meaning, in a section of the guide, or of another page."""
    guide = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    _, _, rest = guide.partition(f"\n## {section}\n")
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \| (.*) \|$", rest.partition("\n## ")[0], re.M)
    return {name: (default, meaning) for name, default, meaning in rows}


def test_every_option_is_in_the_guide_with_its_default():
    documented = {name: default for name, (default, _) in guide_table("Options").items()}
    assert documented == {option.name: str(option.default) for option in fields(Settings)}


def test_every_option_of_the_server_is_documented_with_its_help():
    documented = guide_table("Settings", "serving")
    assert documented == {
        option.name: (str(option.default), option.metadata["help"]) for option in fields(ServeSettings)
    }


@pytest.mark.parametrize(("section", "settings"), [("Train", TrainSettings), ("Pretrain", PretrainSettings)])
def test_every_training_option_is_in_the_guide_with_its_help(section: str, settings: type):
    def shown(default: object) -> str:
        return "{}" if default is MISSING else "unset" if default is None else json.dumps(default)

    expected = {each.name: (shown(each.default), each.metadata["help"]) for each in fields(settings)}
    expected.pop("train", None)
    assert guide_table(section) == expected


def test_every_option_of_the_pipeline_is_in_its_page_with_its_help():
    page = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \| (.*) \|$", page[page.index("## Pipeline options") :], re.M)
    shown = {
        option.name: ("unset" if option.default is None else json.dumps(option.default), option.metadata["help"])
        for option in fields(RagSettings)
    }
    assert {name: (default, meaning) for name, default, meaning in rows} == shown


def test_every_loss_is_in_the_guide():
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    losses = guide[guide.index("| loss |") :].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", losses, re.M)) == set(LOSS_NAMES)


def test_the_folder_table_is_complete():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w/.]+)` \|", page, re.M)
    assert [folder for folder in listed if not (ROOT / folder).is_dir()] == []
    packages = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "src/finerank").glob("*/__init__.py")}
    assert packages <= set(listed)
