"""The image: made of what is there, and what is started from it in the stack runs, and is found healthy."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import re
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from composed import FOLDER, ROOT, SERVICES, loaded, mounts
from proxy.running import Caller, environment, proxy, until
from telemetry.parts import Receiver

LINKS = "exemplarTraceIdDestinations"


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
    """By .dockerignore: the last pattern that matches the path, or a folder that it is in, counts."""
    folders = [path, *(str(parent) for parent in Path(path).parents)]
    is_ignored = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if pattern and not pattern.startswith("#"):
            deep = pattern.startswith("**/")
            names = [Path(each).name for each in folders] if deep else folders
            if any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
                is_ignored = not line.startswith("!")
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
    (wheel,) = (tmp_path / "dist").glob("streamgauge-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "streamgauge/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


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


def here(words: Sequence[str], addresses: Mapping[str, str]) -> list[str]:
    """What a container is told, for this machine: its mounts are our files, other services are where they run here."""
    made = []
    for word in words:
        for there, address in addresses.items():
            word = word.replace(there, address)
        made.append(word.replace("0.0.0.0", "127.0.0.1"))
    return made


def program(service: str, addresses: Mapping[str, str], *more: str) -> list[str]:
    """The command of one that runs a program of the stack's folder."""
    given = SERVICES[service]
    python, *words = [*given["entrypoint"], *given["command"], *more]
    assert python == "python"
    return [sys.executable, *here(words, {"/stack": str(FOLDER / "stack"), **addresses})]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """In the collector's place."""
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """Its URL."""
    process = subprocess.Popen(
        program("agent", {}, "--port", "0"), cwd=tmp_path, env=environment(PYTHONDONTWRITEBYTECODE="1"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield re.findall(r"http://\S+", process.stdout.readline())[0]
    process.terminate()
    process.wait(20)
    process.stdout.close()


def test_the_agent_takes_the_faults_of_the_page(agent: str) -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    kinds = [json.loads(body)["kind"] for body in re.findall(r"-d '(\{.*?\})' http://localhost:8000/fault", page)]
    kinds += re.findall(r"`(\w+)`", page.partition("The other kinds are ")[2].partition(".")[0])
    assert len(set(kinds)) == 5
    for kind in kinds:
        assert httpx.post(f"{agent}/fault", json={"kind": kind}).status_code == 200, kind
    assert httpx.post(f"{agent}/fault", json={"kind": "no such"}).status_code == 400


async def test_what_the_stack_starts_runs_and_is_healthy(tmp_path: Path, agent: str, receiver: Receiver) -> None:
    """The commands as they stand, but for addresses: what the load has asked for is in the proxy's numbers, spans come
    to the collector, and the image's health check says what /readyz does."""
    given = SERVICES["streamgauge"]
    file = tmp_path / "streamgauge.toml"
    ((mounted, settings),) = mounts("streamgauge").items()
    assert isinstance(settings, Path)
    file.write_text(settings.read_text("utf-8").replace("http://agent:8000", agent))
    addresses = {mounted: str(file), "http://collector:4318": receiver.url}
    variables = {name: here([value], addresses)[0] for name, value in given["environment"].items()}
    async with proxy(*here(given["command"][1:], addresses), cwd=tmp_path, **variables) as running:
        variables = environment(OTEL_EXPORTER_PROMETHEUS_PORT=str(running.admin), PYTHONDONTWRITEBYTECODE="1")

        async def code(command: Sequence[str]) -> int:
            async with asyncio.timeout(30):
                process = await asyncio.create_subprocess_exec(
                    *command, cwd=tmp_path, env=variables, stderr=asyncio.subprocess.DEVNULL
                )
                return await process.wait()

        async def counted() -> bool:
            numbers = await running.numbers()
            return numbers.sum("streamgauge_streams_total", streamgauge_outcome="completed") > 10

        assert await code(health_command()) == 0
        addresses = {"http://streamgauge:8080": f"http://127.0.0.1:{running.port}", "http://agent:8000": agent}
        assert await code(program("load", addresses, "--seconds", "3")) == 0
        assert await until(counted)
        assert (await running.numbers()).sum("streamgauge_proxy_workers") == 2
        assert receiver.traces.get(timeout=20).resource_spans
        assert receiver.metrics.empty()  # Prometheus scrapes them
        (link,) = loaded("provisioning", "datasources", "streamgauge.yml")["datasources"][0]["jsonData"][LINKS]
        assert re.search(rf'# \{{[^}}]*\b{link["name"]}="[0-9a-f]{{32}}"', (await running.numbers()).text)
        caller = await Caller.ask(running.port, headers="x-script: stall=60\r\n")

        async def is_open() -> bool:
            return (await running.numbers()).sum("streamgauge_streams_active") == 1

        await until(is_open)
        running.tell(signal.SIGTERM)
        await running.draining()
        assert await code(health_command()) == 1  # it answers, and takes no more callers
        running.tell(signal.SIGTERM)
        assert await running.ended() == 128 + signal.SIGTERM
        assert await caller.rest()
        assert await code(health_command()) == 1
