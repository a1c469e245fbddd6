"""The mirror on a host's meters: with the real SDK as the host, and with nobody there."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from streamgauge import semconv
from streamgauge._version import __version__
from streamgauge.aggregates import Aggregates, Distribution, Point
from streamgauge.telemetry.meters import Mirror
from telemetry.parts import COMMON, NOW, SPAN, clock, observed

CONTEXT = trace.set_span_in_context(NonRecordingSpan(SpanContext(*SPAN, False, TraceFlags(TraceFlags.SAMPLED))))


class Host:
    """A program with a meter provider of its own."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def scope(self) -> Any:
        data = self.reader.get_metrics_data()
        if data is None or not data.resource_metrics:
            return None
        (scope,) = data.resource_metrics[0].scope_metrics
        return scope

    def metrics(self) -> dict[str, Any]:
        scope = self.scope()
        return {metric.name: metric for metric in scope.metrics} if scope else {}


@pytest.fixture
def host() -> Any:
    running = Host()
    yield running
    running.provider.shutdown()


class Counting(Aggregates):
    """Counts how often it is read."""

    reads = 0

    def collect(self, now: int) -> Any:
        self.reads += 1
        return super().collect(now)


def test_histograms(host: Host) -> None:
    mirror = Mirror(host.provider, Aggregates(), semconv.RELEASED, clock)
    mirror(observed(0.3, 4.0), CONTEXT)
    metric = host.metrics()["gen_ai.client.operation.duration"]
    assert (metric.unit, metric.description) == ("s", semconv.OPERATION_DURATION.description)
    (point,) = metric.data.data_points
    assert (point.count, point.sum) == (2, 4.3)
    assert tuple(point.explicit_bounds) == semconv.SECONDS
    assert point.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.agent.name": "helper",
        "server.address": "api.openai.com",
        "streamgauge.dialect": "openai_chat",
        "streamgauge.transport": "inprocess",
        "streamgauge.outcome": "completed",
    }
    assert {(exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars} == {SPAN}


def test_without_a_sampled_span_there_is_no_exemplar(host: Host) -> None:
    Mirror(host.provider, Aggregates(), semconv.RELEASED, clock)(observed(0.3), Context())
    assert host.metrics()["gen_ai.client.operation.duration"].data.data_points[0].exemplars == []


def test_whole_distributions_and_counters_are_not_recorded(host: Host) -> None:
    gaps = Distribution([1] * (len(semconv.GAP_SECONDS) + 1), 5.0)
    points: list[Point] = [
        (semconv.PER_CHUNK, COMMON, gaps, None),
        (semconv.CHUNKS, (*COMMON, "text"), 7, None),
        (semconv.INFERENCE_DURATION, (*COMMON, "", ""), 7, None),  # the other profile's
    ]
    Mirror(host.provider, Aggregates(), semconv.RELEASED, clock)(points, CONTEXT)
    assert host.metrics() == {}


def test_counters_and_gauges_are_read_when_the_host_collects(aggregates: Aggregates, host: Host) -> None:
    mirror = Mirror(host.provider, aggregates, semconv.RELEASED, clock)
    found = host.metrics()
    assert set(found) == {
        "streamgauge.streams", "streamgauge.streams.active", "streamgauge.streams.silent", "streamgauge.stream.oldest",
        "streamgauge.stream.chunks", "streamgauge.stream.bytes", "streamgauge.stream.wait",
        "streamgauge.export.dropped",
    }  # fmt: skip
    chunks = found["streamgauge.stream.chunks"]
    assert chunks.data.is_monotonic
    assert [point.value for point in chunks.data.data_points] == [10]
    assert chunks.data.data_points[0].attributes["kind"] == "text"
    assert [point.value for point in found["streamgauge.stream.oldest"].data.data_points] == [15.0]
    assert not hasattr(found["streamgauge.stream.oldest"].data, "is_monotonic")
    assert found["streamgauge.export.dropped"].data.data_points[0].attributes == {
        "telemetry": "spans",
        "reason": "queue_full",
    }
    assert mirror is not None


def test_a_collection_reads_the_aggregates_once(host: Host) -> None:
    aggregates = Counting()
    now = NOW
    mirror = Mirror(host.provider, aggregates, semconv.RELEASED, lambda: now)
    host.metrics()
    assert aggregates.reads == 1
    now += 99_999_999
    host.metrics()
    assert aggregates.reads == 1
    now += 1
    aggregates.record([(semconv.TAP_ERRORS, ("x",), 3, None)])
    assert host.metrics()["streamgauge.tap.errors"].data.data_points[0].value == 3
    assert aggregates.reads == 2
    assert mirror is not None


def test_the_scope_names_the_profile(host: Host) -> None:
    mirror = Mirror(host.provider, Aggregates(), semconv.DEV, clock)
    mirror([(semconv.INFERENCE_DURATION, (*COMMON, "", ""), 7, None)], CONTEXT)
    scope = host.scope()
    assert (scope.scope.name, scope.scope.version) == ("streamgauge", __version__)
    assert scope.scope.schema_url == semconv.DEV.schema_url
    assert [metric.name for metric in scope.metrics] == ["gen_ai.client.inference.duration"]


@pytest.mark.parametrize("given", ["the stand-in", "nothing"])
def test_a_host_may_come_later(host: Host, given: str) -> None:
    mirror = Mirror(metrics.get_meter_provider() if given == "the stand-in" else None, Aggregates(), clock=clock)
    mirror(observed(1.0), CONTEXT)
    metrics.set_meter_provider(host.provider)
    assert host.metrics() == {}
    mirror(observed(2.0), CONTEXT)
    mirror(observed(3.0), CONTEXT)
    assert host.metrics()["gen_ai.client.operation.duration"].data.data_points[0].sum == 5.0


def test_a_host_that_is_there_already_is_the_global_one(host: Host) -> None:
    metrics.set_meter_provider(host.provider)
    Mirror(None, Aggregates(), clock=clock)(observed(1.0), CONTEXT)
    assert "gen_ai.client.operation.duration" in host.metrics()


def test_nobody_listening_costs_next_to_nothing() -> None:
    points = observed(*[1.0] * 20)
    for mirror in (Mirror(NoOpMeterProvider(), Aggregates()), Mirror(None, Aggregates())):
        assert mirror._histograms == {}
        fastest = float("inf")
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(100):
                mirror(points, CONTEXT)
            fastest = min(fastest, time.perf_counter() - began)
        assert fastest / 100 < 20e-6  # one record alone takes 7; these are 20 points


def test_a_disabled_sdk_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    mirror = Mirror(MeterProvider(shutdown_on_exit=False), Aggregates())
    mirror(observed(1.0), CONTEXT)
    assert mirror._histograms == {}


class Broken:
    """A meter, histogram and provider that fail."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("not today")


@pytest.mark.logs
def test_a_provider_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    mirror = Mirror(Broken(), Aggregates())  # type: ignore[arg-type]
    mirror(observed(1.0), CONTEXT)
    assert caplog.messages == ["telemetry: the meter provider makes no instruments (said once)"]


@pytest.mark.logs
def test_a_point_that_fails_harms_nobody(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    mirror = Mirror(host.provider, Aggregates(), clock=clock)
    for _ in range(2):
        mirror([(semconv.OPERATION_DURATION, ("too", "few"), 1.0, None)], CONTEXT)
    assert caplog.messages == ["telemetry: a meter failed (said once)"]


@pytest.mark.logs
def test_numbers_that_cannot_be_read_harm_nobody(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    class Unreadable(Aggregates):
        def collect(self, now: int) -> Any:
            raise RuntimeError("no numbers today")

    mirror = Mirror(host.provider, Unreadable(), clock=clock)
    assert list(mirror._observe(semconv.STREAMS, CallbackOptions())) == []
    assert host.metrics() == {}
    assert caplog.messages == ["telemetry: the metrics cannot be read (said once)"]


def test_it_needs_the_api_alone() -> None:
    program = """
import sys
for name in ("opentelemetry.sdk", "opentelemetry.exporter", "prometheus_client"):
    sys.modules[name] = None  # an import of it fails
from streamgauge.aggregates import Aggregates
from streamgauge.telemetry.meters import Mirror
Mirror(None, Aggregates())([], None)
"""
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)
