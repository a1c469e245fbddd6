"""Who may import whom: the plan's table, with what docs/decisions/0007 added, held as data. An arrow that is not in it
fails. Imports are read from the source, also those inside functions and for the type checker alone."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import streamgauge

SRC = Path(streamgauge.__file__).parent
AGENTS = {"anthropic", "openai", "aiecs", "jaf", "shipit_agent", "zag", "ziran"}

WORDS = {"endings", "errors", "semconv", "settings", "signals", "wire"}
BELOW = {
    *WORDS, "_version", "aggregates", "capture", "clients", "dialects", "framing", "observers", "recorder", "tap",
    "transports.inprocess",
}  # fmt: skip

TABLE: dict[str, set[str]] = {
    # 0 words
    "wire": set(),
    "semconv": set(),
    "errors": set(),
    "_version": set(),
    "signals": {"wire"},
    "endings": {"wire"},
    "settings": {"errors"},
    # 1 pure
    "framing": {"wire", "errors"},
    "dialects": {"wire", "signals", "semconv"},
    "capture": {"wire", "errors"},
    # 2 sink
    "aggregates": {"semconv"},
    "recorder": {"signals", "semconv", "wire", "aggregates"},
    # 3 guard: the recorder only as a callable that it is given
    "observers": {"wire", "signals"},
    "tap": {*WORDS, "framing", "dialects", "capture"},
    "alike": {"signals", "dialects"},
    "answer": {*WORDS, "framing", "framing.coding", "dialects", "alike"},
    "dialogue": {*WORDS, "dialects"},
    # 4 I/O
    "transports": {"tap", "endings", "wire", "errors", "framing.websocket"},
    "clients": {
        "transports._exchange", "transports.httpx_client", "transports.inprocess", "transports.websocket", "wire",
        "errors",
    },
    # 5 root
    "telemetry": BELOW,
    "pipeline": {*BELOW, "answer", "dialogue", "telemetry", "telemetry.meters", "transports._dropped"},
    "duplex": {*BELOW, "pipeline", "transports._conversation"},
    "httpwatch": {*BELOW, "pipeline", "answer", "transports._exchange"},
    "assembly": {*BELOW, "pipeline", "httpwatch", "duplex", "stdio"},
    "_httpx": {*BELOW, "clients._http", "httpwatch", "transports._exchange", "transports.httpx_client"},
    "httpx": {"_httpx", "transports.httpx_client"},
    "httpx2": {"_httpx", "transports.httpx_client"},
    "asgi": {*BELOW, "pipeline", "duplex", "httpwatch", "recorder", "transports.asgi", "transports._exchange"},
    "_websockets": {"duplex"},
    "websockets": {"_websockets", "errors", "transports.websocket"},
    "proxy": {
        *BELOW, "pipeline", "duplex", "httpwatch", "transports.http", "transports.http.limits",
        "transports.http.routes",
        "telemetry", "telemetry.bounded", "telemetry.prometheus",
    },
    "stdio": {*BELOW, "pipeline", "duplex", "transports.stdio._asyncio"},
    "replay": {*BELOW, "pipeline"},
    "testing": {*BELOW, "pipeline", "transports._dropped"},
    "": {*BELOW, "pipeline", "assembly"},
    "cli": {
        *BELOW, "", "duplex", "pipeline", "stdio", "telemetry", "transports.stdio", "proxy.config", "proxy.process",
        "replay", "testing", "telemetry.bounded", "telemetry.exporters", "telemetry.prometheus",
    },
    "__main__": {"cli"},
}  # fmt: skip
"""Unit: what of ours it may import. A package's own name is its front; a file of it is open to others only by its full
name. `streamgauge` itself is the empty name."""

PEERS = {"dialects", "transports", "clients", "framing"}
"""Packages whose modules do not import each other: only their private helpers, and, in a package below, its own."""

THIRD_PARTY: dict[str, set[str]] = {
    "opentelemetry.trace": {"recorder", "telemetry", "pipeline"},
    "opentelemetry.context": {"recorder", "telemetry", "cli._traces"},
    "opentelemetry.metrics": {"telemetry.meters"},
    "opentelemetry.sdk": {"telemetry", "testing", "cli._traces", "cli._check"},
    "prometheus_client": {"telemetry"},
    "rich": {"cli"},
    "msgspec": {"dialects._dialect"},
    "opentelemetry.propagate": {"recorder.context"},
    "httptools": {"transports.http.reading", "transports.http.upstream"},
    "h2": {"transports.http.http2"},
    "httpx": {"httpx"},
    "httpx2": {"httpx2"},
    "uvloop": {"proxy.process"},
    "websockets": {"websockets", "transports.websocket"},
    **{package: {f"clients.{package}"} for package in AGENTS},
}
"""Module of another package: where it may be imported."""

BY_NAME = {"dialects", "clients", "framing.coding", "cli"}
"""They import what a table of theirs names: dialects, drop-ins, decoders, commands."""


class Import(NamedTuple):
    importer: str
    """Without `streamgauge.`."""
    target: str
    line: int
    nested: bool
    """In a function, or for the type checker alone: not run when the module is imported."""


def named(file: Path) -> str:
    parts = file.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {named(file): file for file in sorted(SRC.rglob("*.py"))}


def is_module(name: str) -> bool:
    ours = name.removeprefix("streamgauge.")
    return ours != name and ours in FILES


def imports(importer: str, source: str) -> list[Import]:
    """All that a module imports, each name as the module that it is or comes from."""
    found: list[Import] = []

    def visit(node: ast.AST, nested: bool) -> None:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = node.module or ""
            if node.level:
                above = f"relative to {importer}"
            full = [f"{above}.{alias.name}" for alias in node.names]
            targets = [name if is_module(name) or above == "opentelemetry" else above for name in full]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            argument = node.args[0]
            targets = [str(argument.value) if isinstance(argument, ast.Constant) else "(by name)"]
        found.extend(Import(importer, target, getattr(node, "lineno", 0), nested) for target in targets)
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inner = inner or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.iter_child_nodes(node):
            visit(child, nested or inner)

    visit(ast.parse(source), False)
    return list(dict.fromkeys(found))


def unit_of(module: str) -> str:
    return module.partition(".")[0]


def within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def fault(arrow: Import) -> str:
    """Why the arrow may not be; empty where it may."""
    importer, target = arrow.importer, arrow.target
    if target == "(by name)":
        return "" if importer in BY_NAME else "it may not import by name"
    if target == "streamgauge" or target.startswith("streamgauge."):
        ours = target.removeprefix("streamgauge").removeprefix(".")
        if unit_of(ours) != unit_of(importer):
            return "" if ours in TABLE[unit_of(importer)] else "the table has no such arrow"
        if unit_of(ours) not in PEERS or importer == unit_of(ours):
            return ""
        peer = ours.split(".")[1]
        return "" if peer.startswith("_") or peer == importer.split(".")[1] else "sideways"
    if target.partition(".")[0] in sys.stdlib_module_names:
        return ""
    places = [places for module, places in THIRD_PARTY.items() if within(target, {module})]
    if not places:
        return "a package that nothing may import"
    if target.partition(".")[0] in AGENTS and not arrow.nested:
        return "an agent's package is imported only where one of its objects is wrapped"
    return "" if any(within(importer, place) for place in places) else "that package is not for this module"


ARROWS = [arrow for module, file in FILES.items() for arrow in imports(module, file.read_text("utf-8"))]


def told(arrow: Import, why: str) -> str:
    return f"{arrow.importer or '__init__'}:{arrow.line} imports {arrow.target}: {why}"


def test_no_arrow_that_is_not_in_the_table() -> None:
    assert [told(arrow, why) for arrow in ARROWS if (why := fault(arrow))] == []


def test_the_table_is_of_what_there_is() -> None:
    assert set(TABLE) == {unit_of(module) for module in FILES}
    assert [target for targets in TABLE.values() for target in sorted(targets) if target not in FILES] == []


def test_no_arrow_goes_upwards() -> None:
    """Neither in the table, nor among the files of a package, other than for the type checker."""
    assert list(
        TopologicalSorter({unit: {unit_of(to) for to in targets} for unit, targets in TABLE.items()}).static_order()
    )
    files: dict[str, set[str]] = {module: set() for module in FILES}
    for arrow in ARROWS:
        target = arrow.target.removeprefix("streamgauge").removeprefix(".")
        if arrow.target.startswith("streamgauge") and not arrow.nested and target != arrow.importer:
            files[arrow.importer].add(target)
    assert list(TopologicalSorter(files).static_order())


@pytest.mark.parametrize("module", ["opentelemetry.sdk", "opentelemetry.trace", "prometheus_client", "rich"])
def test_the_table_of_other_packages_is_of_what_there_is(module: str) -> None:
    importers = {arrow.importer for arrow in ARROWS if within(arrow.target, {module})}
    assert [
        place for place in sorted(THIRD_PARTY[module]) if not any(within(each, {place}) for each in importers)
    ] == []


@pytest.mark.parametrize(
    ("importer", "source", "why"),
    [
        ("dialects.jaf", "from streamgauge.dialects import zag", "sideways"),
        ("dialects._model_calls", "from streamgauge.dialects.jaf import Jaf", "sideways"),
        ("transports.http.relay", "from streamgauge.transports.http import heads", ""),
        ("transports.http.relay", "from streamgauge.transports import inprocess", "sideways"),
        ("dialects.jaf", "from streamgauge import recorder", "the table has no such arrow"),
        ("dialects.jaf", "def f():\n    import streamgauge.tap", "the table has no such arrow"),
        ("dialects.jaf", "from opentelemetry import trace", "that package is not for this module"),
        ("dialects.jaf", "from streamgauge.dialects._dialect import field", ""),
        ("clients.zag", "from streamgauge.clients.jaf import wrap", "sideways"),
        ("clients.zag", "from streamgauge.transports._dropped import dropped", "the table has no such arrow"),
        ("clients.zag", "import zag", "an agent's package is imported only where one of its objects is wrapped"),
        ("clients.zag", "def f():\n    import ziran", "that package is not for this module"),
        ("clients.zag", "def f():\n    from zag.builder import ZagBuilder", ""),
        ("wire", "from streamgauge import __version__", "the table has no such arrow"),
        ("wire", "import importlib\nimportlib.import_module(__name__)", "it may not import by name"),
        ("wire", "import importlib\nimportlib.import_module('streamgauge.tap')", "the table has no such arrow"),
        ("wire", "from . import tap", "a package that nothing may import"),
        ("tap", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from streamgauge.recorder import Stream",
         "the table has no such arrow"),
        ("pipeline", "from streamgauge.recorder.stream import Stream", "the table has no such arrow"),
        ("pipeline", "from opentelemetry.sdk.trace import TracerProvider", "that package is not for this module"),
        ("recorder.stream", "from opentelemetry import trace", ""),
        ("recorder.stream", "import opentelemetry.sdk", "that package is not for this module"),
        ("telemetry", "import requests", "a package that nothing may import"),
        ("telemetry.otlp", "from streamgauge.pipeline import Pipeline", "the table has no such arrow"),
    ],
)  # fmt: skip
def test_an_arrow_is_read_and_judged(importer: str, source: str, why: str) -> None:
    judged = {why for arrow in imports(importer, source) if (why := fault(arrow))}
    assert judged == ({why} if why else set())
