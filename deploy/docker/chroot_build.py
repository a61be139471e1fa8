"""Builds an image without a container engine, in a chroot, and tries it: for machines where none may run.

    debootstrap --variant=minbase trixie /var/tmp/base
    python deploy/docker/chroot_build.py cpu.Dockerfile --base /var/tmp/base --work /var/tmp/finerank

It needs root. Every instruction of the Dockerfile is carried out; each stage is a copy of the base. The container that
is tried has a root file system that cannot be written to, no capabilities, and the user, the command and the health
check of the image; it shares the network of the host. Instructions that only describe the image are read, not tested.
"""

import argparse
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORT = 8000
PASSAGES = ["The router is sold in black and white.", "To reset the router, hold its button for ten seconds."]


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, as name and value, without comments; lines that go on are joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    parted = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(name.upper(), " ".join(value.split())) for name, _, value in parted]


@dataclass
class Stage:
    """A file system under way, and what a container of it starts with."""

    root: Path
    env: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    args: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)


class Build:
    """Carries out a Dockerfile. `certificates` is what pip trusts during the build, where a proxy needs it."""

    def __init__(self, base: Path, work: Path, given: Mapping[str, str], certificates: Path | None) -> None:
        self._base, self._work, self._given, self._certificates = base, work, given, certificates
        self._stages: dict[str, Stage] = {}
        self._global: dict[str, str] = {}
        self.stage: Stage | None = None

    def run(self, text: str) -> Stage:
        for name, value in instructions(text):
            if self.stage is None and name == "ARG":
                key, _, default = value.partition("=")
                self._global[key] = self._given.get(key, default)
                continue
            print(f"{name} {value}", flush=True)
            if name == "FROM":
                self._from(value)
            else:
                self._carry_out(self._current, name, value)
        return self._current

    @property
    def _current(self) -> Stage:
        if self.stage is None:
            sys.exit("the Dockerfile begins without FROM")
        return self.stage

    def _from(self, value: str) -> None:
        image, _, name = value.partition(" AS ")
        if _expanded(image, self._global) in self._stages:
            sys.exit(f"FROM {image}: only a base image can be built on here")
        root = self._work / (name or "image")
        if root.exists():
            shutil.rmtree(root)
        subprocess.run(["cp", "-a", self._base, root], check=True)
        _slim(root)
        self.stage = self._stages[name or "image"] = Stage(root)

    def _carry_out(self, stage: Stage, name: str, value: str) -> None:
        value_here = value if name == "RUN" else _expanded(value, {**stage.args, **stage.env})
        if name == "ARG":
            key, _, default = value_here.partition("=")
            stage.args[key] = self._given.get(key, default.strip('"'))
        elif name == "ENV":
            stage.env |= dict(each.partition("=")[::2] for each in shlex.split(value_here))
        elif name == "WORKDIR":
            stage.workdir = value_here
            (stage.root / value_here.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "RUN":
            self._shell(stage, value)
        elif name == "COPY":
            self._copy(stage, value_here)
        elif name == "USER":
            stage.user = value_here
        elif name == "VOLUME":
            stage.volumes = json.loads(value_here)
        elif name == "ENTRYPOINT":
            stage.entrypoint = json.loads(value_here)
        elif name == "CMD":
            stage.command = json.loads(value_here)
        elif name == "HEALTHCHECK":
            stage.health = json.loads(value_here.partition("CMD ")[2])
        elif name not in ("LABEL", "EXPOSE"):
            sys.exit(f"{name}: not known here")

    def _shell(self, stage: Stage, script: str) -> None:
        environment = {**stage.args, **stage.env, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        mounts = 'mount -t proc proc "$0/proc"; mount --bind /dev "$0/dev"; mount -t tmpfs tmpfs "$0/tmp"; '
        if self._certificates:
            mounts += f'cp {shlex.quote(str(self._certificates))} "$0/tmp/certificates.pem"; '
            environment |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), "/tmp/certificates.pem")
        inner = f"cd {shlex.quote(stage.workdir)} && {script}"
        enter = f'exec /usr/sbin/chroot "$0" /bin/sh -ec {shlex.quote(inner)}'
        shutil.copyfile("/etc/resolv.conf", stage.root / "etc/resolv.conf")
        subprocess.run(["unshare", "--mount", "sh", "-ec", mounts + enter, stage.root], env=environment, check=True)

    def _copy(self, stage: Stage, value: str) -> None:
        words = value.split()
        options = dict(word[2:].split("=") for word in words if word.startswith("--"))
        source, target = (word for word in words if not word.startswith("--"))
        there = stage.root / (target if target.startswith("/") else f"{stage.workdir}/{target}").lstrip("/")
        there.mkdir(parents=True, exist_ok=True)
        if "from" in options:
            whence = self._stages[options["from"]].root / source.lstrip("/")
            subprocess.run(["cp", "-a", f"{whence}/.", there], check=True)
        else:
            self._copy_context(there)
        if "chown" in options:
            subprocess.run(["chown", "-R", options["chown"], there], check=True)

    def _copy_context(self, there: Path) -> None:
        """What .dockerignore lets in; its lines `!path` are the only way in."""
        lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        for path in (line[1:] for line in lines if line.startswith("!")):
            (there / path).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / path).is_dir():
                shutil.copytree(ROOT / path, there / path, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy2(ROOT / path, there / path)


def _slim(root: Path) -> None:
    """Leaves out what Debian's slim images do: documentation, translations, packages, and the caches of apt."""
    folders = [f"usr/share/{name}" for name in ("doc", "info", "lintian", "linda", "locale", "man")]
    for folder in [*folders, "var/cache/apt", "var/lib/apt/lists"]:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    excluded = "".join(f"path-exclude /{folder}/*\n" for folder in folders)
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text(excluded, encoding="utf-8")
    no_caches = (
        'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n'
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n'
    )
    (root / "etc/apt/apt.conf.d/docker-clean").write_text(no_caches, encoding="utf-8")


def _expanded(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], ""), text)


