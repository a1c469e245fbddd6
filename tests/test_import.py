"""Importing streamgauge is cheap and has no effect: no SDK, no optional package, no thread, nothing set up."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import streamgauge
from streamgauge.clients import CLIENTS

SRC = Path(streamgauge.__file__).parent
SDK = {"opentelemetry.sdk", "opentelemetry.exporter", "prometheus_client"}
EXTRAS = {
    "brotli",
    "grpc",
    "google.protobuf",
    "httpx",
    "requests",
    "rich",
    "uvicorn",
    "uvloop",
    "websockets",
    "zstandard",
}
LATE = {"streamgauge.capture", "streamgauge.cli", "streamgauge.replay", "streamgauge.testing"}
SLOW = {"email", "http", "importlib.metadata", "json", "tomllib", "unittest"}
"""Of the standard library: milliseconds each."""
UNLOADED = SDK | EXTRAS | LATE | set(CLIENTS)

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in BLOCKED):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(program: str, blocked: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    if blocked:
        program = f"BLOCKED = {sorted(blocked)!r}\n{BLOCKED}\n{program}"
    # Without site's `.pth` files, which may import anything: the paths are given instead.
    setting = f"import sys; sys.path[:] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", setting + program],
        capture_output=True, text=True, timeout=30, env={"OTEL_SDK_DISABLED": "false"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def loaded(program: str, unwanted: set[str]) -> list[str]:
    modules = run(f"{program}\nimport sys\nprint(*sorted(sys.modules))").split()
    assert "streamgauge.assembly" in modules
    return [module for module in modules if any(module == each or module.startswith(f"{each}.") for each in unwanted)]


def test_the_import_loads_nothing_of_the_sdk_and_no_extra() -> None:
    assert loaded("import streamgauge", UNLOADED | {"streamgauge.telemetry"} | {"asyncio"}) == []


def test_what_is_to_stay_unloaded_is_known_here() -> None:
    """Else its absence would say nothing: what is installed can be found."""
    assert [name for name in sorted(SDK | LATE) if importlib.util.find_spec(name) is None] == []
    assert {"rich", "httpx", "brotli", "zstandard"} <= {
        name for name in EXTRAS if "." not in name and importlib.util.find_spec(name)
    }


def test_a_stream_loads_nothing_of_the_sdk_and_no_extra() -> None:
    program = "import streamgauge\nassert list(streamgauge.wrap(iter('ab'))) == ['a', 'b']"
    assert loaded(program, UNLOADED) == []


def test_the_import_has_no_effect() -> None:
    program = """
import atexit, logging, signal, sys, threading
signals = {number: signal.getsignal(number) for number in signal.valid_signals()}
hooks = sys.excepthook, sys.unraisablehook, threading.excepthook, sys.getprofile(), sys.gettrace()
waiting = atexit._ncallbacks()
import opentelemetry.trace as trace, opentelemetry.metrics._internal as metrics
import opentelemetry.context
others = atexit._ncallbacks() - waiting
import streamgauge
assert threading.enumerate() == [threading.main_thread()]
assert trace._TRACER_PROVIDER is None and metrics._METER_PROVIDER is None
assert {number: signal.getsignal(number) for number in signal.valid_signals()} == signals
assert (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.getprofile(), sys.gettrace()) == hooks
assert logging.getLogger().handlers == [] and logging.getLogger("streamgauge").handlers == []
import concurrent.futures
assert streamgauge.pipeline._pipeline is None
print(atexit._ncallbacks() - waiting - others)
"""
    assert run(program) == "0\n"


def test_it_works_without_any_extra() -> None:
    program = """
import streamgauge
from streamgauge import testing
with testing.recording() as seen:
    assert list(streamgauge.wrap(iter("ab"))) == ["a", "b"]
    print(*seen.tree())
"""
    assert run(program, EXTRAS - {"requests"} | {"opentelemetry.exporter"}) == "invoke_agent\n"


def test_it_works_without_the_sdk() -> None:
    """Where a program has the API alone, streams pass, and its own meters would have the metrics."""
    program = "import streamgauge\nprint(*streamgauge.wrap(iter('ab')))"
    assert run(program, SDK | EXTRAS) == "a b\n"


@pytest.mark.parametrize("module", sorted(file.stem for file in (SRC / "clients").glob("[a-z]*.py")))
def test_a_client_is_imported_without_its_package(module: str) -> None:
    assert run(f"import streamgauge.clients.{module} as it\nprint(*it.__all__)", set(CLIENTS)) == "wrap\n"
