"""The operations page: every alert is explained, and what it names exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
VALUES = yaml.safe_load((ROOT / "deploy/helm/finerank/values.yaml").read_text(encoding="utf-8"))


def section(title: str) -> str:
    _, found, rest = PAGE.partition(f"\n## {title}\n")
    assert found, title
    return rest.partition("\n## ")[0]


def anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_alert_says_what_it_means_and_what_to_do():
    groups = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yml").read_text(encoding="utf-8"))["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", section("Alerts"), re.M)
    assert [name for name, _, _ in rows] == alerts


def test_the_runbook_has_five_incidents_with_steps():
    incidents = re.split(r"^### ", section("Runbook"), flags=re.M)[1:]
    assert len(incidents) == 5
    assert all("\n1. " in incident and "\n3. " in incident for incident in incidents)


def test_links_lead_somewhere():
    for file, anchor in re.findall(r"\]\(([\w./]*)#?([\w-]*)\)", PAGE):
        if file:
            assert (ROOT / "docs" / file).is_file(), file
        elif anchor:
            assert anchor in anchors(), anchor


def test_the_files_it_names_exist():
    named = set(re.findall(r"\b(deploy/[\w./-]+\w)", PAGE)) - {"deploy/.env"}
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_variables_it_names_are_options(settings_of):
    text = PAGE.replace("FINERANK_IMAGE", "")  # the compose file's
    variables = dict(re.findall(r"\b(FINERANK_[A-Z_]+)(?:=([\w,]+))?", text))
    settings_of({name: value or "1" for name, value in variables.items() if name != "FINERANK_CONFIG"})


def test_the_settings_it_names_exist(option_names):
    options = {name for names in option_names.values() for name in names}
    named = {name for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)(?:=\w+)?`", PAGE) if not name.startswith("finerank_")}
    figures = {"low_score_share", "truncation_rate", "metrics_key"}
    assert named - options - figures == set()


def test_the_metrics_it_names_exist(first_metrics):
    named = set(re.findall(r"\bfinerank_\w+", PAGE))
    exported = set(re.findall(r"^# TYPE (\S+) ", first_metrics, re.M))
    assert named
    assert [name for name in named if name not in exported] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"--set ([\w.]+?)(?:\.\"[^=]*)?=", PAGE))))
def test_the_values_it_sets_are_in_the_chart(path: str):
    at: Any = VALUES
    for part in path.split("."):
        assert part in at, path
        at = at[part]


def test_images_have_the_versions_of_the_compose_file():
    compose = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
    pulled = set(re.findall(r"docker pull (\S+)", PAGE))
    assert pulled == set(re.findall(r"image: ([a-z/]+:[v\d][\w.-]+)$", compose, re.M))


def test_the_other_pages_lead_here():
    for page in ("serving.md", "monitoring.md"):
        assert "operations.md" in (ROOT / "docs" / page).read_text(encoding="utf-8")
