"""Metrics over OTLP: to a real receiver, the same numbers as on the page, and exporters that misbehave in every way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from streamgauge import semconv
from streamgauge.aggregates import Aggregates
from streamgauge.telemetry.otlp import PeriodicExport
from streamgauge.telemetry.prometheus import family_name, label_names, render
from telemetry.parts import COMMON, EPOCH_NS, SPAN, Drops, Receiver, attributes, clock, observed

SCOPE = InstrumentationScope("streamgauge", "1.2.3", semconv.RELEASED.schema_url)
START_NS = EPOCH_NS - 60_000_000_000
NEVER_S = 3600.0

Maker = Callable[..., PeriodicExport]


class Script(MetricExporter):
    """Does with each export what the next step says, the last one for ever, and keeps what it was given."""

    def __init__(self, *steps: Callable[[], MetricExportResult | None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = list(steps)
        self.seen: list[MetricsData] = []
        self.news = threading.Semaphore(0)
        self.suppressed: list[object] = []
        self.ended = threading.Event()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.seen.append(metrics_data)
        self.suppressed.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        self.news.release()
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return step() or MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.ended.set()


def well() -> MetricExportResult:
    return MetricExportResult.SUCCESS


def refuses() -> MetricExportResult:
    return MetricExportResult.FAILURE


def raises() -> MetricExportResult:
    raise OSError("nobody there")


@pytest.fixture
def make(aggregates: Aggregates, drops: Drops, receiver: Receiver) -> Iterator[Maker]:
    made: list[PeriodicExport] = []
    times = iter(range(EPOCH_NS, EPOCH_NS + 10**12, 10**9))

    def one(exporter: MetricExporter, **kwargs: Any) -> PeriodicExport:
        options: dict[str, Any] = {
            "resource": lambda: Resource({"service.name": "shop"}),
            "scope": SCOPE,
            "interval_s": NEVER_S,
            "dropped": drops,
            "start_ns": START_NS,
            "clock": clock,
            "wall": lambda: next(times),
            **kwargs,
        }
        made.append(PeriodicExport(exporter, options.pop("aggregates", aggregates), **options))
        return made[-1]

    yield one
    for each in made:
        each.shutdown(1)


def received(receiver: Receiver) -> dict[str, metrics_pb2.Metric]:
    (resource,) = receiver.metrics.get(timeout=20).resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def points_of(metric: metrics_pb2.Metric) -> Any:
    return getattr(metric, metric.WhichOneof("data") or "").data_points


def sent(exporter: Script, metric: semconv.Metric) -> list[Any]:
    """The data points of `metric` in the last export."""
    (resource,) = exporter.seen[-1].resource_metrics
    (scope,) = resource.scope_metrics
    found = [each for each in scope.metrics if each.name == metric.name]
    return list(found[0].data.data_points) if found else []


# What is sent -------------------------------------------------------------------------------------------------


def test_the_same_numbers_as_on_the_page(aggregates: Aggregates, receiver: Receiver, make: Maker) -> None:
    assert make(OTLPMetricExporter()).flush(20)
    by_otlp: dict[tuple[str, tuple[str, ...]], Any] = {}
    metrics = {metric.name: metric for metric in aggregates.metrics}
    for name, data in received(receiver).items():
        metric = metrics[name]
        assert (data.unit, data.description) == (metric.unit, metric.description)
        for point in points_of(data):
            names = {key.replace(".", "_"): value for key, value in attributes(point).items()}
            key = family_name(metric)[0], tuple(names.get(label, "") for label in label_names(metric))
            if metric.kind == semconv.HISTOGRAM:
                by_otlp[key] = (point.count, point.sum, list(point.bucket_counts))
                assert list(point.explicit_bounds) == list(metric.buckets)
            else:
                by_otlp[key] = point.as_double if metric.unit == "s" else point.as_int
    by_page: dict[tuple[str, tuple[str, ...]], Any] = {}
    page = render(aggregates, "application/openmetrics-text", clock=clock)[0].decode()
    for family in text_string_to_metric_families(page):
        for metric in metrics.values():
            if family_name(metric)[0] != family.name:
                continue
            for sample in family.samples:
                key = family.name, tuple(sample.labels[label] for label in label_names(metric))
                if family.type != "histogram":
                    by_page[key] = sample.value
                    continue
                count, total, buckets = by_page.setdefault(key, (0, 0.0, []))
                if sample.name.endswith("_bucket"):
                    buckets = [*buckets, sample.value - sum(buckets)]
                elif sample.name.endswith("_sum"):
                    total = sample.value
                else:
                    count = sample.value
                by_page[key] = count, total, buckets
    assert len(by_otlp) == 13
    assert by_otlp == by_page


def test_kinds_times_and_origin(receiver: Receiver, make: Maker) -> None:
    assert make(OTLPMetricExporter()).flush(20)
    (resource,) = receiver.metrics.queue[0].resource_metrics
    (scope,) = resource.scope_metrics
    assert [(item.key, item.value.string_value) for item in resource.resource.attributes] == [("service.name", "shop")]
    assert (scope.scope.name, scope.scope.version, scope.schema_url) == (SCOPE.name, SCOPE.version, SCOPE.schema_url)
    metrics = received(receiver)
    assert set(metrics) == {
        "gen_ai.client.operation.duration", "gen_ai.client.operation.time_per_output_chunk",
        "gen_ai.client.token.usage", "streamgauge.streams", "streamgauge.streams.active",
        "streamgauge.streams.silent", "streamgauge.stream.oldest", "streamgauge.stream.chunks",
        "streamgauge.stream.bytes", "streamgauge.stream.wait", "streamgauge.export.dropped",
    }  # fmt: skip
    chunks = metrics["streamgauge.stream.chunks"]
    assert chunks.sum.is_monotonic
    assert chunks.sum.aggregation_temporality == metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert [point.as_int for point in chunks.sum.data_points] == [10]
    assert [point.as_double for point in metrics["streamgauge.stream.wait"].sum.data_points] == [1.5]
    assert [point.as_double for point in metrics["streamgauge.stream.oldest"].gauge.data_points] == [15.0]
    duration = metrics["gen_ai.client.operation.duration"].histogram
    assert duration.aggregation_temporality == metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
    for point in (*duration.data_points, *chunks.sum.data_points):
        assert (point.start_time_unix_nano, point.time_unix_nano) == (START_NS, EPOCH_NS)
    assert not duration.data_points[0].HasField("min")  # they are not known, and not made up
    assert not duration.data_points[0].HasField("max")
    assert "error.type" not in attributes(duration.data_points[0])


def test_an_exemplar_is_sent_once(aggregates: Aggregates, receiver: Receiver, make: Maker) -> None:
    export = make(OTLPMetricExporter())

    def exemplars() -> list[Any]:
        assert export.flush(20)
        points = received(receiver)["gen_ai.client.operation.duration"].histogram.data_points
        return [exemplar for point in points for exemplar in point.exemplars]

    first = exemplars()
    assert sorted(exemplar.as_double for exemplar in first) == [0.31, 4.0, 9000.0]
    assert {exemplar.trace_id.hex() for exemplar in first} == {f"{SPAN[0]:032x}"}
    assert {exemplar.span_id.hex() for exemplar in first} == {f"{SPAN[1]:016x}"}
    assert {exemplar.time_unix_nano for exemplar in first} == {EPOCH_NS}
    assert exemplars() == []
    aggregates.record(observed(4.5))
    assert [exemplar.as_double for exemplar in exemplars()] == [4.5]


@pytest.mark.parametrize("preference", ["DELTA", "LOWMEMORY", "delta"])
def test_deltas(
    aggregates: Aggregates, receiver: Receiver, make: Maker, monkeypatch: pytest.MonkeyPatch, preference: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    export = make(OTLPMetricExporter())
    assert export.flush(20)
    first = received(receiver)
    assert first["streamgauge.streams"].sum.aggregation_temporality == metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
    assert sum(point.count for point in points_of(first["gen_ai.client.operation.duration"])) == 4
    aggregates.record([*observed(0.3, 0.3), (semconv.STREAMS, (*COMMON, "completed", ""), 5, None)])
    assert export.flush(20)
    second = received(receiver)
    (point,) = points_of(second["gen_ai.client.operation.duration"])
    assert (point.count, point.sum) == (2, pytest.approx(0.6))
    assert sum(point.bucket_counts) == 2
    assert (point.start_time_unix_nano, point.time_unix_nano) == (EPOCH_NS, EPOCH_NS + 10**9)
    assert [point.as_int for point in points_of(second["streamgauge.streams"])] == [5]
    gauges = {"streamgauge.streams.active", "streamgauge.streams.silent", "streamgauge.stream.oldest"}
    assert set(second) == {"gen_ai.client.operation.duration", "streamgauge.streams", *gauges}


def test_an_exporter_with_a_preference_of_its_own(aggregates: Aggregates, make: Maker) -> None:
    from opentelemetry.sdk.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    exporter = Script(well, preferred_temporality={Counter: AggregationTemporality.DELTA})
    export = make(exporter)
    assert Histogram not in (exporter._preferred_temporality or {})
    assert export.flush(20)
    assert export.flush(20)
    assert sent(exporter, semconv.STREAMS) == []
    assert [point.count for point in sent(exporter, semconv.OPERATION_DURATION)] == [3, 1]


@pytest.mark.logs
def test_what_was_refused_is_in_the_next_delta(
    aggregates: Aggregates, make: Maker, monkeypatch: pytest.MonkeyPatch, drops: Drops
) -> None:
    exporter = delta_exporter(well, refuses, well)
    export = make(exporter)
    assert export.flush(20)
    aggregates.record([(semconv.STREAMS, (*COMMON, "completed", ""), 5, None)])
    assert not export.flush(20)
    aggregates.record([(semconv.STREAMS, (*COMMON, "completed", ""), 2, None)])
    assert export.flush(20)
    (point,) = sent(exporter, semconv.STREAMS)
    assert (point.value, point.start_time_unix_nano) == (7, EPOCH_NS)
    assert drops == [("export_failed", 4)]


def delta_exporter(*steps: Callable[[], MetricExportResult | None]) -> Script:
    from opentelemetry.sdk.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    return Script(*steps, preferred_temporality=dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA))


def test_a_total_that_came_down_is_not_counted_twice(aggregates: Aggregates, make: Maker) -> None:
    exporter = delta_exporter(well)
    export = make(exporter)
    assert export.flush(20)
    series = aggregates._series[semconv.STREAMS]
    histograms = aggregates._series[semconv.OPERATION_DURATION]
    kept, kept_histograms = dict(series), dict(histograms)
    series.clear()
    histograms.clear()
    assert export.flush(20)
    assert sent(exporter, semconv.STREAMS) == sent(exporter, semconv.OPERATION_DURATION) == []
    series.update(kept)
    histograms.update(kept_histograms)
    aggregates.record([(semconv.STREAMS, (*COMMON, "completed", ""), 2, None), *observed(0.3)])
    assert export.flush(20)
    assert [point.value for point in sent(exporter, semconv.STREAMS)] == [2]
    assert [point.count for point in sent(exporter, semconv.OPERATION_DURATION)] == [1]


def test_exponential_histograms_are_declined_in_one_line(
    receiver: Receiver, make: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    monkeypatch.setenv(name, "base2_exponential_bucket_histogram")
    caplog.set_level("INFO", "streamgauge")
    export = make(OTLPMetricExporter())
    assert export.flush(20)
    assert export.flush(20)
    assert received(receiver)["gen_ai.client.operation.duration"].WhichOneof("data") == "histogram"
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: histograms keep their explicit buckets; exponential ones were asked for"
    ]


def test_the_console_exporter_takes_it(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(ConsoleMetricExporter(out=sys.stdout)).flush(20)
    (resource,) = json.loads(capsys.readouterr().out)["resource_metrics"]
    assert resource["scope_metrics"][0]["metrics"][0]["name"] == "gen_ai.client.operation.duration"


def test_grpc_asks_for_deltas_too(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamgauge.telemetry.otlp import _deltas

    assert _deltas(GrpcExporter(insecure=True)) == frozenset()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "DELTA")
    assert _deltas(GrpcExporter(insecure=True)) == {semconv.COUNTER, semconv.HISTOGRAM}


def test_without_numbers_nothing_is_sent(make: Maker) -> None:
    exporter = Script(well)
    assert make(exporter, aggregates=Aggregates()).flush(20)
    assert exporter.seen == []


# When ---------------------------------------------------------------------------------------------------------


def test_it_exports_at_its_interval_and_at_the_end(make: Maker) -> None:
    exporter = Script(well)
    export = make(exporter, interval_s=0.01)
    for _ in range(3):
        assert exporter.news.acquire(timeout=20)
    assert export.shutdown(20)
    assert exporter.ended.is_set()
    count = len(exporter.seen)
    assert count > 3  # one of them is the last
    assert export.shutdown(20)
    assert not export.flush(20)
    assert len(exporter.seen) == count


def test_the_last_export_has_the_last_numbers(aggregates: Aggregates, make: Maker) -> None:
    exporter = Script(well)
    export = make(exporter)
    aggregates.record([(semconv.STREAMS, (*COMMON, "completed", ""), 97, None)])
    assert export.shutdown(20)
    assert [point.value for point in sent(exporter, semconv.STREAMS)] == [100, 1]


def test_before_is_called_ahead_of_each_reading(aggregates: Aggregates, make: Maker) -> None:
    exporter = Script(well)
    drop = (semconv.EXPORT_DROPPED, ("spans", "queue_full"), 5, None)
    export = make(exporter, before=lambda: aggregates.record([drop]))
    assert export.flush(20)
    assert [point.value for point in sent(exporter, semconv.EXPORT_DROPPED)] == [7]


def test_its_own_requests_are_not_instrumented(make: Maker) -> None:
    exporter = Script(well)
    assert make(exporter).flush(20)
    assert exporter.suppressed == [True]


@pytest.mark.logs
@pytest.mark.parametrize(("given", "expected"), [("", 30.0), ("1500", 1.5), ("soon", 30.0)])
def test_export_timeout(monkeypatch: pytest.MonkeyPatch, make: Maker, given: str, expected: float) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_TIMEOUT", given)
    assert make(Script(well))._timeout_s == expected


# Trouble ------------------------------------------------------------------------------------------------------


@pytest.mark.logs
@pytest.mark.parametrize("step", [refuses, raises])
def test_a_failing_exporter_is_counted_and_said_once(
    make: Maker, drops: Drops, caplog: pytest.LogCaptureFixture, step: Callable[[], MetricExportResult]
) -> None:
    exporter = Script(step)
    export = make(exporter, interval_s=0.01)
    drops.wait_for(39)  # 13 points, three times: it goes on
    export.shutdown(20)
    assert set(drops) == {("export_failed", 13)}
    assert exporter.ended.is_set()
    assert len(caplog.records) == 1


@pytest.mark.logs
def test_a_receiver_that_refuses_is_counted(receiver: Receiver, make: Maker, drops: Drops) -> None:
    receiver.status = 400
    assert not make(OTLPMetricExporter()).flush(20)
    assert drops == [("export_failed", 13)]


@pytest.mark.logs
def test_a_hanging_exporter_is_counted_and_bounded(make: Maker, drops: Drops, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    exporter = Script(lambda: gate.wait(60) and None)
    export = make(exporter, interval_s=0.01, timeout_s=0.05)
    drops.wait_for(26)  # it is counted at each interval,
    assert len(exporter.seen) == 1  # but called once
    began = time.monotonic()
    assert not export.flush(0.2)
    assert not export.shutdown(0.5)
    assert time.monotonic() - began < 5
    assert set(drops) == {("timeout", 13)}
    assert len(caplog.records) == 1
    assert exporter.ended.wait(20)
    gate.set()


@pytest.mark.logs
def test_an_exporter_that_was_only_slow_goes_on(aggregates: Aggregates, make: Maker, drops: Drops) -> None:
    gate = threading.Event()
    exporter = delta_exporter(lambda: gate.wait(60) and None, well)
    export = make(exporter, timeout_s=0.05)
    assert not export.flush(0.05)
    assert drops == [("timeout", 13)]
    gate.set()
    aggregates.record([(semconv.STREAMS, (*COMMON, "completed", ""), 2, None)])
    assert export.flush(20)
    assert [point.value for point in sent(exporter, semconv.STREAMS)] == [2]  # the first were delivered after all


@pytest.mark.logs
def test_one_failure_is_counted_once(make: Maker, drops: Drops) -> None:
    gate = threading.Event()
    exporter = Script(lambda: (gate.wait(60) and MetricExportResult.FAILURE) or None, well)
    export = make(exporter)
    assert not export.flush(0.05)
    gate.set()
    assert export.flush(20)
    assert drops == [("timeout", 13)]


@pytest.mark.logs
def test_a_bad_series_is_left_out_and_counted(aggregates: Aggregates, make: Maker, drops: Drops) -> None:
    aggregates._series[semconv.STREAMS][("too", "few")] = 1
    aggregates._series[semconv.FIRST_BYTE][COMMON] = 2.0
    exporter = Script(well)
    assert not make(exporter).flush(20)
    assert drops == [("export_failed", 2)]
    assert [point.value for point in sent(exporter, semconv.STREAMS)] == [3, 1]
    assert sent(exporter, semconv.FIRST_BYTE) == []


@pytest.mark.logs
def test_numbers_that_cannot_be_read_harm_nobody(make: Maker, drops: Drops, caplog: pytest.LogCaptureFixture) -> None:
    class Unreadable(Aggregates):
        def collect(self, now: int) -> Any:
            raise RuntimeError("no numbers today")

    export = make(Script(well), aggregates=Unreadable())
    assert not export.flush(20)
    assert not export.flush(20)
    assert drops == [("export_failed", 1), ("export_failed", 1)]
    assert len(caplog.records) == 1


@pytest.mark.logs
def test_a_counter_of_drops_that_fails_harms_nobody(make: Maker) -> None:
    def broken(reason: str, amount: int) -> None:
        raise RuntimeError("cannot count")

    export = make(Script(refuses, well), dropped=broken)
    assert not export.flush(20)
    assert export.flush(20)


def test_a_label_that_utf8_cannot_write_is_sent(aggregates: Aggregates, receiver: Receiver, make: Maker) -> None:
    aggregates.record([(semconv.TAP_ERRORS, ("\ud83d half",), 1, None)])
    assert make(OTLPMetricExporter()).flush(20)
    (point,) = points_of(received(receiver)["streamgauge.tap.errors"])
    assert attributes(point) == {"reason": "\\ud83d half"}


def test_a_forked_child_exports_only_what_is_its_own(receiver: Receiver) -> None:
    program = """
