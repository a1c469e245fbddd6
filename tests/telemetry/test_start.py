"""`start`: what the settings set up, beside a host's own set-up, and how it ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamgauge import semconv
from streamgauge._version import __version__
from streamgauge.aggregates import Aggregates
from streamgauge.errors import MissingExtraError, SettingsError
from streamgauge.settings import Settings
from streamgauge.telemetry import Telemetry, bounded, exporters, start
from streamgauge.telemetry.bounded import Call, within
from telemetry.parts import COMMON, Receiver, attributes

Install = Callable[[str, str, str], None]
Starter = Callable[..., Telemetry]


@pytest.fixture
def begin(aggregates: Aggregates, receiver: Receiver) -> Iterator[Starter]:
    """`start`, with what it drops counted in the aggregates; nothing is exported but what is asked for. The receiver
    outlives it."""
    started: list[Telemetry] = []

    def count(telemetry: str, reason: str, amount: int) -> None:
        aggregates.record([(semconv.EXPORT_DROPPED, (telemetry, reason), amount, None)])

    def one(**given: Any) -> Telemetry:
        given = {"traces_exporter": "none", "metrics_exporter": "none", "metrics_host": "127.0.0.1", **given}
        started.append(start(Settings(**{"metrics_port": 0, **given}), aggregates, count))
        return started[-1]

    yield one
    for each in started:
        each.shutdown(5)


def span(telemetry: Telemetry, name: str = "work") -> None:
    telemetry.tracer_provider.get_tracer("test").start_span(name).end()


def dropped(aggregates: Aggregates) -> dict[tuple[str, ...], Any]:
    (family,) = [each for each in aggregates.collect(0) if each.metric is semconv.EXPORT_DROPPED]
    return {labels: value for labels, value in family.series.items() if labels != ("spans", "queue_full")}


# Everything on ------------------------------------------------------------------------------------------------


def test_spans_and_metrics_over_otlp(receiver: Receiver, begin: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=blue,service.name=other")
    telemetry = begin(traces_exporter="otlp", metrics_exporter="otlp", service_name="shop")
    assert telemetry.tracer_provider is trace.get_tracer_provider()
    assert telemetry.metrics_address is None
    span(telemetry)
    assert telemetry.flush(20)
    (spans,) = receiver.traces.get(timeout=20).resource_spans
    (metrics,) = receiver.metrics.get(timeout=20).resource_metrics
    resource = attributes(spans.resource)
    assert resource == attributes(metrics.resource)
    assert (resource["service.name"], resource["team"]) == ("shop", "blue")
    assert resource["telemetry.sdk.name"] == "opentelemetry"
    (scope,) = metrics.scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("streamgauge", __version__)
    assert scope.schema_url == semconv.RELEASED.schema_url


def test_the_page_is_served(begin: Starter) -> None:
    telemetry = begin(metrics_exporter="prometheus", service_name="shop")
    assert telemetry.metrics_address is not None
    host, port = telemetry.metrics_address
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'service_name="shop"' in text
    assert "# TYPE gen_ai_client_operation_duration_seconds histogram" in text
    telemetry.shutdown(5)
    assert telemetry.metrics_address is None
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10)


def test_the_page_without_a_server(begin: Starter) -> None:
    telemetry = begin()
    rendered = telemetry.render("application/openmetrics-text")
    assert rendered is not None
    assert rendered[0].endswith(b"# EOF\n")
    assert rendered[1].startswith("application/openmetrics-text")


def test_service_name_of_the_environment(begin: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other")
    rendered = begin().render()
    assert rendered is not None
    assert b'service_name="other"' in rendered[0]


EXPORTER = """
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
class Exporter(InMemorySpanExporter):
    made = []
    def __init__(self):
        super().__init__()
        self.made.append(self)
