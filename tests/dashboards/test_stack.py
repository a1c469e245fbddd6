"""docker-compose.yml and what is mounted: valid, and true to each other and to the proxy."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from dashboards.generate import metrics
from dashboards.generate.objectives import load

from composed import COMPOSE, FOLDER, ROOT, SERVICES, flag, loaded, mounts
from streamgauge import cli
from streamgauge.proxy import config
from streamgauge.proxy.config import Config

OURS = {"agent", "streamgauge", "load"}
SCHEMA = get_builtin_schema("vendor.compose-spec")
"""That of the Compose Specification (Apache-2.0, github.com/compose-spec/compose-spec), as check-jsonschema has it."""
EXEMPLAR_LABEL = "trace_id"
PROMETHEUS = loaded("prometheus", "prometheus.yml")
COLLECTOR = loaded("collector", "config.yml")
TEMPO = loaded("tempo", "tempo.yml")
SOURCES = {each["uid"]: each for each in loaded("provisioning", "datasources", "streamgauge.yml")["datasources"]}


@pytest.fixture
def settings() -> Config:
    """What the proxy of the stack reads."""
    options = cli.parser().parse_args([*SERVICES["streamgauge"]["command"]])
    file = mounts("streamgauge")[options.config]
    return config.load(file=str(file), environ=SERVICES["streamgauge"]["environment"])


# The compose file -------------------------------------------------------------------------------------------------


def test_it_is_a_compose_file() -> None:
    jsonschema.validate(COMPOSE, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [{"services": {"proxy": {"imagee": "x"}}}, {"services": {"proxy": {"healthcheck": {"test": 5}}}}, {"service": {}}],
)
def test_what_is_none_is_found(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_versions_are_pinned() -> None:
    for name, service in SERVICES.items():
        if name in OURS:
            assert service["image"] == SERVICES["streamgauge"]["image"]
        else:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), service["image"]
    # One builds; for the others Compose finds that it does.
    assert [name for name, service in SERVICES.items() if "build" in service] == ["streamgauge"]


def test_what_is_mounted_is_there() -> None:
    volumes = set()
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, source)
                assert mode == ["ro"], (name, source)
            else:
                volumes.add(source)
            assert target.startswith("/")
    assert volumes == set(COMPOSE["volumes"])


def test_commands_name_files_that_are_mounted() -> None:
    """Each path in a command, or in Grafana's variables, is in a mount, and the file is in our folder."""
    found = 0
    for name, service in SERVICES.items():
        words = [*service.get("entrypoint", ()), *service.get("command", ()), *service.get("environment", {}).values()]
        for word in words:
            path = str(word).rpartition("=")[2]
            if not path.startswith("/"):
                continue
            target = max((each for each in mounts(name) if path.startswith(each)), key=len, default=None)
            assert target is not None, (name, path)
            source = mounts(name)[target]
            if isinstance(source, Path):
                assert (source / path[len(target) :].lstrip("/")).exists(), (name, path)
                found += 1
    assert found >= 7


def test_ports_are_on_loopback_only() -> None:
    taken = []
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            address, outside, inside = port.split(":")
            assert address == "127.0.0.1"
            assert outside == inside
            taken.append(outside)
        assert service.get("network_mode") is None
    assert len(taken) == len(set(taken))


def test_who_is_waited_for_has_a_health_check() -> None:
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "test" in SERVICES[other].get("healthcheck", {}) or SERVICES[other].get("build"), other
    # The image's own asks the proxy, which these two are not.
    assert SERVICES["load"]["healthcheck"] == {"disable": True}
    assert "test" in SERVICES["agent"]["healthcheck"]


# Who speaks to whom -----------------------------------------------------------------------------------------------


def listening(settings: Config) -> dict[str, set[int]]:
    """The ports of each service, by its own configuration."""
    receivers = COLLECTOR["receivers"]["otlp"]["protocols"].values()
    (reader,) = COLLECTOR["service"]["telemetry"]["metrics"]["readers"]
    assert reader["pull"]["exporter"]["prometheus"]["host"] == "0.0.0.0"
    tempo = TEMPO["distributor"]["receivers"]["otlp"]["protocols"].values()
    for each in (*receivers, *tempo):
        assert each["endpoint"].startswith("0.0.0.0:")
    return {
        "agent": {int(flag("agent", "--port"))},
        "streamgauge": {settings.port, settings.settings.metrics_port},
        "collector": {
            *(int(each["endpoint"].rpartition(":")[2]) for each in receivers),
            reader["pull"]["exporter"]["prometheus"]["port"],
        },
        "prometheus": {9090},  # the defaults of these three
        "alertmanager": {9093},
        "grafana": {3000},
        "tempo": {TEMPO["server"]["http_listen_port"], *(int(e["endpoint"].rpartition(":")[2]) for e in tempo)},
    }


