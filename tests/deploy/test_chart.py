"""The Helm chart, rendered: valid for Kubernetes, and about options, paths and metrics that exist."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/finerank"
TEMPLATES = "".join(path.read_text(encoding="utf-8") for path in sorted(CHART.glob("templates/*")))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
KUBERNETES = ("1.30", "1.37")
"""The oldest version that Chart.yaml lets in, and the newest that the schemas have."""

KEYS = {"keys": {"existingSecret": "my-keys"}}
EVERYTHING = {
    "keys": {"apiKeys": ["one", "two"], "adminKeys": ["root"], "metricsKey": "numbers"},
    "config": "[serve]\nmax_queue_tokens = 500000\n",
    "autoscaling": {"enabled": True, "prometheusAddress": "http://prometheus:9090"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "persistence": {"enabled": True, "storageClass": "nfs"},
    "networkPolicy": {
        "from": [{"podSelector": {"matchLabels": {"app": "rag"}}}],
        "egress": [{"ports": [{"port": 53}]}],
    },
    "image": {"pullSecrets": [{"name": "registry"}]},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"team": "search"},
    "podLabels": {"tier": "ranking"},
}

Manifests = dict[str, dict[str, Any]]
Render = Callable[..., Manifests]


@pytest.fixture(scope="module")
def render() -> Render:
    """The manifests by kind."""
    helm = pytest.importorskip("helm_python", reason="Helm is not installed: make check-deploy")

    def rendered(**values: object) -> Manifests:
        with helm.Chart.load(str(CHART)) as chart:
            texts = chart.render(values, name="rr", namespace="rag").values()
        documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
        by_kind = {document["kind"]: document for document in documents}
        assert len(by_kind) == len(documents)
        return by_kind

    return rendered


def container(manifests: Manifests) -> dict[str, Any]:
    (only,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


# These need no Helm.


def test_each_value_is_used_and_each_used_value_is_there():
    used = set(re.findall(r"\.Values\.([\w.]+)", TEMPLATES))
    for path in used:
        at: Any = VALUES
        for part in path.split("."):
            assert part in at, path
            at = at[part]
    leaves = {f"{name}.{part}" for name, value in VALUES.items() if isinstance(value, dict) for part in value}
    whole = {name for name in VALUES if name in used}
    assert {leaf for leaf in leaves if leaf.split(".")[0] not in whole and leaf not in used} == set()
    assert {name for name, value in VALUES.items() if not isinstance(value, dict) and name not in used} == set()


def test_the_variables_are_options(settings_of):
    named = set(re.findall(r"name: (FINERANK_\w+),", TEMPLATES))
    keys = re.findall(r'range list "(\w+)" "(\w+)" "(\w+)"', TEMPLATES)[0]
    values = {
        **dict.fromkeys((f"FINERANK_SERVE_{key.upper()}" for key in keys), "a"),
        "FINERANK_SERVE_PORT": "8000",
        "FINERANK_SERVE_AUTH": VALUES["auth"],
        "FINERANK_SERVE_SHUTDOWN_S": str(VALUES["shutdown"]["shutdownSeconds"]),
    }
    assert named - values.keys() == {"FINERANK_MODEL", "FINERANK_CONFIG"}
    loaded = settings_of(values)
    assert (loaded.api_keys, loaded.admin_keys, loaded.metrics_key) == (("a",), ("a",), "a")


def test_the_probes_ask_for_paths_that_exist(status_of):
    paths = re.findall(r"(\w+)Probe:\s+httpGet: \{path: (\S+),", TEMPLATES)
    assert dict(paths) == {
        "startup": "/health/ready",
        "readiness": "/health/ready",
        "liveness": "/health/live",
    }
    assert {status_of(path) for _, path in paths} == {200}


def test_what_the_autoscaler_reads_is_exported_as_zero_from_the_start(first_metrics):
    (metric,) = set(re.findall(r"finerank_\w+", (CHART / "templates/scaledobject.yaml").read_text(encoding="utf-8")))
    assert metric == "finerank_queue_tokens"
    assert f"\n{metric} 0.0\n" in first_metrics


def test_the_alerting_rules_are_those_of_the_monitoring_folder():
    assert (CHART / "files/alerts.yml").resolve() == ROOT / "deploy/monitoring/alerts.yml"


# These render it.


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [KEYS, {"auth": "optional"}, EVERYTHING], ids=["keys", "open", "everything"])
def test_kubernetes_takes_what_it_renders(render: Render, version: str, values: dict[str, Any]):
    validate = pytest.importorskip("kubernetes_validate", reason="not installed: make check-deploy").validate
    manifests = render(**values)
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= manifests.keys()
    for kind, manifest in manifests.items():
        if kind not in ("ServiceMonitor", "ScaledObject", "PrometheusRule"):  # of operators, not of Kubernetes
            validate(manifest, version, strict=True)


def test_helm_lints_it():
    helm = pytest.importorskip("helm_python", reason="Helm is not installed: make check-deploy")
    report = helm.lint(str(CHART))
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_no_optional_part_is_there_unless_asked_for(render: Render):
    asked_for = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "PersistentVolumeClaim", "ConfigMap", "Secret"}
    assert not asked_for & render(**KEYS).keys()
    assert asked_for <= render(**EVERYTHING).keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no API keys"),
        ({"keys": {"metricsKey": "m"}}, "no API keys"),
        ({**KEYS, "auth": "off"}, "auth=off"),
        ({**KEYS, "autoscaling": {"enabled": True}}, "prometheusAddress"),
        ({"keys": {"apiKeys": ["a"]}, "serviceMonitor": {"enabled": True}}, "metricsKey"),
        ({"auth": "optional", "keys": {"adminKeys": ["a"]}, "serviceMonitor": {"enabled": True}}, "metricsKey"),
    ],
)
def test_wrong_values_are_refused_with_the_reason(render: Render, values: dict[str, Any], message: str):
    helm = pytest.importorskip("helm_python")
    with pytest.raises(helm.HelmError, match=message):
        render(**values)


def test_a_pod_runs_without_rights(render: Render):
    manifests = render(**KEYS)
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    dockerfile = (ROOT / "deploy/docker/cpu.Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\d+):", dockerfile, re.M)
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container(manifests)["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container(manifests)["volumeMounts"]}
    (cache,) = re.findall(r"FINERANK_CACHE_DIR=(\S+)", dockerfile)
    assert writable == {"/tmp", cache}


@pytest.mark.parametrize("shutdown", [{}, {"preStopSeconds": 60, "shutdownSeconds": 120}])
def test_a_pod_drains_longer_than_its_discovery_and_its_requests_take(render: Render, shutdown: dict[str, int]):
    manifests = render(**KEYS, shutdown=shutdown)
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    slept = container(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]
    (drained,) = [e["value"] for e in container(manifests)["env"] if e["name"] == "FINERANK_SERVE_SHUTDOWN_S"]
    assert slept == shutdown.get("preStopSeconds", 15)
    assert pod["terminationGracePeriodSeconds"] > slept + float(drained)
    probe = container(manifests)["readinessProbe"]
    assert shutdown or slept > probe["periodSeconds"] * probe["failureThreshold"]


def test_a_slow_start_is_no_reason_to_kill_and_a_busy_server_neither(render: Render):
    only = container(render(**KEYS))
    start, live = only["startupProbe"], only["livenessProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 600
    assert live["periodSeconds"] * live["failureThreshold"] >= 60
    assert live["timeoutSeconds"] >= 5


def test_keys_come_from_the_secret_alone(render: Render):
    manifests = render(**EVERYTHING)
    secret = manifests["Secret"]
    assert secret["stringData"] == {"api_keys": "one,two", "admin_keys": "root", "metrics_key": "numbers"}
    taken = {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in container(manifests)["env"] if "valueFrom" in each
    }
    assert {name.removeprefix("FINERANK_SERVE_").lower() for name in taken} == set(secret["stringData"])
    assert {ref["name"] for ref in taken.values()} == {secret["metadata"]["name"]}
    (endpoint,) = manifests["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": secret["metadata"]["name"], "key": "metrics_key"}
    own = render(**KEYS)
    assert "Secret" not in own
    assert "my-keys" in json.dumps(container(own))


def test_new_keys_and_new_settings_restart_the_pods(render: Render):
    def annotations(**values: object) -> dict[str, str]:
        return render(**values)["Deployment"]["spec"]["template"]["metadata"]["annotations"]

    first = annotations(keys={"apiKeys": ["one"]})
    assert annotations(keys={"apiKeys": ["two"]}) != first
    assert annotations(keys={"apiKeys": ["one"]}, config="[serve]\n") != first
    assert annotations(keys={"apiKeys": ["one"]}, replicas=3) == first


def test_the_settings_file_arrives_as_it_was_written(render: Render, option_names):
    manifests = render(**EVERYTHING)
    text = manifests["ConfigMap"]["data"]["finerank.toml"]
    assert text == EVERYTHING["config"]
    assert set(tomllib.loads(text)["serve"]) <= option_names["serve"]
    (path,) = [each["value"] for each in container(manifests)["env"] if each["name"] == "FINERANK_CONFIG"]
    (folder,) = [m["mountPath"] for m in container(manifests)["volumeMounts"] if m["name"] == "config"]
    assert path == f"{folder}/finerank.toml"


def test_selectors_and_ports_meet(render: Render):
    manifests = render(**EVERYTHING)
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        manifests["Service"]["spec"]["selector"],
        *(manifests[kind]["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")),
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)
    monitored = manifests["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= manifests["Service"]["metadata"]["labels"].items()
    (port,) = container(manifests)["ports"]
    assert port["name"] == manifests["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    (ingress,) = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert ingress["ports"][0]["port"] == "http"


def test_nothing_leaves_a_pod_unless_allowed(render: Render):
    policy = render(**KEYS)["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    assert render(**EVERYTHING)["NetworkPolicy"]["spec"]["egress"] == [{"ports": [{"port": 53}]}]


def test_replicas_follow_the_tokens_that_wait(render: Render):
    manifests = render(**EVERYTHING)
    assert "replicas" not in manifests["Deployment"]["spec"]
    scaled = manifests["ScaledObject"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    (trigger,) = scaled["triggers"]
    service = manifests["Service"]["metadata"]["name"]
    assert trigger["metadata"]["query"] == f'sum(finerank_queue_tokens{{namespace="rag", service="{service}"}})'
    assert trigger["metricType"] == "AverageValue"
    assert int(trigger["metadata"]["threshold"]) == VALUES["autoscaling"]["waitingTokens"]
    assert 1 <= scaled["minReplicaCount"] <= scaled["maxReplicaCount"]
    assert render(**KEYS)["Deployment"]["spec"]["replicas"] == VALUES["replicas"]


def test_the_rules_arrive_whole(render: Render):
    rules = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yml").read_text(encoding="utf-8"))
    assert render(**EVERYTHING)["PrometheusRule"]["spec"] == rules