"""


def test_any_installed_exporter(begin: Starter, install: Install, aggregates: Aggregates) -> None:
    install("traces", "memory", EXPORTER)
    telemetry = begin(traces_exporter="memory, memory")
    span(telemetry)
    assert telemetry.flush(20)
    made = exporters.installed("traces")["memory"].load().made
    assert [[finished.name for finished in each.get_finished_spans()] for each in made] == [["work"]]
    assert dropped(aggregates) == {}


# Beside a host ------------------------------------------------------------------------------------------------


def test_a_hosts_provider_is_used_and_stays(begin: Starter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "streamgauge")
    memory = InMemorySpanExporter()
    host = TracerProvider(resource=Resource({"service.name": "host"}), shutdown_on_exit=False)
    host.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(host)
    telemetry = begin(traces_exporter="no such exporter, but it is not used")
    assert telemetry.tracer_provider is host
    assert trace.get_tracer_provider() is host
    rendered = telemetry.render()
    assert rendered is not None
    assert b'service_name="host"' in rendered[0]
    assert telemetry.flush(5)
    telemetry.shutdown(5)
    host.get_tracer("host").start_span("later").end()
    assert [finished.name for finished in memory.get_finished_spans()] == ["later"]
    host.shutdown()
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: spans go to the program's own tracer provider; OTEL_TRACES_EXPORTER is not used"
    ]


def test_without_an_exporter_a_host_may_come_later(begin: Starter) -> None:
    telemetry = begin()
    tracer = telemetry.tracer_provider.get_tracer("test")
    assert not tracer.start_span("before").is_recording()
    host = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(host)
    assert tracer.start_span("after").is_recording()
    assert telemetry.flush(5)
    host.shutdown()


@pytest.mark.parametrize("order", ["after the first", "before the first is shut down"])
def test_a_second_start_does_not_take_the_first_for_a_host(
    begin: Starter, install: Install, caplog: pytest.LogCaptureFixture, order: str
) -> None:
    caplog.set_level("INFO", "streamgauge")
    install("traces", "memory", EXPORTER)
    first = begin(traces_exporter="memory")
    if order == "after the first":
        first.shutdown(5)
    second = begin(traces_exporter="memory")
    first.shutdown(5)
    assert second.tracer_provider is not first.tracer_provider
    span(second)
    assert second.flush(20)
    made = exporters.installed("traces")["memory"].load().made
    assert [len(each.get_finished_spans()) for each in made] == [0, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: an earlier set-up's tracer provider stays the global one; only streamgauge's spans go here"
    ]


def test_disabled_is_still_usable(begin: Starter) -> None:
    telemetry = begin(disabled=True, traces_exporter="otlp", metrics_exporter="otlp,prometheus", metrics_port=1)
    assert not telemetry.tracer_provider.get_tracer("test").start_span("nothing").is_recording()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert telemetry.metrics_address is None
    assert telemetry.render() is None
    assert telemetry.flush(1)
    telemetry.shutdown(1)


def test_importing_the_package_imports_no_sdk() -> None:
    program = """
import sys
import streamgauge
assert "streamgauge.telemetry" not in sys.modules
import streamgauge.telemetry.meters
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "prometheus"))])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout == "[]\n"


# Settings that cannot be --------------------------------------------------------------------------------------


def test_an_unknown_exporter_is_told_with_those_there_are(begin: Starter) -> None:
    with pytest.raises(SettingsError, match=r"^OTEL_TRACES_EXPORTER: .*'zipkin'.* console, none, otlp"):
        begin(traces_exporter="zipkin")
    with pytest.raises(SettingsError, match=r"^OTEL_METRICS_EXPORTER: .*'zipkin'.* console, none, otlp.*, prometheus"):
        begin(metrics_exporter="zipkin")


@pytest.mark.parametrize("name", ["otlp", "otlp_proto_http"])
def test_otlp_that_is_not_installed_is_an_extra(begin: Starter, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(exporters, "entry_points", lambda group: [])
    with pytest.raises(MissingExtraError, match=r"OTLP export needs an extra: pip install 'streamgauge\[otlp\]'"):
        begin(traces_exporter=name)


def test_otlp_that_cannot_be_imported_is_an_extra(install: Install) -> None:
    install("traces", "otlp_proto_http", "import a_package_that_is_missing")
    with pytest.raises(MissingExtraError):
        exporters.load("traces", "otlp", object)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import a_package_that_is_missing", "'odd' cannot be imported: No module named 'a_package_that_is_missing'"),
        ("def Exporter(): raise ValueError('no endpoint')", "'odd' cannot be set up: no endpoint"),
        ("class Exporter: pass", "'odd' is no SpanExporter"),
    ],
)
def test_an_exporter_that_does_not_work_is_told(begin: Starter, install: Install, source: str, problem: str) -> None:
    install("traces", "odd", source)
    with pytest.raises(SettingsError, match=problem):
        begin(traces_exporter="odd")


