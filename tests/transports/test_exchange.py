"""One HTTP request and its answer, as the tap sees them, without a socket."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest
from opentelemetry import trace

from streamgauge import httpwatch, testing
from streamgauge.aggregates import Distribution
from streamgauge.errors import UnknownDialectError
from streamgauge.signals import RUN
from streamgauge.transports._exchange import MAX_BODY_BYTES, Exchange, Watch
from streamgauge.wire import Outcome

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "m-1", "stream": True, "temperature": 0.5}).encode()
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
JSON = (b"Content-Type", b"application/json")
EVENTS = (b"Content-Type", b"text/event-stream")


def said(text: str, finish: str | None = None) -> bytes:
    delta = {"content": text} if text else {}
    chunk = {"id": "c", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


WHOLE = (said("a"), said("b"), said("", "stop"), b"data: [DONE]\n\n")


def begun(
    watch: Watch, *headers: tuple[bytes, bytes], method: str = "POST", target: str = CHAT, body: bytes = BODY
) -> Exchange:
    exchange = watch.exchange(method, target, [JSON, *headers], server_address="api.test", server_port=443)
    exchange.sent(body)
    exchange.requested()
    return exchange


def answered(exchange: Exchange, *pieces: bytes, status: int = 200, head: tuple[bytes, bytes] = EVENTS) -> Exchange:
    exchange.responded(status, [head])
    for piece in pieces:
        exchange.data(piece, time.monotonic_ns())
    return exchange


def span(seen: testing.Seen, number: int = -1) -> dict[str, Any]:
    return [span for span in seen.spans if not span["name"].startswith("retry")][number]


def test_a_whole_stream(seen: testing.Seen) -> None:
    answered(begun(httpwatch.watch("http")), *WHOLE).end()
    found = span(seen)
    assert found["name"] == "chat m-1"
    assert found["kind"] == "CLIENT"
    expected = {
        "http.request.method": "POST", "url.path": CHAT, "http.response.status_code": 200,
        "server.address": "api.test", "server.port": 443, "gen_ai.request.model": "m-1",
        "gen_ai.request.temperature": 0.5, "streamgauge.dialect": "openai-chat", "streamgauge.transport": "http",
        "streamgauge.outcome": "completed", "streamgauge.stream.chunks": 2,
    }  # fmt: skip
    assert {name: found["attributes"].get(name) for name in expected} == expected


def test_the_query_is_not_told(seen: testing.Seen) -> None:
    answered(begun(httpwatch.watch("http"), target=f"{CHAT}?key=s3cret"), *WHOLE).end()
    assert "s3cret" not in str(seen.spans)


def test_a_secret_header_goes_nowhere(seen: testing.Seen) -> None:
    secret = (b"Authorization", b"Bearer s3cret"), (b"X-Api-Key", b"s3cret"), (b"Cookie", b"s3cret")
    answered(begun(httpwatch.watch("http"), *secret), *WHOLE).end()
    assert "s3cret" not in str(seen.spans)


@pytest.mark.parametrize(
    ("how", "outcome", "error_type"),
    [
        ({}, "truncated", "truncated"),
        ({"outcome": Outcome.ABANDONED}, "abandoned", None),
        ({"outcome": Outcome.TRUNCATED, "error_type": "incomplete_body"}, "truncated", "incomplete_body"),
        ({"outcome": Outcome.TIMED_OUT}, "timed_out", "timeout"),
        ({"outcome": Outcome.SHUTDOWN}, "shutdown", "shutdown"),
        ({"error": ConnectionResetError("x")}, "failed", "ConnectionResetError"),
    ],
)
def test_endings_before_the_terminal_event(
    how: dict[str, Any], outcome: str, error_type: str | None, seen: testing.Seen
) -> None:
    exchange = answered(begun(httpwatch.watch("http")), WHOLE[0])
    exchange.end(**how)
    exchange.end()
    exchange.data(WHOLE[1], time.monotonic_ns())
    assert span(seen)["attributes"]["streamgauge.outcome"] == outcome
    assert span(seen)["attributes"].get("error.type") == error_type
    assert len(seen.spans) == 1


def test_gone_after_the_terminal_event(seen: testing.Seen) -> None:
    """The official SDKs close after the last event, before the end of the body."""
    answered(begun(httpwatch.watch("http")), *WHOLE).end(outcome=Outcome.ABANDONED)
    assert span(seen)["attributes"]["streamgauge.outcome"] == "completed"


def test_refused_before_a_head(seen: testing.Seen) -> None:
    watch = httpwatch.watch("http")
    watch.exchange("POST", CHAT, []).end(outcome=Outcome.FAILED, error_type="connect_error")
    assert span(seen)["attributes"]["error.type"] == "connect_error"


def test_an_error_status(seen: testing.Seen) -> None:
    answered(begun(httpwatch.watch("http")), b'{"error": {}}', status=429, head=JSON).end()
    assert span(seen)["attributes"]["error.type"] == "429"
    assert seen.value("streamgauge.streams", streamgauge_outcome="failed", error_type="429") == 1


# Whose it is ------------------------------------------------------------------------------------------------------

PATHS: dict[str, tuple[str, str, tuple[bytes, bytes], str | None]] = {
    # method, path, the answer's type: the dialect
    "claimed by its path": ("POST", CHAT, EVENTS, "openai-chat"),
    "claimed, plain": ("POST", CHAT, JSON, "openai-chat"),
    "of no dialect, a stream": ("POST", "/my/agent", EVENTS, "generic"),
    "of no dialect, no stream": ("POST", "/my/agent", JSON, None),
    "joined again": ("GET", CHAT, EVENTS, "openai-chat"),
    "a list": ("GET", CHAT, JSON, None),
    "not said what it is": ("OPTIONS", CHAT, (b"allow", b"POST"), None),
    "not said what it is, of no dialect": ("GET", "/", (b"etag", b"1"), None),
}


@pytest.mark.parametrize("case", PATHS)
def test_the_dialect_is_chosen_by_path(case: str, seen: testing.Seen) -> None:
    method, path, head, expected = PATHS[case]
    exchange = answered(begun(httpwatch.watch("http"), method=method, target=path), head=head)
    assert exchange.watched is (expected is not None)
    exchange.end()
    assert [span["attributes"]["streamgauge.dialect"] for span in seen.spans] == ([expected] if expected else [])


def test_the_route_says_the_dialect(seen: testing.Seen) -> None:
    answered(begun(httpwatch.watch("http", dialect="generic")), *WHOLE).end()
    assert span(seen)["attributes"]["streamgauge.dialect"] == "generic"


def test_an_unknown_dialect_is_told_at_once() -> None:
    with pytest.raises(UnknownDialectError):
        httpwatch.watch("http", dialect="no-such")


def test_what_the_user_says_wins(seen: testing.Seen) -> None:
    watch = httpwatch.watch("http", model="mine", conversation_id="c-1")
    answered(begun(watch), *WHOLE).end()
    assert span(seen)["attributes"]["gen_ai.request.model"] == "mine"
    assert span(seen)["attributes"]["gen_ai.conversation.id"] == "c-1"


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[1]", b'"x"', b'{"model": 5}', b"\xff", b"x" * (MAX_BODY_BYTES + 1)]
)
def test_any_request_body(body: bytes, seen: testing.Seen) -> None:
    answered(begun(httpwatch.watch("http"), body=body), *WHOLE).end()
    assert span(seen)["attributes"]["streamgauge.outcome"] == "completed"
    assert span(seen)["name"] == "chat"


# Context ----------------------------------------------------------------------------------------------------------


def test_the_callers_span_is_the_parent(seen: testing.Seen) -> None:
    exchange = begun(httpwatch.watch("http"), (b"Traceparent", PARENT.encode()))
    mine = exchange.traceparent()["traceparent"]
    answered(exchange, *WHOLE).end()
    found = span(seen)
    assert found["trace_id"] == PARENT.split("-")[1]
    assert found["parent_id"] == PARENT.split("-")[2]
    assert mine == f"00-{found['trace_id']}-{found['span_id']}-01"


def test_baggage_is_not_handed_on(seen: testing.Seen) -> None:
    exchange = begun(httpwatch.watch("http"), (b"baggage", b"user=1"), (b"traceparent", PARENT.encode()))
    assert set(exchange.traceparent()) == {"traceparent"}
    exchange.end()


# Attempts ---------------------------------------------------------------------------------------------------------

TRACE = (b"traceparent", PARENT.encode())
SAME_KEY = (b"Idempotency-Key", b"k-1")
AGAIN: dict[str, tuple[tuple[bytes, bytes], tuple[bytes, bytes], int | None]] = {
    # headers of the first, of the second, which attempt the second is
    "the SDK counts": ((b"x-stainless-retry-count", b"0"), (b"x-stainless-retry-count", b"1"), 1),
    "the same key": (SAME_KEY, SAME_KEY, 1),
    "the same run": (TRACE, TRACE, 1),
    "another key": (SAME_KEY, (b"Idempotency-Key", b"k-2"), None),
    "nothing to know it by": ((b"x", b"y"), (b"x", b"y"), None),
    "a count that is none": ((b"x", b"y"), (b"x-stainless-retry-count", b"many"), None),
}


@pytest.mark.parametrize("case", AGAIN)
def test_attempts(case: str, seen: testing.Seen) -> None:
    first, second, expected = AGAIN[case]
    watch = httpwatch.watch("http")
    answered(begun(watch, first), b"{}", status=503, head=JSON).end()
    answered(begun(watch, second), *WHOLE).end()
    assert span(seen).get("attributes", {}).get("http.request.resend_count") == expected
    retries = [span for span in seen.spans if span["name"] == "retry request"]
    assert [span["attributes"]["streamgauge.retry.attempt"] for span in retries] == ([1] if expected else [])
    if expected and "stainless" not in str(second):
        assert retries[0]["attributes"]["streamgauge.retry.reason"] == "503"
    assert seen.value("streamgauge.retries", target="request") == (1 if expected else 0)


def test_a_success_is_no_reason_to_retry(seen: testing.Seen) -> None:
    watch = httpwatch.watch("http")
    for _ in range(3):
        answered(begun(watch, TRACE), *WHOLE).end()
    assert seen.value("streamgauge.retries") == 0


def test_a_retry_of_the_transports_own(seen: testing.Seen) -> None:
    exchange = begun(httpwatch.watch("http"))
    exchange.retrying(1, "connect_error", 0.1)
    answered(exchange, *WHOLE).end()
    assert seen.tree() == ["chat m-1", "  retry request"]


# Trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.logs
@pytest.mark.parametrize("coding", [b"made-up", b"gzip"])
def test_what_cannot_be_decoded_makes_the_tap_blind(coding: bytes, seen: testing.Seen) -> None:
    exchange = begun(httpwatch.watch("http"))
    exchange.responded(200, [EVENTS, (b"Content-Encoding", coding)])
    exchange.data(b"no gzip at all, and long enough", time.monotonic_ns())
    exchange.end()
    assert seen.value("streamgauge.tap.blind", reason="framing") == 1
    assert span(seen)["attributes"]["streamgauge.outcome"] == "completed"


def test_a_coded_body(seen: testing.Seen) -> None:
    exchange = begun(httpwatch.watch("http"))
    exchange.responded(200, [EVENTS, (b"content-encoding", b"gzip")])
    exchange.data(gzip.compress(b"".join(WHOLE)), time.monotonic_ns())
    exchange.end()
    assert span(seen)["attributes"]["streamgauge.stream.chunks"] == 2


def test_in_any_order(seen: testing.Seen) -> None:
    exchange = httpwatch.watch("http").exchange("POST", CHAT, [])
    exchange.data(b"early", 1)
    exchange.paused()
    exchange.resumed()
    exchange.disconnected("cancel")
    exchange.retrying(1, "x", None)
    exchange.end()
    exchange.responded(200, [EVENTS])
    exchange.sent(b"late")
    exchange.requested()
    assert exchange.traceparent() == {}
    assert seen.open == 0


# Whose the waiting was --------------------------------------------------------------------------------------------


def test_a_slow_caller_is_back_pressure(clock: Any) -> None:
    with testing.recording() as seen:
        exchange = begun(httpwatch.watch("http"))
        exchange.responded(200, [EVENTS])
        clock.pass_ms(30)
        exchange.data(WHOLE[0], clock.now)
        exchange.paused()
        clock.pass_ms(500)
        exchange.resumed()
        clock.pass_ms(20)
        for piece in WHOLE[1:]:
            exchange.data(piece, clock.now)
        exchange.end()
        waits = span(seen)["attributes"]
    assert waits["streamgauge.stream.wait.caller"] == pytest.approx(0.5)
    assert waits["streamgauge.stream.wait.source"] == pytest.approx(0.05)


@pytest.mark.parametrize("times", [1, 2, 6, 40])
def test_what_a_proxy_adds(times: int, seen: testing.Seen) -> None:
    """A few as they are, or many, counted in between."""
    exchange = answered(begun(httpwatch.watch("http")), *WHOLE)
    for added in (50_000, 90_000, 3_000_000) * times:
        exchange.written(1_000, 1_000 + added)
    exchange.end()
    exchange.end()
    (found,) = seen.families["streamgauge.proxy.added_latency"].series.values()
    assert (found.count, found.sum) == (3 * times, pytest.approx(0.00314 * times))
    assert [count for count in found.counts if count] == [2 * times, times]
    assert seen.count("streamgauge.proxy.added_latency", streamgauge_dialect="openai-chat") == 3 * times


def test_without_spans_the_numbers_are_the_same() -> None:
    """Nothing is put together for them then; what names an operation is noted all the same."""

    def numbers(spans: bool) -> dict[str, dict[Any, int]]:
        with testing.recording() as seen:
            if not spans:
                seen.pipeline.trace_with(trace.NoOpTracerProvider())
            answered(begun(httpwatch.watch("http")), *WHOLE).end()
            answered(begun(httpwatch.watch("http")), b'{"error": {}}', status=429, head=JSON).end()
            assert len(seen.spans) == (2 if spans else 0)
            return {
                name: {labels: value.count if isinstance(value, Distribution) else 1 for labels, value in found.items()}
                for name, found in ((name, family.series) for name, family in seen.families.items())
            }

    assert numbers(spans=False) == numbers(spans=True)


@pytest.mark.logs
def test_a_span_that_somebody_else_has_ended_is_left_alone(
    seen: testing.Seen, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = answered(begun(httpwatch.watch("http")), WHOLE[0])
    exchange.sink.operations[RUN].span.end()
    exchange.end()
    assert "Setting attribute" not in caplog.text
    assert len(seen.spans) == 1
