"""The tracer provider and its batches: what gets out, what does not, and exporters that misbehave."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamgauge.errors import SettingsError
from streamgauge.telemetry.bounded import within
from streamgauge.telemetry.traces import SpanBatch, tracer_provider
from telemetry.parts import Drops, Receiver


class Script(SpanExporter):
    """Does with each batch what `step` says, and keeps the names of all spans."""

    def __init__(self, step: Callable[[], SpanExportResult | None]) -> None:
        self.step = step
        self.names: list[str] = []
        self.entered = threading.Event()
        self.ended = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.names += [span.name for span in spans]
        self.entered.set()
        return self.step() or SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.ended.set()


def refuses() -> SpanExportResult:
    return SpanExportResult.FAILURE


def raises() -> SpanExportResult:
    raise OSError("nobody there")


def make(exporter: SpanExporter, drops: Drops) -> tuple[TracerProvider, SpanBatch]:
    batch = SpanBatch(exporter, drops)
    return tracer_provider(Resource({"service.name": "shop"}), [batch]), batch


def end_spans(provider: TracerProvider, *names: str) -> None:
    for name in names:
        provider.get_tracer("test").start_span(name).end()


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_spans_get_out(drops: Drops) -> None:
    exporter = InMemorySpanExporter()
    provider, batch = make(exporter, drops)
    end_spans(provider, "a", "b")
    assert batch.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["a", "b"]
    assert exporter.get_finished_spans()[0].resource.attributes == {"service.name": "shop"}
    provider.shutdown()
    assert drops == []


def test_all_batches_get_all_spans(drops: Drops) -> None:
    exporters = InMemorySpanExporter(), InMemorySpanExporter()
    provider = tracer_provider(Resource({}), [SpanBatch(exporter, drops) for exporter in exporters])
    end_spans(provider, "a")
    assert provider.force_flush()
    assert [len(exporter.get_finished_spans()) for exporter in exporters] == [1, 1]
    provider.shutdown()


@pytest.mark.logs
def test_over_otlp(receiver: Receiver, drops: Drops) -> None:
    provider, batch = make(OTLPSpanExporter(), drops)
    end_spans(provider, "a")
    assert batch.force_flush()
    (resource,) = receiver.traces.get(timeout=20).resource_spans
    assert [span.name for span in resource.scope_spans[0].spans] == ["a"]
    receiver.status = 400
    end_spans(provider, "b", "c")
    assert not batch.force_flush()
    assert drops == [("export_failed", 2)]
    provider.shutdown()


@pytest.mark.logs
@pytest.mark.parametrize("step", [refuses, raises])
def test_a_failing_exporter_is_counted_and_said_once(
    drops: Drops, caplog: pytest.LogCaptureFixture, step: Callable[[], SpanExportResult]
) -> None:
    exporter = Script(step)
    provider, batch = make(exporter, drops)
    end_spans(provider, "a", "b")
    assert not batch.force_flush()
    end_spans(provider, "c")
    assert not batch.force_flush()
    assert drops == [("export_failed", 2), ("export_failed", 1)]
    provider.shutdown()
    assert exporter.ended.is_set()
    assert len(caplog.records) == 1


@pytest.mark.logs
def test_an_exporter_that_fails_to_shut_down_harms_nobody(drops: Drops, caplog: pytest.LogCaptureFixture) -> None:
    exporter = Script(lambda: None)
    exporter.shutdown = raises  # type: ignore[assignment]
    provider, _ = make(exporter, drops)
    provider.shutdown()
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: an exporter of spans failed as it was shut down"
    ]


@pytest.mark.logs
def test_a_counter_of_drops_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(reason: str, amount: int) -> None:
        raise RuntimeError("cannot count")

    batch = SpanBatch(Script(refuses), broken)
    provider = tracer_provider(Resource({}), [batch])
    end_spans(provider, "a")
    assert not batch.force_flush()
    provider.shutdown()


def small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")


@pytest.mark.logs
def test_a_full_queue_is_counted(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    small_queue(monkeypatch)
    gate = threading.Event()
    exporter = Script(lambda: gate.wait(60) and None)
    provider, batch = make(exporter, drops)
    end_spans(provider, *numbered("sent", 2))
    assert exporter.entered.wait(20)  # these two are on their way, and hang
    end_spans(provider, *numbered("oldest", 3), *numbered("kept", 4))
    batch.settle()
    assert drops == [("queue_full", 3)]
    batch.settle()
    assert drops == [("queue_full", 3)]
    gate.set()
    assert batch.force_flush()
    assert exporter.names == [*numbered("sent", 2), *numbered("kept", 4)]
    end_spans(provider, *numbered("later", 1))
    assert batch.force_flush()
    assert drops == [("queue_full", 3)]
    provider.shutdown()


@pytest.mark.logs
def test_a_full_queue_is_told_without_anyone_asking(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    small_queue(monkeypatch)
    gate = threading.Event()
    exporter = Script(lambda: gate.wait(60) and None)
    provider, _ = make(exporter, drops)
    end_spans(provider, *numbered("sent", 2))
    assert exporter.entered.wait(20)
    end_spans(provider, *numbered("s", 5))
    gate.set()
    drops.wait_for(1)  # with the next batch that goes out
    assert drops == [("queue_full", 1)]
    provider.shutdown()


def test_spans_that_are_not_sampled_do_not_count(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    small_queue(monkeypatch)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter = Script(lambda: None)
    provider, batch = make(exporter, drops)
    end_spans(provider, *numbered("s", 20))
    assert batch.force_flush()
    batch.settle()
    assert (exporter.names, drops) == ([], [])
    provider.shutdown()


@pytest.mark.logs
def test_a_hanging_exporter_blocks_nobody(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    small_queue(monkeypatch)
    gate = threading.Event()
    exporter = Script(lambda: gate.wait(60) and None)
    provider, _ = make(exporter, drops)
    end_spans(provider, *numbered("s", 2))
    assert exporter.entered.wait(20)
    end_spans(provider, *numbered("s", 100))
    assert not within(0.05, provider.force_flush)
    assert not within(0.05, provider.shutdown)
    gate.set()
    assert exporter.ended.wait(20)


@pytest.mark.parametrize(
    ("size", "problem"),
    [("many", "'many' is not a whole number"), ("4", "max_export_batch_size must be"), ("-1", "must be a positive")],
)
def test_a_queue_that_cannot_be_is_told_by_its_setting(
    drops: Drops, monkeypatch: pytest.MonkeyPatch, size: str, problem: str
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", size)
    with pytest.raises(SettingsError, match=f"^OTEL_BSP_MAX_QUEUE_SIZE: .*{problem}"):
        SpanBatch(InMemorySpanExporter(), drops)


def test_a_forked_child_counts_for_itself() -> None:
    program = """
import os, threading
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from streamgauge.telemetry.traces import SpanBatch, tracer_provider
gate, entered, names, told = threading.Event(), threading.Event(), [], []
class Exporter(SpanExporter):
    def export(self, spans):
        names.extend(span.name for span in spans)
        entered.set()
        gate.wait()
        return SpanExportResult.SUCCESS
batch = SpanBatch(Exporter(), lambda reason, amount: told.append((reason, amount)))
tracer = tracer_provider(Resource({}), [batch]).get_tracer("x")
for number in range(2):
    tracer.start_span(f"parent{number}").end()
entered.wait()
for number in range(3):
    tracer.start_span(f"waits{number}").end()
child = os.fork()
if child == 0:
    names.clear()
    gate.set()  # whatever it was, the child's worker is new
    for number in range(4):
        tracer.start_span(f"child{number}").end()
    batch.force_flush()
    batch.settle()
    print(names, told, flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1], flush=True)
os._exit(0)
"""
    environment = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2", "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True, env=environment
    )
    assert run.stdout == "['child0', 'child1', 'child2', 'child3'] []\n0\n", run.stderr