class Container:
    """A process in the image: root file system read-only, the volumes and /tmp in memory, no capabilities."""

    def __init__(
        self, stage: Stage, command: Sequence[str], extra: Mapping[str, str] | None = None, *, network: bool = True
    ) -> None:
        self.start = time.monotonic()
        isolated = [] if network else ["unshare", "--net"]
        self._process = subprocess.Popen(
            [*isolated, *_enter(stage, command)],
            env={**stage.env, **(extra or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def stop(self) -> tuple[int, str, float]:
        """The exit code and the log of a process that is told to stop, and the seconds that it took."""
        begin = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        log, _ = self._process.communicate(timeout=60)
        return self._process.returncode, log.decode(), time.monotonic() - begin

    def wait(self) -> tuple[int, str]:
        log, _ = self._process.communicate(timeout=300)
        return self._process.returncode, log.decode()


def _enter(stage: Stage, command: Sequence[str]) -> list[str]:
    uid, gid = stage.user.split(":")
    writable = " ".join(f'mount -t tmpfs -o uid={uid},gid={gid} tmpfs "$r{path}";' for path in [*stage.volumes, "/tmp"])
    script = (
        f'r=$1; shift; mount --bind "$r" "$r"; mount -o remount,bind,ro "$r"; {writable} mount -t proc proc "$r/proc"; '
        'mount -t tmpfs tmpfs "$r/dev"; for d in null zero urandom random; do touch "$r/dev/$d"; '
        'mount --bind /dev/$d "$r/dev/$d"; done; '
        f'exec /usr/sbin/chroot "$r" /usr/bin/setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs '
        f'--bounding-set=-all --inh-caps=-all /usr/bin/env -C {shlex.quote(stage.workdir)} "$@"'
    )
    return ["unshare", "--mount", "/bin/sh", "-ec", script, "sh", str(stage.root), *command]


def try_out(stage: Stage) -> None:
    """Start, health, rank, keys, stop: exits with what went wrong."""
    first = Container(stage, [*stage.entrypoint, "demo", "--lang", "zh"], network=False)
    code, log = first.wait()
    print(log)
    _expect(code == 0 and "answer first" in log, f"demo ended with {code}")
    server = Container(stage, [*stage.entrypoint, *stage.command])
    try:
        asked = {"query": "How do I reset the router?", "documents": PASSAGES}
        status, body = _until_answered(asked)
        scored_s = time.monotonic() - server.start
        _expect(status == 200 and body["results"][0]["index"] == 1, f"ranked: {status} {body}")
        print(f"first scores {scored_s:.2f} s after the start")
        health = subprocess.run(_enter(stage, stage.health), env=stage.env, check=False)
        _expect(health.returncode == 0, f"the health check ended with {health.returncode}")
        writes = ["python", "-c", "open('/opt/finerank/x', 'w')"]
        refused = subprocess.run(_enter(stage, writes), env=stage.env, capture_output=True, text=True, check=False)
        _expect("Read-only file system" in refused.stderr or "Permission denied" in refused.stderr, refused.stderr)
    finally:
        code, log, stopped_s = server.stop()
        print(log)
    _expect(code == 0, f"stopped with {code}")
    print(f"stopped {stopped_s:.2f} s after SIGTERM")
    _expect("not kept" not in log, "the weights were packed at the start")
    unhealthy = subprocess.run(_enter(stage, stage.health), env=stage.env, check=False)
    _expect(unhealthy.returncode == 1, "the health check passes without a server")
    server = Container(stage, [*stage.entrypoint, *stage.command], {"FINERANK_SERVE_API_KEYS": "sesame"})
    try:
        status, _ = _until_answered(asked)
        _expect(status == 401, f"without the key: {status}")
        status, _ = _until_answered(asked, "sesame")
        _expect(status == 200, f"with the key: {status}")
    finally:
        server.stop()


def _until_answered(body: Mapping[str, object], key: str = "") -> tuple[int, dict]:
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/finerank/v1/rerank", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in _ticks(60):
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            continue
    sys.exit("the server does not answer")


def _ticks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def _expect(fact: bool, otherwise: str) -> None:
    if not fact:
        sys.exit(otherwise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", help="a file of this folder")
    parser.add_argument("--base", type=Path, required=True, help="folder with the base's files, made by debootstrap")
    parser.add_argument("--work", type=Path, required=True, help="folder to build in")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--certificates", type=Path, help="what pip trusts during the build, behind a proxy")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    given = dict(each.partition("=")[::2] for each in options.build_arg)
    text = (Path(__file__).parent / options.dockerfile).read_text(encoding="utf-8")
    stage = Build(options.base, options.work, given, options.certificates).run(text)
    size = subprocess.run(["du", "-s", "--block-size=1000000", stage.root], capture_output=True, text=True, check=True)
    print(f"size of the root file system: {size.stdout.split()[0]} MB")
    try_out(stage)


if __name__ == "__main__":
    main()
