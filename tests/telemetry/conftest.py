"""Fixtures of the tests of telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import metrics, trace
from opentelemetry.util._once import Once

from streamgauge import semconv
from streamgauge.aggregates import Aggregates, Distribution, Exemplar
from telemetry.parts import COMMON, EPOCH_NS, SPAN, Drops, OpenStream, Receiver, observed


@pytest.fixture
def aggregates() -> Aggregates:
    """Some of everything: counters, histograms of values and of distributions, exemplars, gauges of an open stream."""
    filled = Aggregates()
    gaps = Distribution([0] * (len(semconv.GAP_SECONDS) + 1), 0.75)
    gaps.counts[3] = 5
    gaps.counts[-1] = 2
    gaps.exemplars[len(semconv.GAP_SECONDS)] = Exemplar(700.5, EPOCH_NS, *SPAN)
    filled.record(
        [
            *observed(0.3, 0.31, 4.0),
            *observed(9000.0, error="RateLimitError"),
            (semconv.PER_CHUNK, COMMON, gaps, None),
            (semconv.TOKEN_USAGE, (*COMMON, "input"), 1200, None),
            (semconv.STREAMS, (*COMMON, "completed", ""), 3, None),
            (semconv.STREAMS, (*COMMON, "failed", 'quote " slash \\ line\nend'), 1, None),
            (semconv.CHUNKS, (*COMMON, "text"), 7, None),
            (semconv.BYTES, (*COMMON, "text"), 4096, None),
            (semconv.WAIT, (*COMMON, "caller"), 1.5, None),
            (semconv.EXPORT_DROPPED, ("spans", "queue_full"), 2, None),
        ]
    )
    filled.watch(OpenStream())
    return filled


@pytest.fixture
def drops() -> Drops:
    return Drops()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    running = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider is set yet, and none of the environment's settings holds."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics._internal, "_PROXY_METER_PROVIDER", metrics._internal._ProxyMeterProvider())
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Installs a package with an exporter: (the group's kind, its name, a module's source with a class `Exporter`)."""

    def installed(kind: str, name: str, source: str) -> None:
        module = f"exporter_of_{tmp_path.name}_{kind}_{name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[opentelemetry_{kind}_exporter]\n{name} = {module}:Exporter\n")
        monkeypatch.syspath_prepend(tmp_path)

    return installed
