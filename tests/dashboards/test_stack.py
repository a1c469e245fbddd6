"""docker-compose.yml, its image and what is mounted into it: valid, true to each other, and true to the proxy."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from proxy.running import environment, proxy, until
from streamgauge import cli, semconv
from streamgauge.proxy import config
from streamgauge.proxy.config import Config
from telemetry.parts import Receiver

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "dashboards"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"agent", "streamgauge", "load"}
SCHEMA = get_builtin_schema("vendor.compose-spec")
"""That of the Compose Specification (Apache-2.0, github.com/compose-spec/compose-spec), as check-jsonschema has it."""
EXEMPLAR_LABEL = "trace_id"
BUDGET_DAYS = 30


def loaded(*path: str) -> Any:
    return yaml.safe_load(FOLDER.joinpath(*path).read_text("utf-8"))


PROMETHEUS = loaded("prometheus", "prometheus.yml")
COLLECTOR = loaded("collector", "config.yml")
TEMPO = loaded("tempo", "tempo.yml")
SOURCES = {each["uid"]: each for each in loaded("provisioning", "datasources", "streamgauge.yml")["datasources"]}


def mounts(service: str) -> dict[str, Path | str]:
    """Where in the container -> the file or folder of ours, or the volume's name."""
    made: dict[str, Path | str] = {}
    for volume in SERVICES[service].get("volumes", ()):
        source, target, *_ = volume.split(":")
        made[target] = ROOT / source if source.startswith(".") else source
    return made


def flag(service: str, name: str) -> str:
    """What the service's command has for it."""
    command = SERVICES[service]["command"]
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == name:
            return str(following)
        if word.startswith(f"{name}="):
            return str(word.partition("=")[2])
    raise AssertionError(f"{service} has no {name}")


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
        yield route.upstream.host, route.upstream.port
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
    assert int(flag("prometheus", "--storage.tsdb.retention.time").removesuffix("d")) > BUDGET_DAYS


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
    known = {metric.name.replace(".", "_") for metric in semconv.METRICS}
    assert names
    assert {name for name in names if not any(name.startswith(each) for each in known)} == set()
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


# The image --------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined.splitlines()]


def copied() -> list[str]:
    """What of the repository is in the image's build."""
    made = []
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            made += rest.split()[:-1]
    return made


def ignored(path: str) -> bool:
    """By .dockerignore: the last pattern that matches counts."""
    is_ignored = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted, pattern = not pattern.startswith("!"), pattern.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        if any(
            fnmatch.fnmatchcase(part, pattern) for part in (parts if "*" in pattern or "__" in pattern else parts[:1])
        ):
            is_ignored = wanted
    return is_ignored


def test_what_the_image_is_made_of_is_there() -> None:
    assert copied()
    for path in copied():
        assert (ROOT / path).exists(), path
        assert not ignored(path), path
    for path in (
        "tests/conftest.py",
        "docs/proxy.md",
        ".git/HEAD",
        ".venv/bin/python",
        "src/streamgauge/__pycache__/x",
    ):
        assert ignored(path), path


def test_the_wheel_is_built_of_that_alone(tmp_path: Path) -> None:
    for path in copied():
        subprocess.run(["cp", "-r", str(ROOT / path), str(tmp_path)], check=True, timeout=30)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len([*(tmp_path / "dist").glob("streamgauge-*.whl")]) == 1


def test_the_image_has_what_the_stack_needs() -> None:
    (run,) = [rest for name, rest in instructions() if name == "RUN"]
    (extras,) = re.findall(r"/source\[([\w,]+)\]", run)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)
    assert {"proxy", "otlp"} <= set(extras.split(","))
    told = dict(instructions())
    assert told["ENTRYPOINT"] == '["streamgauge"]'
    assert told["USER"].split(":")[0] not in ("root", "0")
    bases = {rest.split()[0] for name, rest in instructions() if name == "FROM"}
    assert len(bases) == 1
    assert "-slim-" in bases.pop()


def health_command() -> list[str]:
    (rest,) = [rest for name, rest in instructions() if name == "HEALTHCHECK"]
    words: list[str] = json.loads(rest.partition("CMD ")[2])
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


