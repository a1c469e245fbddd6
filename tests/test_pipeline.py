"""The pipeline of a process: made when it is needed, replaced by `setup`, closed by `shutdown`, left to the parent
by a fork."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import streamgauge
from streamgauge import pipeline
from streamgauge.errors import FramingError, UnknownDialectError
from streamgauge.wire import Request


@pytest.fixture
def no_pipeline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "STREAMGAUGE_")):
            monkeypatch.delenv(name)
    old = pipeline.use(None)
    yield
    made = pipeline.use(old)
    if made is not None and made.telemetry is not None:
        made.telemetry.shutdown(1.0)


@pytest.mark.logs
def test_a_wrong_variable_does_not_reach_the_stream(
    no_pipeline: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STREAMGAUGE_STALL_AFTER_S", "soon")
    assert list(streamgauge.wrap(iter("ab"))) == ["a", "b"]
    assert [record.getMessage() for record in caplog.records] == [
        "STREAMGAUGE_STALL_AFTER_S: 'soon' is not allowed; it takes a number above 0. Defaults are used instead."
    ]


def test_setup_says_what_is_wrong(no_pipeline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_STALL_AFTER_S", "soon")
    with pytest.raises(streamgauge.SettingsError, match="STREAMGAUGE_STALL_AFTER_S: 'soon' is not allowed"):
        streamgauge.setup()


def test_setup_twice_on_one_port(no_pipeline: None) -> None:
    """The second takes the first one's place; what was counted before is the first one's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for round_ in range(2):
        made = streamgauge.setup(traces_exporter="none", metrics_host="127.0.0.1", metrics_port=port)
        assert made.telemetry.metrics_address == ("127.0.0.1", port)
        assert list(streamgauge.wrap(iter("ab"), agent_name=f"round {round_}")) == ["a", "b"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            text = page.read().decode()
        assert f'gen_ai_agent_name="round {round_}"' in text
        assert f'gen_ai_agent_name="round {round_ - 1}"' not in text


def test_observers_of_before_setup_go_on(no_pipeline: None) -> None:
    import threading

    seen = threading.Event()
    remove = streamgauge.observe(lambda signal, request: seen.set() if request.agent_name == "after" else None)
    streamgauge.setup(traces_exporter="none", metrics_exporter="none")
    assert list(streamgauge.wrap(iter("a"), agent_name="after")) == ["a"]
    assert seen.wait(10)
    remove()


def test_opening_what_is_not_known(seen: Any) -> None:
    with pytest.raises(UnknownDialectError, match="there is no dialect 'morse'; known are generic, "):
        seen.pipeline.open(Request(dialect="morse"))
    with pytest.raises(FramingError, match="there is no framing 'morse'; known are "):
        seen.pipeline.open(Request(), framing="morse")


def test_a_forked_child_tells_of_its_own_streams_only() -> None:
    program = """
import os, sys
import streamgauge
from streamgauge import testing
with testing.recording() as seen:
    mine = streamgauge.wrap(iter("abc"))
    next(mine)
    pid = os.fork()
    if pid == 0:
        theirs = list(streamgauge.wrap(iter("xy")))
        streamgauge.shutdown()
        print("child", theirs, seen.value("streamgauge.streams"), seen.value("streamgauge.streams.active"), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    rest = list(mine)
    print("parent", rest, seen.value("streamgauge.streams"), seen.value("streamgauge.streams.active"), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["child ['x', 'y'] 1 0", "parent ['b', 'c'] 1 0"]