@pytest.mark.parametrize(
    ("variables", "module"),
    [
        ({}, "proto.http"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "proto.http"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "proto.grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_{}_PROTOCOL": "http/protobuf"}, "proto.http"),
        ({"OTEL_EXPORTER_OTLP_{}_PROTOCOL": "grpc"}, "proto.grpc"),
    ],
)
@pytest.mark.parametrize("kind", ["traces", "metrics"])
def test_protocol(monkeypatch: pytest.MonkeyPatch, kind: str, variables: dict[str, str], module: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name.format(kind.upper()), value)
    exporter = exporters.load(kind, "otlp", object)
    assert f".{module}." in type(exporter).__module__
    exporter.shutdown()


def test_an_unknown_protocol_is_told_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' .* http/protobuf or grpc"):
        exporters.load("metrics", "otlp", object)


def test_what_fails_leaves_nothing_behind(begin: Starter, install: Install) -> None:
    install("traces", "ending", EXPORTER + "    def shutdown(self):\n        self.over = True\n")
    install("metrics", "ending", "from opentelemetry.sdk.metrics.export import ConsoleMetricExporter as Exporter")
    before = threading.active_count()
    taken = begin(metrics_exporter="prometheus").metrics_address
    assert taken is not None
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_PROMETHEUS_PORT"):
        begin(traces_exporter="ending", metrics_exporter="ending,prometheus", metrics_port=taken[1])
    (made,) = exporters.installed("traces")["ending"].load().made
    assert made.over
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert threading.active_count() == before + 1  # the first page's


# Ends ---------------------------------------------------------------------------------------------------------

HANGS = """
import threading
{imports}
class Exporter({base}):
    gate = threading.Event()
    def export(self, *args, **kwargs):
        self.gate.wait(60)
        return {result}.SUCCESS
    def shutdown(self, *args, **kwargs):
        self.gate.wait(60)
    def force_flush(self, *args, **kwargs):
        return True
"""
HANGING_SPANS = HANGS.format(
    imports="from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult",
    base="SpanExporter",
    result="SpanExportResult",
)
HANGING_METRICS = HANGS.format(
    imports="from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult",
    base="MetricExporter",
    result="MetricExportResult",
)


@pytest.mark.logs
@pytest.mark.parametrize("hanging", ["traces", "metrics"])
def test_what_hangs_bounds_flush_and_shutdown_and_the_other_gets_out(
    begin: Starter, install: Install, receiver: Receiver, caplog: pytest.LogCaptureFixture, hanging: str
) -> None:
    install(hanging, "hanging", HANGING_SPANS if hanging == "traces" else HANGING_METRICS)
    other = "metrics" if hanging == "traces" else "traces"
    telemetry = begin(**{f"{hanging}_exporter": "hanging", f"{other}_exporter": "otlp"})
    span(telemetry)
    began = time.monotonic()
    assert not telemetry.flush(2)
    getattr(receiver, other).get(timeout=20)
    telemetry.shutdown(1)
    assert time.monotonic() - began < 10
    assert "telemetry: not everything was exported in the 1 s that shutting down may take" in caplog.messages
    exporters.installed(hanging)["hanging"].load().gate.set()


@pytest.mark.logs
@pytest.mark.parametrize("order", ["hanging,otlp", "otlp,hanging"])
def test_one_exporter_of_spans_does_not_wait_for_another(
    begin: Starter, install: Install, receiver: Receiver, order: str
) -> None:
    install("traces", "hanging", HANGING_SPANS)
    telemetry = begin(traces_exporter=order)
    span(telemetry)
    assert not telemetry.flush(1)
    receiver.traces.get_nowait()
    span(telemetry)
    telemetry.shutdown(1)
    receiver.traces.get_nowait()
    exporters.installed("traces")["hanging"].load().gate.set()


def test_after_shutdown_nothing_more_happens(begin: Starter, receiver: Receiver) -> None:
    telemetry = begin(traces_exporter="otlp", metrics_exporter="otlp")
    telemetry.shutdown(20)
    count = receiver.metrics.qsize()
    assert count == 1
    telemetry.shutdown(20)
    assert not telemetry.flush(20)
    assert receiver.metrics.qsize() == count