# For real ---------------------------------------------------------------------------------------------------------


def here(words: list[str], addresses: dict[str, str]) -> list[str]:
    """A container's command, for this machine: its mounts are our files, other services are where they run here."""
    made = []
    for word in map(str, words):
        for there, address in addresses.items():
            word = word.replace(there, address)
        made.append(word.replace("0.0.0.0", "127.0.0.1"))
    return made


async def test_agent_proxy_and_load_as_they_are_started(tmp_path: Path, receiver: Receiver) -> None:
    """Their commands as they stand, but for addresses; then the load's streams are in the proxy's numbers, spans come
    to the collector's path, and the image's health check says what /readyz does."""
    stack = {"/stack": str(FOLDER / "stack")}
    agent = subprocess.Popen(
        [sys.executable, *here([*SERVICES["agent"]["entrypoint"][1:], *SERVICES["agent"]["command"]], stack), "--port", "0"],
        cwd=tmp_path, env=environment(PYTHONDONTWRITEBYTECODE="1"), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert agent.stdout is not None
    try:
        (url,) = re.findall(r"http://\S+", agent.stdout.readline())
        file = tmp_path / "streamgauge.toml"
        file.write_text(
            here([(FOLDER / "stack" / "streamgauge.toml").read_text("utf-8")], {"http://agent:8000": url})[0]
        )
        given = SERVICES["streamgauge"]
        (told,) = [target for target in mounts("streamgauge") if target.endswith(".toml")]
        command = here(given["command"][1:], {told: str(file)})
        variables = dict(
            zip(
                given["environment"],
                here([*given["environment"].values()], {"http://collector:4318": receiver.url}),
                strict=True,
            )
        )
        async with proxy(*command, cwd=tmp_path, **variables) as running:
            health = {"env": environment(OTEL_EXPORTER_PROMETHEUS_PORT=str(running.admin)), "timeout": 20}
            assert subprocess.run(health_command(), **health).returncode == 0  # noqa: ASYNC221
            load = SERVICES["load"]
            words = [*load["entrypoint"][1:], *load["command"]]
            addresses = {
                **stack,
                "http://streamgauge:8080": f"http://127.0.0.1:{running.port}",
                "http://agent:8000": url,
            }
            done = subprocess.run(  # noqa: ASYNC221
                [sys.executable, *here(words, addresses), "--seconds", "3", "--totals"],
                cwd=tmp_path, env=environment(PYTHONDONTWRITEBYTECODE="1"), capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
            ended = sum(json.loads(done.stdout)["streams"].values())
            assert ended > 10

            async def counted() -> bool:
                return (await running.numbers()).sum("streamgauge_streams_total", streamgauge_outcome="completed") > 10

            await until(counted)
            assert (await running.numbers()).sum("streamgauge_proxy_workers") == 2
            assert receiver.traces.get(timeout=20).resource_spans
            assert receiver.metrics.empty()
        refused = subprocess.run(health_command(), stderr=subprocess.DEVNULL, **health)  # noqa: ASYNC221
        assert refused.returncode == 1
    finally:
        agent.terminate()
        agent.wait(20)
        agent.stdout.close()


# The page ---------------------------------------------------------------------------------------------------------

PAGE = (FOLDER / "README.md").read_text("utf-8")


def test_the_page_says_where_everything_is() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\| (?:<?http://localhost:)?([\d, ]+|-)\S* \|$", PAGE, re.MULTILINE))
    published = {
        name: ", ".join(port.rpartition(":")[2] for port in service.get("ports", ())) or "-"
        for name, service in SERVICES.items()
    }
    assert {name: ports.strip() for name, ports in rows.items()} == published


def test_the_pages_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)", PAGE) if "://" not in link]
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []
    for command in re.findall(r"^(?:python|promtool|docker) .*$", PAGE, re.MULTILINE):
        for word in shlex.split(command, comments=True):
            if word.startswith("dashboards/") and "*" not in word:
                assert (ROOT / word).exists(), command
