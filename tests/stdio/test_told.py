"""What `streamgauge exec` tells: to a collector, and how long it waits for one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stdio.running import EXEC, asides, done, ending, environment, python, running
from streamgauge import capture, testing
from streamgauge.replay import replay

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WATCHING = EXEC[:4]
BOUND_S = 2.0


class Collector(ThreadingHTTPServer):
    """Takes spans over HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[Any] = []
        outer = self

        class Takes(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                        outer.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Takes)

    @property
    def variables(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        # What is exported is looked at here, not how soon: the exporter is loaded first, on a machine that is busy.
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "STREAMGAUGE_SHUTDOWN_TIMEOUT_S": "20"}

    def facts(self, name: str) -> tuple[Any, dict[str, Any]]:
        (span,) = [span for span in self.spans if span.name.startswith(name)]
        values = {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}
        return span, values


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("sampler", ["", "parentbased_always_on"])
def test_the_trace_goes_through(sampler: str, collector: Collector, tmp_path: Path) -> None:
    env = environment(**collector.variables, TRACEPARENT=PARENT, TRACESTATE="a=b", OTEL_TRACES_SAMPLER=sampler)
    code, out, err = done("sh", "-c", "echo $TRACEPARENT; echo $TRACESTATE; exit 3", cwd=tmp_path, before=WATCHING,
                          env=env)  # fmt: skip
    assert (code, err) == (3, b"")
    version, trace, span, flags = out.split()[0].decode().split("-")
    assert (version, trace, flags) == ("00", PARENT[3:35], "01")
    assert out.split()[1] == b"a=b"
    session, told = collector.facts("session sh")
    assert (session.trace_id.hex(), session.span_id.hex(), session.parent_span_id.hex()) == (trace, span, PARENT[36:52])
    assert told["process.exit.code"] == 3
    assert (told["streamgauge.outcome"], told["error.type"], told["streamgauge.transport"]) == (
        "failed", "exit_3", "stdio",
    )  # fmt: skip
    run, _ = collector.facts("invoke_agent")
    assert run.parent_span_id == session.span_id


def test_a_trace_of_its_own(collector: Collector, tmp_path: Path) -> None:
    out = done("sh", "-c", "echo $TRACEPARENT", cwd=tmp_path, before=WATCHING, env=environment(**collector.variables))[
        1
    ]
    session, _ = collector.facts("session sh")
    assert out.decode().strip() == f"00-{session.trace_id.hex()}-{session.span_id.hex()}-01"
    assert session.parent_span_id == b""


def test_what_is_not_sampled_stays_so(collector: Collector, tmp_path: Path) -> None:
    env = environment(**collector.variables, TRACEPARENT=PARENT[:-2] + "00")
    out = done("sh", "-c", "echo $TRACEPARENT", cwd=tmp_path, before=WATCHING, env=env)[1]
    assert out.startswith(PARENT[:36].encode())
    assert out.endswith(b"-00\n")
    assert collector.spans == []


def test_without_spans_the_context_goes_through_as_it_is(tmp_path: Path) -> None:
    env = environment(TRACEPARENT=PARENT)
    assert done("sh", "-c", "echo $TRACEPARENT", cwd=tmp_path, env=env)[1] == f"{PARENT}\n".encode()


def test_a_dialect_of_one_run_has_one_for_the_process(collector: Collector, tmp_path: Path) -> None:
    env = environment(**collector.variables)
    say = '{"type":"error","message":"x","details":{"type":"overloaded"}}'
    before = (*WATCHING, "--dialect", "zag")
    assert done("sh", "-c", f"echo '{say}'", cwd=tmp_path, before=before, env=env)[0] == 0
    _, told = collector.facts("invoke_agent sh")
    assert (told["streamgauge.dialect"], told["error.type"]) == ("zag", "overloaded")


def dead() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@pytest.mark.parametrize("kind", ["dead", "hanging"])
def test_the_end_does_not_wait_for_a_collector(kind: str, tmp_path: Path) -> None:
    """For longer than its bound: the command's end, to ours."""
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        port = hanging.getsockname()[1] if kind == "hanging" else dead()
        env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        program = python(
            "import os, sys, time; sys.stdin.read(); os.write(1, b'%d' % time.monotonic_ns()); os._exit(9)"
        )
        with running(*program, cwd=tmp_path, before=WATCHING, env=env, stdin=-1) as process:
            out, err = process.communicate(b"", timeout=30)
            ended = time.monotonic_ns()
        assert (process.returncode, err) == (9, b"")
        assert (ended - int(out)) / 1e9 < BOUND_S + 1.5, "and what a busy machine needs"


def test_the_bound_can_be_said(tmp_path: Path) -> None:
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        endpoint = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, STREAMGAUGE_SHUTDOWN_TIMEOUT_S="0.1")
        program = python("import os, sys, time; time.sleep(1.5); os.write(1, b'%d' % time.monotonic_ns())")
        _, out, _ = done(*program, cwd=tmp_path, before=WATCHING, env=env)
        assert (time.monotonic_ns() - int(out)) / 1e9 < 1.5


@pytest.mark.parametrize("script", ["echo a; echo b; exit 0", "echo a; exit 4", "read x; echo $x; kill -9 $$"])
def test_a_capture_replays_as_it_was(script: str, collector: Collector, tmp_path: Path) -> None:
    env = environment(**collector.variables)
    done("bash", "-c", script, cwd=tmp_path, env=env, said=b"hello\n")
    with testing.recording() as again:
        replay(capture.read(tmp_path / "capture.ndjson"), again.pipeline)
    live = sorted((span.name, span.end_time_unix_nano - span.start_time_unix_nano) for span in collector.spans)
    assert sorted((span["name"], span["end"] - span["start"]) for span in again.spans) == live
    for span in again.spans:
        _, told = collector.facts(span["name"].split()[0])
        assert {name: span["attributes"].get(name) for name in ("streamgauge.outcome", "error.type")} == {
            name: told.get(name) for name in ("streamgauge.outcome", "error.type")
        }
    assert ending(tmp_path)["outcome"] == ("completed" if "exit 0" in script else "failed")
    assert asides(tmp_path)[-1][0] == "exited"
