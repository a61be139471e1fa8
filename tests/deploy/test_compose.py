"""The compose file: services that exist, options that exist, files that are there, images that are pinned."""

import json
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVERS = ("server", "replica")


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read("compose.yaml")


def filled_in(text: str, values: dict[str, str]) -> str:
    """A value with its variables, as compose puts them in: ${NAME:-default} and ${NAME:?message}."""
    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", lambda m: values.get(m[1], m[3] if m[2] == "-" else ""), text)


def example() -> tuple[set[str], set[str]]:
    """The variables of example.env: those to fill in, and those that are optional."""
    lines = (DEPLOY / "compose/example.env").read_text(encoding="utf-8").splitlines()
    return (
        {match[1] for line in lines if (match := re.fullmatch(r"(\w+)=", line))},
        {match[1] for line in lines if (match := re.fullmatch(r"# (\w+)=.*", line))},
    )


def test_a_server_starts_with_the_settings_it_is_given(compose, settings_of):
    values = {name: f"{name.lower()}-1,{name.lower()}-2" for name in example()[0]}
    for name in SERVERS:
        environment = compose["services"][name]["environment"]
        given = {key: filled_in(value, values) for key, value in environment.items()}
        loaded = settings_of({**given, "FINERANK_SERVE_HOST": "0.0.0.0"})
        assert loaded.auth == "auto"
        assert len(loaded.api_keys) == 2
        assert loaded.metrics_key == values["FINERANK_METRICS_KEY"]
        assert float(compose["services"][name]["stop_grace_period"].removesuffix("s")) > loaded.shutdown_s


def test_each_variable_is_in_the_example(compose):
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    needed, optional = example()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == needed
    assert set(re.findall(r"\$\{(\w+):-", text)) == optional


def test_the_images_are_pinned(compose):
    for name, service in compose["services"].items():
        image = filled_in(service["image"], {})
        assert re.search(r":v?\d+\.\d+\.\d+", image), name


def test_the_servers_run_as_little_as_they_can(compose):
    for name in SERVERS:
        service = compose["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "/tmp" in service["tmpfs"]


def test_ports_are_published_on_this_machine_alone(compose):
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
    assert compose["services"]["server"]["ports"] == ["127.0.0.1:8000:8000"]


def test_each_server_keeps_its_state_in_a_volume_of_its_own(compose):
    kept = [volume for name in SERVERS for volume in compose["services"][name]["volumes"] if "/var/cache" in volume]
    assert len(kept) == len(set(kept)) == len(SERVERS)


def test_volumes_secrets_and_dependencies_are_declared(compose):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], name
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert set(service.get("depends_on", [])) <= set(compose["services"])


def test_the_second_server_comes_with_the_proxy(compose):
    by_profile = {name for name, service in compose["services"].items() if service.get("profiles") == ["replicas"]}
    assert by_profile == {"replica", "proxy"}


def test_prometheus_reads_every_server_with_the_metrics_key(compose):
    settings = read("compose/prometheus.yml")
    (job,) = settings["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert discovery["names"] == list(SERVERS)
    assert (discovery["type"], discovery["port"]) == ("A", 8000)
    assert job.get("metrics_path", "/metrics") == "/metrics"
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    mounted = {volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]}
    assert set(settings["rule_files"]) <= mounted
    assert "--config.file=/etc/prometheus/prometheus.yml" in compose["services"]["prometheus"]["command"]


def test_grafana_finds_prometheus_and_the_dashboard(compose):
    (source,) = read("compose/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read("compose/grafana/provisioning/dashboards/finerank.yml")["providers"]
    grafana = compose["services"]["grafana"]
    places = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
    assert json.loads((DEPLOY / places[home]).read_text(encoding="utf-8"))["uid"] == "finerank"


def test_the_proxy_balances_over_the_servers_by_their_own_health(compose, status_of):
    text = (DEPLOY / "compose/Caddyfile").read_text(encoding="utf-8")
    (upstreams,) = re.findall(r"reverse_proxy (.*) \{", text)
    assert upstreams.split() == [f"{name}:8000" for name in SERVERS]
    (path,) = re.findall(r"health_uri (\S+)", text)
    assert path == "/health/ready"
    assert status_of(path) == 200
    (port,) = re.findall(r"^:(\d+) \{", text, re.M)
    assert compose["services"]["proxy"]["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.fixture
def proxied(program, tmp_path: Path) -> Iterator[Callable[[Callable[[str], int | None], str], Counter[int]]]:
    """Sends 20 POST requests for a path through the proxy, to a good server and one that answers as told, None for a
    connection that is cut; counts the statuses."""
    stopping = ExitStack()

    def run(other: Callable[[str], int | None], path: str) -> Counter[int]:
        ports = [stopping.enter_context(listening(answer)) for answer in (lambda _: 200, other)]
        text = (DEPLOY / "compose/Caddyfile").read_text(encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for name, here in zip((*(f"{server}:8000" for server in SERVERS), ":8080"), (*ports, port), strict=True):
            text = text.replace(name, f":{here}" if name == ":8080" else f"127.0.0.1:{here}")
        (tmp_path / "Caddyfile").write_text(text, encoding="utf-8")
        command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", tmp_path / "Caddyfile"]
        caddy = subprocess.Popen(command, env={"HOME": str(tmp_path)}, stderr=subprocess.DEVNULL)
        stopping.callback(lambda: (caddy.terminate(), caddy.wait()))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for _ in range(200):
                with suppress(httpx.ConnectError):
                    client.get("/health")
                    break
                time.sleep(0.02)
            return Counter(client.post(path, json={"query": "q" * 100_000}).status_code for _ in range(20))

    with stopping:
        yield run


@contextmanager
def listening(answer: Callable[[str], int | None]) -> Iterator[int]:
    """The port of a server that is healthy and answers POST with a status, or cuts the connection for None."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status = answer(self.path)
            if status is not None:
                self.reply(status)

        def reply(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("outcome", [503, None], ids=["drains", "dies"])
def test_the_proxy_sends_a_request_to_the_other_server(proxied, outcome: int | None):
    assert proxied(lambda path: outcome, "/v2/rerank") == {200: 20}


def test_the_proxy_passes_on_what_a_server_says_of_a_request(proxied):
    statuses = proxied(lambda path: 422, "/v2/rerank")
    assert statuses.keys() == {200, 422}


def test_the_proxy_does_not_repeat_what_changes_something(proxied):
    loaded = []
    assert 502 in proxied(loaded.append, "/finerank/v1/model")
    assert loaded


def test_it_is_a_compose_file_by_the_specification(check):
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", files=[DEPLOY / "compose.yaml"])
