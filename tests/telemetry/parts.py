"""What the tests of telemetry share: points made by hand, a fake open stream, a real OTLP receiver."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streamgauge import semconv
from streamgauge.aggregates import Labels, Point

COMMON: Labels = ("chat", "openai", "gpt-5", "helper", "api.openai.com", "openai_chat", "inprocess")
SPAN = (0x0123456789ABCDEF0123456789ABCDEF, 0xFEDCBA9876543210)
EPOCH_NS = 1_790_000_000_123_456_789


class OpenStream:
    """A stream that is open since 5 s on a clock that shows 20 s, and has counted 3 chunks."""

    def common(self) -> Labels:
        return COMMON

    def opened_ns(self) -> int:
        return 5_000_000_000

    def silent(self, now: int) -> bool:
        return True

    def partials(self) -> Sequence[object]:
        return (self,)

    def points(self, partial: object) -> Iterable[Point]:
        yield semconv.CHUNKS, (*COMMON, "text"), 3, None


NOW = 20_000_000_000


def clock() -> int:
    return NOW


def observed(*values: float, metric: semconv.Metric = semconv.OPERATION_DURATION, error: str = "") -> list[Point]:
    return [
        (metric, (*COMMON, error, "failed" if error else "completed"), value, (EPOCH_NS, *SPAN)) for value in values
    ]


class Drops(list[tuple[str, int]]):
    """What a callback was told, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._news = threading.Condition()

    def __call__(self, reason: str, amount: int) -> None:
        with self._news:
            self.append((reason, amount))
            self._news.notify_all()

    def wait_for(self, total: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: sum(amount for _, amount in self) >= total, 20), self


class Receiver:
    """An OTLP/HTTP receiver on loopback. `status` is what it answers."""

    def __init__(self) -> None:
        self.metrics: queue.Queue[ExportMetricsServiceRequest] = queue.Queue()
        self.traces: queue.Queue[ExportTraceServiceRequest] = queue.Queue()
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/metrics":
                    receiver.metrics.put(ExportMetricsServiceRequest.FromString(body))
                else:
                    receiver.traces.put(ExportTraceServiceRequest.FromString(body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(point: object) -> dict[str, str]:
    """Those of a protobuf data point."""
    return {item.key: item.value.string_value for item in point.attributes}  # type: ignore[attr-defined]
