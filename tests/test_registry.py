"""The tables are the folders: what is there is registered, under its own name, with all that belongs to it."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import streamgauge
from streamgauge import clients, dialects, framing
from streamgauge.capture import read
from streamgauge.dialects import Dialect
from streamgauge.framing import coding
from streamgauge.wire import Granularity

SRC = Path(streamgauge.__file__).parent
ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"


def public(folder: str) -> set[str]:
    """The modules of a folder that are not private."""
    return {file.stem for file in (SRC / folder).glob("[a-z]*.py")}


def page_of(module: str) -> Path:
    return ROOT / "docs" / "how-to" / f"{module.replace('_', '-')}.md"


# Dialects ---------------------------------------------------------------------------------------------------------


def dialect(name: str) -> type[Dialect]:
    kind = dialects.find(name)
    assert kind is not None
    return kind


def module_of(name: str) -> str:
    return dialects.BUILT_IN[name].partition(":")[0].rpartition(".")[2]


@cache
def captured() -> set[str]:
    """The dialects that there are captures of."""
    return {read(file).request.dialect for file in (TESTS / "captures").glob("*.ndjson")}


def test_every_dialect_is_registered() -> None:
    found = {
        f"{kind.__module__}:{kind.__qualname__}"
        for module in public("dialects")
        for kind in vars(importlib.import_module(f"streamgauge.dialects.{module}")).values()
        if inspect.isclass(kind) and issubclass(kind, Dialect) and kind.__module__.endswith(f".{module}")
    }
    assert set(dialects.BUILT_IN.values()) == found
    assert {module_of(name) for name in dialects.BUILT_IN} == public("dialects")


@pytest.mark.parametrize("name", dialects.BUILT_IN)
def test_a_dialect_is_what_it_says(name: str) -> None:
    kind = dialect(name)
    assert issubclass(kind, Dialect)
    assert kind.name == name
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    assert name.partition("-")[0] == module_of(name).partition("_")[0]
    assert kind.system
    assert isinstance(kind.granularity, Granularity)
    assert kind.framing in framing.FRAMINGS
    assert kind.events
    assert all(event and becomes for event, becomes in kind.events.items())
    assert not hasattr(kind(), "__dict__"), "it has slots: one is made for each stream"


@pytest.mark.parametrize("name", sorted(set(dialects.BUILT_IN) - {"generic", "generic-messages"}))
def test_a_system_has_a_how_to_a_capture_and_tests(name: str) -> None:
    assert page_of(module_of(name)).is_file()
    assert name in captured()
    assert (TESTS / "dialects" / f"test_{module_of(name)}.py").is_file()


def test_captures_are_of_dialects_that_there_are() -> None:
    assert captured() <= set(dialects.BUILT_IN)


def test_the_demo_shows_every_dialect() -> None:
    demo = {json.loads(file.read_text("utf-8").splitlines()[0])["dialect"] for file in (SRC / "demo").glob("*.ndjson")}
    assert demo == set(dialects.BUILT_IN)


@pytest.mark.parametrize("name", dialects.BUILT_IN)
def test_a_dialects_paths_are_its_own(name: str) -> None:
    """A path that two could claim goes to the first in the table: what a dialect was recorded at is read by it."""
    wires = [json.loads(file.read_text("utf-8")) for file in sorted((TESTS / "wire").glob(f"{name}-*.http.json"))]
    paths = {told["request"]["path"].partition("?")[0] for told in wires if told["dialect"] == name}
    claimed = {path for path in paths if any(re.search(pattern, path) for pattern in dialect(name).paths)}
    assert {dialects.by_path(path) for path in claimed} <= {name}
    assert claimed or not (paths and dialect(name).paths)


# Clients ----------------------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """Where a client's package is dealt with."""

    package: str
    """Its requirement in the extra `interop`, or, of an HTTP client, in `interop-sdks`; `streamgauge[proxy]` has it."""
    page: str
    tests: str
    module: str = ""
    """Where it is another than the package's."""
    dialects: bool = True
    """Its source names them; else each request's path does."""