def asked(settings: Config) -> Iterator[tuple[str, int]]:
    """(host, port) of whatever one service is told of another."""
    for service in SERVICES.values():
        for word in [*service.get("command", ()), *service.get("environment", {}).values()]:
            if "://" in str(word):
                url = urlsplit(str(word))
                yield str(url.hostname), int(url.port or 80)
    for route in settings.routes:
        url = urlsplit(route.upstream)
        yield str(url.hostname), int(url.port or 80)
    for job in PROMETHEUS["scrape_configs"] + PROMETHEUS["alerting"]["alertmanagers"]:
        for group in job["static_configs"]:
            for target in group["targets"]:
                host, _, port = target.partition(":")
                yield ("prometheus" if host == "localhost" else host), int(port)
    for exporter in COLLECTOR["exporters"].values():
        url = urlsplit(exporter["endpoint"])
        yield str(url.hostname), int(url.port or 80)
    for source in SOURCES.values():
        url = urlsplit(source["url"])
        yield str(url.hostname), int(url.port or 80)


def test_whoever_is_asked_listens(settings: Config) -> None:
    there = listening(settings)
    pairs = set(asked(settings))
    assert {(host, port) for host, port in pairs if port not in there.get(host, ())} == set()
    assert {host for host, _ in pairs} == set(SERVICES) - {"load"}


def test_what_is_published_listens(settings: Config) -> None:
    there = listening(settings)
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert int(port.rpartition(":")[2]) in there[name], (name, port)


def test_health_checks_ask_their_own_port(settings: Config) -> None:
    there = listening(settings)
    for name, service in SERVICES.items():
        test = " ".join(service.get("healthcheck", {}).get("test", ()))
        ports = {int(port) for port in re.findall(r"localhost(?::|', )(\d+)", test)}
        assert ports <= there.get(name, set())
        assert bool(ports) == bool(test)


# The configurations ----------------------------------------------------------------------------------------------


def test_prometheus_takes_its_configuration() -> None:
    """The rule files with it."""
    folder = FOLDER / "prometheus"
    done = subprocess.run(
        ["promtool", "check", "config", str(folder / "prometheus.yml")], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {*PROMETHEUS["rule_files"]} == {file.name for file in folder.glob("*.yml")} - {"prometheus.yml"}
    assert mounts("prometheus")["/etc/prometheus"] == folder
    assert flag("prometheus", "--enable-feature") == "exemplar-storage"
    assert int(flag("prometheus", "--storage.tsdb.retention.time").removesuffix("d")) >= load().period_days + 5


def test_alertmanager_takes_its_configuration() -> None:
    file = mounts("alertmanager")[flag("alertmanager", "--config.file")]
    done = subprocess.run(["amtool", "check-config", str(file)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_collector_uses_what_it_has() -> None:
    used: dict[str, set[str]] = {"receivers": set(), "processors": set(), "exporters": set()}
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        for kind, names in used.items():
            names.update(pipeline[kind])
    assert used == {kind: set(COLLECTOR[kind]) for kind in used}
    # `otlp_http` is the name since `otlphttp` was deprecated.
    assert {name.partition("/")[0] for name in used["exporters"]} == {"otlp_http"}
    processors = COLLECTOR["service"]["pipelines"]["traces"]["processors"]
    assert processors[0] == "memory_limiter"  # refuses before anything is held
    assert set(COLLECTOR["service"]["pipelines"]) == {"traces"}  # metrics are scraped: both would count twice


def test_grafana_reads_what_prometheus_scrapes() -> None:
    prometheus, tempo = SOURCES["prometheus"], SOURCES["tempo"]
    assert set(SOURCES) == {"prometheus", "tempo", "alertmanager"}
    assert [uid for uid, source in SOURCES.items() if source.get("isDefault")] == ["prometheus"]
    assert prometheus["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
    assert prometheus["jsonData"]["alertmanagerUid"] == "alertmanager"
    (link,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert (link["name"], link["datasourceUid"]) == (EXEMPLAR_LABEL, "tempo")
    correlated = tempo["jsonData"]["tracesToMetrics"]
    assert correlated["datasourceUid"] == "prometheus"
    names = {
        name
        for query in correlated["queries"]
        for name in re.findall(r"\b(?:gen_ai|streamgauge)_\w+(?={)", query["query"])
    }
    known = set(metrics.EMITTED)
    assert names
    assert names <= known
    for tag in correlated["tags"]:
        assert tag["value"] == tag["key"].replace(".", "_")
    for query in correlated["queries"]:
        assert "{$$__tags}" in query["query"]  # one $ would be taken for a variable of the environment


def test_grafana_finds_boards_and_alerts() -> None:
    (provider,) = loaded("provisioning", "dashboards", "streamgauge.yml")["providers"]
    boards = mounts("grafana")[provider["options"]["path"]]
    assert boards == FOLDER / "grafana"
    assert mounts("grafana")["/etc/grafana/provisioning"] == FOLDER / "provisioning"
    assert {json.loads(file.read_text("utf-8"))["uid"] for file in boards.glob("*.json")} >= {"streamgauge-overview"}
    alerting = [
        yaml.safe_load(file.read_text("utf-8")) for file in (FOLDER / "provisioning" / "alerting").glob("*.yml")
    ]
    text = json.dumps(alerting)
    uids = set(re.findall(r'"datasourceUid": "([^"]+)"', text))
    assert {"prometheus"} <= uids <= {"prometheus", "__expr__", "-100"}
