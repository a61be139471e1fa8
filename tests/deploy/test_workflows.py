"""The workflows: pinned actions, least rights, every supported Python, and targets that exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def job(workflow: str, name: str) -> dict[str, Any]:
    return read(ROOT / f".github/workflows/{workflow}.yml")["jobs"][name]


def test_there_are_two():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]


@each_workflow
def test_actions_are_pinned_to_a_commit(path: Path):
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"])
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert all(re.search(r"# v\d+\.\d+\.\d+$", line) for line in lines)


@each_workflow
def test_it_may_only_read(path: Path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    rights = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert rights == ({"publish": {"id-token": "write"}} if path.stem == "release" else {})
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    for step in steps(path):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@each_workflow
def test_what_it_runs_exists(path: Path):
    commands = "\n".join(step.get("run", "") for step in steps(path))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([\w-]+)", commands):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for script in re.findall(r"\bdeploy/\S+\.\w+", commands):
        assert (ROOT / script).is_file(), script


def test_the_tests_run_on_every_python_and_each_has_a_wheel():
    assert job("ci", "test")["strategy"]["matrix"]["python"] == PYTHONS
    tags = [f"cp{python.replace('.', '')}-manylinux_x86_64" for python in PYTHONS]
    assert PROJECT["tool"]["cibuildwheel"]["build"].split() == tags
    tried = job("release", "try-wheels")["strategy"]["matrix"]["python"]
    assert tried == [PYTHONS[0], PYTHONS[-1]]


def test_wheels_are_tried_on_every_platform_before_anything_is_published():
    runners = job("release", "try-wheels")["strategy"]["matrix"]["runner"]
    assert any(runner.endswith("-arm") for runner in runners)
    assert any(runner.startswith("macos") for runner in runners)
    assert job("release", "publish")["needs"] == ["try-wheels", "images"]


def test_a_release_is_a_tag_published_without_a_stored_password():
    workflow = read(ROOT / ".github/workflows/release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    publish = workflow["jobs"]["publish"]
    assert publish["environment"] == "pypi"
    assert "secrets." not in str(publish)


@pytest.mark.parametrize(("workflow", "name"), [("ci", "image"), ("release", "images")])
def test_the_images_have_dockerfiles_and_run_where_they_are_for(workflow: str, name: str):
    for each in job(workflow, name)["strategy"]["matrix"]["include"]:
        assert (ROOT / f"deploy/docker/{each['image']}.Dockerfile").is_file()
        assert each["runner"].endswith("-arm") == each["image"].endswith("-arm64")
        if each["image"] == "cpu":
            assert each["largest_mb"] == 450


def test_the_chart_and_the_package_have_one_version():
    chart = yaml.safe_load((ROOT / "deploy/helm/finerank/Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == PROJECT["project"]["version"]
    image = re.findall(r"finerank/cpu:([\d.]+)", (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    assert image == [PROJECT["project"]["version"]]


def test_actionlint_finds_nothing(check):
    check("actionlint", files=WORKFLOWS)


def test_zizmor_finds_nothing(check):
    check("zizmor", "--offline", "--quiet", files=WORKFLOWS)
