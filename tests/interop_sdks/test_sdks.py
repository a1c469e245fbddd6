"""The same call direct, with what sends it wrapped, and through the proxy: the caller sees the same, the service hears
the same, and each request is told as it ended."""

from __future__ import annotations

from typing import Any

import pytest

from interop_sdks import anthropic_calls, openai_calls, other_calls
from interop_sdks.calling import At, Call
from interop_sdks.proxy import Proxy
from interop_sdks.server import WAIT_S, Heard, Server
from streamgauge import testing

CALLS = {call.name: call for call in (*openai_calls.CALLS, *anthropic_calls.CALLS, *other_calls.CALLS)}

HOPS = {"host", "connection", "via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
"""Headers that are between two neighbours only."""
NEW_EACH_TIME = {"idempotency-key", "x-client-request-id", "x-request-id"}


def played(call: Call, server: Server, at: At) -> tuple[Any, list[Any]]:
    """(what the caller saw, what the service heard)."""
    server.answers(*call.answers)
    transcript = call.played(at)
    if any(answer.fault in ("stall", "silent") for answer in call.answers):
        assert server.hung_up.acquire(timeout=WAIT_S)  # that the caller has gone reaches the service
    return transcript, [heard(each) for each in server.heard]


def heard(each: Heard) -> Any:
    headers = sorted((name, value) for name, value in each.headers if name not in HOPS | NEW_EACH_TIME)
    # A body may have an id of its own in it: it is compared by its length.
    return each.method, each.target, headers, len(each.body)


def runs(seen: testing.Seen) -> list[str]:
    """`{operation} {outcome}` of each run, in the order in which they were opened."""
    spans = [span for span in seen.spans if "streamgauge.transport" in span["attributes"]]
    spans.sort(key=lambda span: span["start"])
    told = [span["attributes"] for span in spans]
    return [f"{each['gen_ai.operation.name']} {each['streamgauge.outcome']}" for each in told]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_wrapped(call: Call, server: Server, seen: testing.Seen) -> None:
    direct = played(call, server, At(server.url))
    assert runs(seen) == []
    assert played(call, server, At(server.url, wrapped=True)) == direct
    assert runs(seen) == list(call.runs)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_through_the_proxy(call: Call, server: Server, proxied: Proxy) -> None:
    direct = played(call, server, At(server.url))
    assert played(call, server, At(proxied.url)) == direct