import os, sys
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from streamgauge import semconv
from streamgauge.aggregates import Aggregates
from streamgauge.telemetry.otlp import PeriodicExport
aggregates = Aggregates()
parent = os.getpid()
def count(name, amount):
    aggregates.record([(semconv.TAP_ERRORS, (name,), amount, None)])
count("before", 5)
export = PeriodicExport(
    OTLPMetricExporter(), aggregates, scope=InstrumentationScope("x"), interval_s=0.05, dropped=print,
    resource=lambda: Resource({"pid": "child" if os.getpid() != parent else "parent"}),
)
child = os.fork()
if child == 0:
    count("before", 1)
    count("child", 7)
    sys.stdin.read()  # the parent's pipe: until the test has seen the periodic export
    os._exit(0 if export.shutdown(20) else 1)
print(os.waitpid(child, 0)[1])
export.shutdown(20)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdin is not None
        seen: dict[str, dict[str, int]] = {}
        while not ({"before", "child"} <= seen.get("child", {}).keys() and "parent" in seen):
            (resource,) = receiver.metrics.get(timeout=20).resource_metrics
            (metric,) = resource.scope_metrics[0].metrics
            who = resource.resource.attributes[0].value.string_value
            seen[who] = {attributes(point)["reason"]: point.as_int for point in points_of(metric)}
        run.stdin.close()
        assert run.stdout is not None
        assert run.stdout.read() == b"0\n"
    assert seen["child"] == {"before": 1, "child": 7}
    assert seen["parent"] == {"before": 5}
