"""The Dockerfiles: pinned, in stages, without root, healthy by the word of the server, configured by real options."""

import json
import re
import runpy
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from finerank.settings import ServeSettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/docker"
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEALTHCHECK = FOLDER / "healthcheck.py"

instructions = runpy.run_path(str(FOLDER / "chroot_build.py"))["instructions"]

each_image = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)


def stages(path: Path) -> list[list[tuple[str, str]]]:
    """The instructions of each stage, the FROM first."""
    found: list[list[tuple[str, str]]] = []
    for name, value in instructions(path.read_text(encoding="utf-8")):
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, value))
    return found


def value_of(stage: list[tuple[str, str]], name: str) -> str:
    (value,) = [value for each, value in stage if each == name]
    return value


def environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(value for name, value in stage if name == "ENV")))


def test_there_is_an_image_for_each_target():
    assert [path.stem for path in DOCKERFILES] == ["cpu-arm64", "cpu", "cuda"]


@each_image
def test_it_is_built_in_stages_on_a_pinned_slim_base(path: Path):
    bases = {value for name, value in instructions(path.read_text(encoding="utf-8")) if value.startswith("BASE=")}
    assert bases == {"BASE=debian:13.8-slim"}
    build, final = stages(path)
    assert value_of(build, "FROM") == "${BASE} AS build"
    assert value_of(final, "FROM") == "${BASE}"
    assert "g++" not in " ".join(value for _, value in final)


@each_image
def test_it_runs_without_root_or_shell(path: Path):
    final = stages(path)[-1]
    user, _, group = value_of(final, "USER").partition(":")
    assert int(user) >= 1000 <= int(group)
    assert f"--uid {user} " in value_of(final, "RUN")
    assert json.loads(value_of(final, "ENTRYPOINT")) == ["finerank"]
    assert json.loads(value_of(final, "CMD")) == ["serve"]
    after = [name for name, _ in final[[name for name, _ in final].index("USER") :]]
    assert "RUN" not in after


@each_image
def test_its_health_check_asks_the_server_itself(path: Path):
    build, final = stages(path)
    options, _, command = value_of(final, "HEALTHCHECK").partition(" CMD ")
    assert "--start-period=" in options
    assert json.loads(command) == ["python", "-I", "/opt/finerank/healthcheck.py"]
    assert "cp deploy/docker/healthcheck.py /opt/finerank/" in " ".join(value for _, value in build)


@each_image
def test_its_settings_exist_and_let_it_start_with_and_without_keys(path: Path, settings_of):
    final = stages(path)[-1]
    variables = {name: value for name, value in environment(final).items() if name.startswith("FINERANK_")}
    loaded = settings_of(variables)
    assert (loaded.host, loaded.auth) == ("0.0.0.0", "optional")
    assert loaded.port == ServeSettings().port == int(value_of(final, "EXPOSE"))
    assert json.loads(value_of(final, "VOLUME")) == [variables["FINERANK_CACHE_DIR"]]


@each_image
def test_it_installs_extras_that_exist_at_pinned_versions(path: Path):
    build = stages(path)[0]
    extras = next(value for name, value in build if value.startswith("EXTRAS=")).partition("=")[2].split(",")
    assert "serve" in extras or "otel" in extras  # which includes it
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert environment(build)["PIP_CONSTRAINT"] == "/src/deploy/docker/constraints.txt"
    assert ("torch" in " ".join(extras) or "transformers" in extras) == (path.stem == "cuda")


def test_the_images_differ_only_in_what_they_are_for():
    def shared(path: Path) -> list[tuple[str, str]]:
        text = re.sub(r"\s*NVIDIA_\w+=\S+", "", "\n".join(map(" ".join, stages(path)[-1])))
        return [line for line in text.splitlines() if "LABEL" not in line]

    assert shared(DOCKERFILES[0]) == shared(DOCKERFILES[1]) == shared(DOCKERFILES[2])


def test_what_they_copy_is_let_in():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    assert [path for path in let_in if not (ROOT / path).exists()] == []
    sources = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["scikit-build"]["sdist"]
    assert {source.strip("/") for source in sources["include"]} <= set(let_in)


def test_the_pins_meet_what_the_project_asks_for():
    lock = runpy.run_path(str(FOLDER / "lock.py"))
    lines = (FOLDER / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins}
    wanted = [Requirement(each) for each in lock["requirements"]()]
    assert {each.name.lower() for each in wanted} <= set(versions)
    for each in wanted:
        assert each.specifier.contains(versions[each.name.lower()]), f"{each}: run deploy/docker/lock.py"


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_health_check_says_what_the_server_says(status: int, code: int):
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.handle_request, daemon=True).start()
    variables = {"FINERANK_SERVE_PORT": str(server.server_address[1])}
    done = subprocess.run([sys.executable, "-I", HEALTHCHECK], env=variables, capture_output=True, text=True)
    server.server_close()
    assert (asked, done.returncode) == (["/health/ready"], code), done.stderr


def test_the_health_check_fails_without_a_server():
    variables = {"FINERANK_SERVE_PORT": "1"}
    done = subprocess.run([sys.executable, "-I", HEALTHCHECK], env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no answer on port 1" in done.stderr


def test_the_health_check_asks_for_a_path_that_exists(status_of):
    assert status_of("/health/ready") == 200
    assert status_of("/health/readiness") == 404


def test_comments_and_continued_lines_are_read_as_docker_reads_them():
    text = '# syntax\nFROM a AS b\nRUN one \\\n  # inside\n && two\nCMD ["x"]\n'
    assert instructions(text) == [("FROM", "a AS b"), ("RUN", "one && two"), ("CMD", '["x"]')]


def test_hadolint_finds_nothing(check):
    check("hadolint", files=DOCKERFILES)


def test_shellcheck_finds_nothing(check):
    check("shellcheck", files=FOLDER.glob("*.sh"))