@pytest.mark.logs
def test_what_was_dropped_is_on_the_page(
    begin: Starter, install: Install, aggregates: Aggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    install("traces", "hanging", HANGING_SPANS)
    telemetry = begin(traces_exporter="hanging")
    for _ in range(4 + 4 + 20):  # at most four are on their way, and four wait
        span(telemetry)
    rendered = telemetry.render()
    assert rendered is not None
    (line,) = [line for line in rendered[0].decode().splitlines() if 'telemetry="spans"' in line]
    assert float(line.split()[-1]) >= 2 + 20  # two were there before
    exporters.installed("traces")["hanging"].load().gate.set()


@pytest.mark.logs
def test_failures_are_counted(begin: Starter, aggregates: Aggregates, receiver: Receiver) -> None:
    receiver.status = 400
    telemetry = begin(traces_exporter="otlp", metrics_exporter="otlp")
    span(telemetry)
    assert not telemetry.flush(20)
    assert dropped(aggregates)["spans", "export_failed"] == 1
    assert dropped(aggregates)["metrics", "export_failed"] >= 13


PROGRAM = """
import sys, threading
from streamgauge import semconv
from streamgauge.aggregates import Aggregates
from streamgauge.settings import load
from streamgauge.telemetry import start
aggregates = Aggregates()
telemetry = start(load(), aggregates, lambda *dropped: None)
telemetry.tracer_provider.get_tracer("x").start_span("last").end()
aggregates.record([(semconv.TAP_ERRORS, ("x",), 1, None)])
{more}
"""


def test_a_program_that_just_ends_loses_nothing(receiver: Receiver) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM.format(more="")], timeout=30, check=True)
    (spans,) = receiver.traces.get_nowait().resource_spans
    assert spans.scope_spans[0].spans[0].name == "last"
    (metrics,) = receiver.metrics.get_nowait().resource_metrics
    assert metrics.scope_metrics[0].metrics[0].name == "streamgauge.tap.errors"


def test_a_program_ends_in_time_whatever_hangs(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_SHUTDOWN_TIMEOUT_S", "0.5")
    hang = "for exporter in telemetry._exports: exporter._exporter.export = lambda *_, **__: threading.Event().wait()"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(more=hang)],
        timeout=20, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "not everything was exported in the 0.5 s" in run.stderr


def test_a_forked_child_ends_for_itself(begin: Starter, receiver: Receiver) -> None:
    more = """
import os
tracer = telemetry.tracer_provider.get_tracer("x")
telemetry.flush(20)
if os.fork() == 0:
    tracer.start_span("the child's").end()
    aggregates.record([(semconv.TAP_ERRORS, ("x",), 10, None)])
    sys.exit()  # runs what is registered for the end
os.wait()
tracer.start_span("after the child").end()
"""
    subprocess.run([sys.executable, "-c", PROGRAM.format(more=more)], timeout=30, check=True)
    names = [
        (each.name, attributes(resource.resource)["service.instance.id"])
        for request in list(receiver.traces.queue)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for each in scope.spans
    ]
    assert [name for name, _ in names] == ["last", "the child's", "after the child"]
    parent, child, after = (instance for _, instance in names)
    assert parent == after != child
    counted = [
        (attributes(resource.resource)["service.instance.id"], point.as_int)
        for request in list(receiver.metrics.queue)
        for resource in request.resource_metrics
        for point in resource.scope_metrics[0].metrics[0].sum.data_points
    ]
    assert counted == [(parent, 1), (child, 10), (parent, 1)]


# Bounded calls ------------------------------------------------------------------------------------------------


def test_within() -> None:
    assert within(20, lambda: None)
    assert within(20, lambda: True)
    assert not within(20, lambda: False)
    assert not within(0.01, lambda: threading.Event().wait(1))


@pytest.mark.logs
def test_within_takes_what_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    assert not within(20, lambda: 1 / 0)
    assert len(caplog.records) == 1


def no_more(self: threading.Thread) -> None:
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_calls_are_bounded_also_where_no_thread_starts_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "NO_THREADS_AT_EXIT", True)
    monkeypatch.setattr(bounded, "_spares", [])
    bounded.prepare()
    gate = threading.Event()
    monkeypatch.setattr(threading.Thread, "start", no_more)
    assert not within(0.01, gate.wait)
    assert within(20, lambda: True)  # one of them is still there
    assert not within(0.01, gate.wait)
    assert not within(0.01, lambda: True)
    gate.set()
    assert within(20, lambda: True)


def test_a_call_without_any_thread_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "_spares", [])
    monkeypatch.setattr(threading.Thread, "start", no_more)
    call = Call(threading.get_ident)
    assert call.over
    assert call.ok


assert len(COMMON) == 7