CLIENTS = {
    "ziran": Kept("ziran", "ziran", "interop/test_ziran.py"),
    "zag": Kept("zag-agent", "zag", "interop/test_zag.py"),
    "jaf": Kept("jaf-py", "jaf", "interop/test_jaf.py"),
    "shipit_agent": Kept("shipit-agent", "shipit-agent", "interop/test_shipit_agent.py"),
    "aiecs": Kept("aiecs", "aiecs", "interop/test_aiecs.py"),
    "openai": Kept("openai>=3", "openai-chat", "interop_sdks/openai_calls.py", dialects=False),
    "anthropic": Kept("anthropic>=2", "anthropic", "interop_sdks/anthropic_calls.py", dialects=False),
    "httpx": Kept("streamgauge[proxy]", "httpx", "clients/test_http_clients.py", dialects=False),
    "httpx2": Kept("streamgauge[proxy]", "httpx", "clients/test_http_clients.py", module="httpx", dialects=False),
    "websockets": Kept("streamgauge[proxy]", "websockets", "interop_sdks/test_websockets.py", dialects=False),
}


def test_every_client_is_registered() -> None:
    assert set(clients.CLIENTS) == set(CLIENTS)
    modules = {package: kept.module or package for package, kept in CLIENTS.items()}
    assert {package: f"streamgauge.clients.{module}" for package, module in modules.items()} == clients.CLIENTS
    assert set(modules.values()) == public("clients")


@pytest.mark.parametrize("package", clients.CLIENTS)
def test_a_client_wraps_and_has_a_how_to_and_tests(package: str) -> None:
    module = importlib.import_module(clients.CLIENTS[package])
    kept = CLIENTS[package]
    assert list(inspect.signature(module.wrap).parameters) == ["obj", "gauge"]
    assert bool(module_dialects(module)) == kept.dialects
    page = page_of(kept.page).read_text("utf-8")
    assert "streamgauge.wrap(" in page
    assert f"import {package}" in page or f"from {package}" in page
    assert package in (TESTS / kept.tests).read_text("utf-8")


def module_dialects(module: object) -> set[str]:
    """The names of dialects in a client's source."""
    source = inspect.getsource(module)  # type: ignore[arg-type]
    return {name for name in dialects.BUILT_IN if f'"{name}"' in source}


@pytest.mark.parametrize("package", clients.CLIENTS)
def test_every_client_is_in_an_interop_environment(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = "interop" if CLIENTS[package].dialects else "interop-sdks"
    assert CLIENTS[package].package in project["optional-dependencies"][extra]


# Framings, codings, the command -----------------------------------------------------------------------------------


def test_every_framing_is_registered() -> None:
    modules = {name: name.replace("-", "_") for name in framing.FRAMINGS} | {"json": "json_array"}  # not the library's
    assert {*modules.values(), "coding", "websocket"} == public("framing")  # what a connection is made of
    for name, kind in framing.FRAMINGS.items():
        assert kind.__module__ == f"streamgauge.framing.{modules[name]}"
        assert framing.find(name) is kind
    assert framing.find("morse") is None


def test_every_coding_can_be_made() -> None:
    assert {"br", "deflate", "gzip", "zstd"} <= set(coding.CODINGS)
    for name in coding.CODINGS:
        assert coding.decoder(name) is not None


def test_the_command_and_the_entry_point_group_are_where_they_are_said_to_be() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["scripts"]["streamgauge"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert f'entry-points."{dialects.ENTRY_POINT_GROUP}"' in page_of("outside_dialect").read_text("utf-8")


# Command lines ----------------------------------------------------------------------------------------------------


def test_every_dialect_of_a_program_says_what_is_in_its_command_lines() -> None:
    claiming = {name for name in dialects.BUILT_IN if dialect(name).commands}
    assert set(dialects.PROGRAMS) == claiming


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("claude -p 'Fix it' --output-format stream-json --verbose", "claude-code"),
        ("npx -y @anthropic-ai/claude-code -p x --output-format=stream-json", "claude-code"),
        ("codex exec --json 'Fix it'", "codex"),
        ("gemini -p x --output-format stream-json", "gemini-cli"),
        ("opencode run --format json x", "opencode"),
        ("copilot -p x --output-format json", "copilot-cli"),
        ("zag -o stream-json exec x", "zag-wire"),
        ("gemini --experimental-acp", "acp"),
        ("npx -y mcp-server-git", "mcp-stdio"),
        ("npx -y @modelcontextprotocol/server-filesystem /tmp", "mcp-stdio"),
        ("claude -p x", None),
        ("cat claude", None),
    ],
)
def test_a_command_line_is_claimed_by_its_dialect(line: str, name: str | None) -> None:
    assert dialects.by_command(line) == name
