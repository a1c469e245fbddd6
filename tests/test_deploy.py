"""The Kubernetes manifests: valid by Kubernetes' own schemas, and true to the proxy that they run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from streamgauge import cli, semconv
from streamgauge.proxy import config
from streamgauge.proxy.config import Config

FOLDER = Path(__file__).parent.parent / "deploy" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
NO_RESOURCES = {"kustomization.yaml", "prometheus-adapter-values.yaml"}
VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest that has all that is used, and the newest."""
LABELS = {"app.kubernetes.io/name": "streamgauge"}
POD_MONITOR = {
    "type": "object",
    "required": ["selector", "podMetricsEndpoints"],
    "additionalProperties": False,
    "properties": {
        "selector": {
            "type": "object",
            "required": ["matchLabels"],
            "additionalProperties": False,
            "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
        },
        "podMetricsEndpoints": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "port": {"type": "string"},
                    "path": {"type": "string"},
                    "interval": {"$ref": "#/$defs/duration"},
                    "scrapeTimeout": {"$ref": "#/$defs/duration"},
                },
            },
        },
    },
    "$defs": {"duration": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}},
}
"""What is used of the operator's own resource, of which Kubernetes has no schema.

Source: prometheus-operator, `monitoring.coreos.com/v1` PodMonitorSpec.
"""


def loaded(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


DEPLOYMENT = loaded("deployment.yaml")["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    """What the proxy reads in the pod; the tokens are a file of ours."""
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token\n")
    file = tmp_path / "streamgauge.toml"
    text = (FOLDER / "streamgauge.toml").read_text("utf-8")
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert f'"{mounts["tokens"]}/tokens"' in text
    file.write_text(text.replace(f"{mounts['tokens']}/tokens", str(tokens)))
    environ = {each["name"]: each["value"] for each in CONTAINER["env"] if "value" in each}
    return config.load(file=str(file), environ=environ)


# Valid ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", [file for file in FILES if file.name not in NO_RESOURCES], ids=lambda file: file.name)
def test_every_resource_is_valid(file: Path, version: str) -> None:
    for document in yaml.safe_load_all(file.read_text("utf-8")):
        if document["kind"] == "PodMonitor":
            assert document["apiVersion"] == "monitoring.coreos.com/v1"
            jsonschema.validate(document["spec"], POD_MONITOR)
        else:
            kubernetes_validate.validate(document, version, strict=True)


def test_what_is_not_valid_is_found() -> None:
    """The validator is one: a word that there is not, and a kind of value that is wrong."""
    wrong = loaded("deployment.yaml")
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)
    monitor = loaded("pod-monitor.yaml")["spec"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**monitor, "podMetricsEndpoints": [{"port": 9464}]}, POD_MONITOR)


def test_kustomize_has_every_file() -> None:
    made = loaded("kustomization.yaml")
    assert {*made["resources"]} == {file.name for file in FILES} - NO_RESOURCES
    (settings,) = made["configMapGenerator"]
    assert all((FOLDER / name).is_file() for name in settings["files"])
    (image,) = made["images"]
    assert image["name"] == CONTAINER["image"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed: it has kustomize in it")
@pytest.mark.parametrize("version", VERSIONS)
def test_what_kustomize_makes_is_valid(version: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    made = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    assert set(made) >= {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "PodMonitor"}
    for kind, document in made.items():
        assert document["metadata"]["labels"] == LABELS
        if kind != "PodMonitor":
            kubernetes_validate.validate(document, version, strict=True)
    volumes = {volume["name"]: volume for volume in made["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    name = made["ConfigMap"]["metadata"]["name"]
    assert re.fullmatch(r"streamgauge-[a-z0-9]+", name)  # of its content: a change rolls the pods
    assert volumes["settings"]["configMap"]["name"] == name


# True -------------------------------------------------------------------------------------------------------------


def test_the_settings_and_the_flags_are_the_proxys(settings: Config) -> None:
    options = cli.parser().parse_args(CONTAINER["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert options.config == f"{mounts['settings']}/streamgauge.toml"
    assert (settings.host, settings.port) == ("0.0.0.0", PORTS["http"])
    assert (settings.settings.metrics_host, settings.settings.metrics_port) == ("0.0.0.0", PORTS["admin"])
    assert settings.settings.exporters("metrics") == ("prometheus",)
    assert settings.settings.exporters("traces") == ("otlp",)
    assert all(route.tokens == ("a-token",) for route in settings.routes)  # it is reached from other machines


def test_streams_have_their_time_to_end(settings: Config) -> None:
    pre_stop = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    probe = CONTAINER["readinessProbe"]
    assert pre_stop > probe["periodSeconds"] * probe["failureThreshold"]
    needed = pre_stop + settings.grace_s + settings.settings.shutdown_timeout_s
    assert needed + 5 <= POD["terminationGracePeriodSeconds"] <= needed + 30
    strategy = DEPLOYMENT["strategy"]["rollingUpdate"]
    assert strategy["maxUnavailable"] == 0


def test_ports_and_labels_lead_to_the_pods() -> None:
    assert DEPLOYMENT["selector"]["matchLabels"] == LABELS
    assert DEPLOYMENT["template"]["metadata"]["labels"] == LABELS
    service, monitor = loaded("service.yaml")["spec"], loaded("pod-monitor.yaml")["spec"]
    network = loaded("network-policy.yaml")["spec"]
    assert service["selector"] == monitor["selector"]["matchLabels"] == network["podSelector"]["matchLabels"] == LABELS
    assert loaded("disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == LABELS
    used = [
        *(port["targetPort"] for port in service["ports"]),
        *(endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]),
        *(port["port"] for rule in network["ingress"] for port in rule["ports"]),
        *(CONTAINER[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")),
    ]
    assert set(used) == set(PORTS)


def test_it_may_do_little() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert not POD["automountServiceAccountToken"]
    own = CONTAINER["securityContext"]
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not [volume for volume in POD["volumes"] if not {"configMap", "secret"} & set(volume)]
    assert str(POD["securityContext"]["runAsUser"]) in (FOLDER.parent / "Dockerfile").read_text("utf-8")


def test_the_autoscaler_asks_for_a_metric_that_there_is(settings: Config) -> None:
    spec = loaded("autoscaler.yaml")["spec"]
    assert "replicas" not in DEPLOYMENT  # else each `apply` takes them back
    target = spec["scaleTargetRef"]
    deployment = loaded("deployment.yaml")
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    (pods,) = [metric["pods"] for metric in spec["metrics"] if metric["type"] == "Pods"]
    name = pods["metric"]["name"]
    assert name == semconv.ACTIVE.name.replace(".", "_")
    (rule,) = loaded("prometheus-adapter-values.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert set(re.findall(r"streamgauge_\w+", rule["metricsQuery"])) == {name, "streamgauge_build_info"}
    # Each route's limit is above what the autoscaler keeps: it is there first.
    assert int(pods["target"]["averageValue"]) <= settings.limits.max_streams / 2


def test_the_page_says_what_is_there() -> None:
    page = (FOLDER.parent.parent / "docs" / "scaling.md").read_text("utf-8")
    assert [file.name for file in FILES if file.name not in page] == []
    assert json.dumps(POD["terminationGracePeriodSeconds"]) in page
