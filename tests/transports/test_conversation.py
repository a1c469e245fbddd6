"""Both directions of one connection: a session, and in it a run for each turn. Without sockets."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streamgauge import capture, dialects, duplex, replay, semconv, testing
from streamgauge.dialects import Dialect
from streamgauge.signals import RUN, TEXT, Chunk, Closed, Noted, Opened, Signals
from streamgauge.testing import Seen
from streamgauge.transports._conversation import MAX_MESSAGE_BYTES, Conversation, ending
from streamgauge.wire import Aside, Outcome

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CARRIER = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Turns(Dialect):
    """`ask` begins a run, `end` ends it; a message may carry a trace context."""

    name = "turns"
    system = "a test's"
    terminal = True
    opens_runs = True
    sockets = (r"/turns$",)

    def feed(self, data: Any, at: int) -> Signals:
        if isinstance(data, Aside):
            if data.name != "sent":
                return ()
            said = json.loads(data.data["data"])
            if "stop" in said:
                return (Closed(RUN, at, Outcome.CANCELLED),)
            return (Opened(RUN, at, semconv.INVOKE_AGENT, said["ask"], said.get("traceparent", RUN)),)
        said = json.loads(data)
        if "session" in said:
            return (Noted(":session", at, {semconv.GEN_AI_CONVERSATION_ID: said["session"]}),)
        return (Closed(RUN, at),) if "end" in said else Chunk(RUN, at, TEXT, said["say"])


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(dialects._found, "turns", Turns)
    monkeypatch.setattr(dialects, "BUILT_IN", {**dialects.BUILT_IN, "turns": "nowhere:Turns"})
    dialects._paths.cache_clear()
    yield
    dialects._paths.cache_clear()


@pytest.fixture
def seen() -> Iterator[Seen]:
    with testing.recording() as found:
        yield found


def opened(seen: Seen, path: str = "/v1/turns?key=x", **options: Any) -> Conversation:
    watch = duplex.watch("websocket", pipeline=lambda: seen.pipeline, **options)
    return watch(path, CARRIER, server_address="agent.example", server_port=443)


def turn(conversation: Conversation, *says: str, name: str = "", ends: bool = True, **more: str) -> None:
    conversation.sent(json.dumps({"ask": name, **more}))
    for say in says:
        conversation.received(json.dumps({"say": say}), time.monotonic_ns())
    if ends:
        conversation.received(json.dumps({"end": 1}), time.monotonic_ns())


def spans(seen: Seen, name: str) -> list[dict[str, Any]]:
    return [span for span in seen.spans if span["name"].startswith(name)]


def test_each_turn_is_a_run_in_the_connections_session(seen: Seen) -> None:
    conversation = opened(seen)
    conversation.answered(101)
    conversation.received(json.dumps({"session": "s-1"}), time.monotonic_ns())
    turn(conversation, "a", "b", name="one")
    turn(conversation, "c", name="two")
    assert conversation.watched
    conversation.closed(1000, "bye", "agent")
    assert not conversation.watched
    assert seen.tree() == ["session turns", "  invoke_agent one", "  invoke_agent two"]
    (session,) = spans(seen, "session")
    assert (session["status"], session["attributes"]) == (
        "UNSET",
        {
            "gen_ai.operation.name": "session",
            "streamgauge.dialect": "turns",
            "streamgauge.transport": "websocket",
            "streamgauge.stream.granularity": "token",
            "streamgauge.session.name": "turns",
            "streamgauge.session.turns": 2,
            "gen_ai.conversation.id": "s-1",
            "server.address": "agent.example",
            "server.port": 443,
            "http.request.method": "GET",
            "url.path": "/v1/turns",
            "http.response.status_code": 101,
            "streamgauge.websocket.close_code": 1000,
            "streamgauge.websocket.close_reason": "bye",
            "streamgauge.websocket.closed_by": "agent",
            "streamgauge.outcome": "completed",
        },
    )
    assert session["trace_id"] == TRACE
    runs = spans(seen, "invoke_agent")
    assert [run["attributes"]["streamgauge.stream.chunks"] for run in runs] == [2, 1]
    assert all("url.path" not in run["attributes"] for run in runs)
    assert not seen.open


def test_a_run_that_the_caller_ends_has_waited_for_the_agent(seen: Seen) -> None:
    conversation = opened(seen)
    at = time.monotonic_ns() + 60_000_000_000
    conversation.sent('{"ask": ""}', at)
    conversation.received('{"say": "x"}', at + 2_000_000_000)
    conversation.sent('{"stop": 1}', at + 5_000_000_000)
    conversation.sent('{"ask": ""}', at + 7_000_000_000)
    conversation.received('{"end": 1}', at + 8_000_000_000)
    conversation.end()
    waits = [run["attributes"]["streamgauge.stream.wait.source"] for run in spans(seen, "invoke_agent")]
    assert waits == [5.0, 1.0]


def test_the_clocks_start_with_the_callers_message(seen: Seen) -> None:
    conversation = opened(seen)
    at = time.monotonic_ns() + 60_000_000_000
    conversation.sent('{"ask": ""}', at)
    conversation.received('{"say": "x"}', at + 2_000_000_000)
    conversation.received('{"end": 1}', at + 3_000_000_000)
    conversation.end()
    (run,) = spans(seen, "invoke_agent")
    assert run["attributes"]["gen_ai.response.time_to_first_chunk"] == 2.0
    assert run["end"] - run["start"] == 3_000_000_000


def test_a_run_that_began_before_its_first_message_has_waited_for_it(seen: Seen) -> None:
    """The message tells that its run is open since earlier: that is the agent's time, and the run's first byte."""

    class Late(Turns):
        def feed(self, data: Any, at: int) -> Signals:
            if isinstance(data, Aside):
                return ()
            return (Opened(RUN, at - 1_900_000_000, semconv.INVOKE_AGENT), Closed(RUN, at))

    dialects._found["turns"] = Late
    conversation = opened(seen)
    at = time.monotonic_ns() + 60_000_000_000
    conversation.received("x", at, at - 1_900_000_000)
    conversation.end()
    (run,) = spans(seen, "invoke_agent")
    attributes = run["attributes"]
    assert attributes["streamgauge.stream.time_to_first_byte"] == 1.9
    assert (attributes["streamgauge.stream.wait.source"], attributes["streamgauge.stream.wait.caller"]) == (1.9, 0.0)


def test_a_signal_of_the_callers_has_interrupted_the_run(seen: Seen) -> None:
    conversation = opened(seen)
    turn(conversation, "a", ends=False)
    conversation.aside("signalled", {"signal": "SIGINT"})
    conversation.end(outcome=Outcome.CANCELLED)
    (run,) = spans(seen, "invoke_agent")
    assert run["attributes"]["streamgauge.interrupted_by"] == "signal"


def test_a_message_with_a_trace_context_has_it_as_its_parent(seen: Seen) -> None:
    conversation = opened(seen)
    turn(conversation, "a", traceparent=OTHER)
    turn(conversation, "b", traceparent="not one")
    conversation.end()
    carried, plain = spans(seen, "invoke_agent")
    (session,) = spans(seen, "session")
    assert f"00-{carried['trace_id']}-{carried['parent_id']}-01" == OTHER
    assert [link["span_id"] for link in carried["links"]] == [session["span_id"]]
    assert (plain["parent_id"], plain["links"]) == (session["span_id"], [])


@pytest.mark.parametrize(
    ("code", "by", "outcome", "error_type", "around"),
    [
        (1000, "agent", "truncated", "truncated", "truncated"),
        (1005, "agent", "truncated", "truncated", "truncated"),
        (1006, "agent", "truncated", "1006", "truncated"),
        (1011, "agent", "failed", "1011", "failed"),
        (1008, "agent", "failed", "1008", "failed"),
        (1000, "caller", "abandoned", None, "abandoned"),
        (1006, "caller", "abandoned", None, "abandoned"),
        (1001, "proxy", "shutdown", "shutdown", "shutdown"),
        (1009, "proxy", "failed", "1009", "failed"),
    ],
)
def test_how_a_close_in_mid_turn_ends_it(
    seen: Seen, code: int, by: str, outcome: str, error_type: str | None, around: str
) -> None:
    conversation = opened(seen)
    turn(conversation, "a", ends=False)
    conversation.closed(code, "", by)
    (run,), (session,) = spans(seen, "invoke_agent"), spans(seen, "session")
    for span, ended in ((run, outcome), (session, around)):
        assert span["attributes"]["streamgauge.outcome"] == ended
        assert span["attributes"].get("error.type") == error_type
    assert not seen.open


@pytest.mark.parametrize(
    ("code", "by", "outcome"),
    [(1000, "agent", "completed"), (1001, "agent", "completed"), (1006, "agent", "truncated"),
     (1011, "agent", "failed"), (1000, "caller", "abandoned"), (1001, "proxy", "shutdown")],
)  # fmt: skip
def test_a_close_between_turns_is_the_sessions_alone(seen: Seen, code: int, by: str, outcome: str) -> None:
    conversation = opened(seen)
    turn(conversation, "a")
    conversation.closed(code, "", by)
    (run,), (session,) = spans(seen, "invoke_agent"), spans(seen, "session")
    assert run["attributes"]["streamgauge.outcome"] == "completed"
    assert session["attributes"]["streamgauge.outcome"] == outcome


def test_a_session_in_which_nothing_was_said(seen: Seen) -> None:
    conversation = opened(seen)
    conversation.answered(403)
    conversation.end(outcome=Outcome.FAILED, error_type="403")
    assert seen.tree() == ["session turns"]
    (session,) = seen.spans
    assert (session["status"], session["attributes"]["error.type"]) == ("ERROR", "403")
    assert seen.value("streamgauge.streams") == 0


def test_a_session_that_is_open_at_the_end_is_closed_as_shutdown(seen: Seen) -> None:
    idle, busy = opened(seen), opened(seen)
    turn(idle, "a")
    turn(busy, "b", ends=False)
    seen.pipeline.close_streams()
    assert [span["attributes"]["streamgauge.outcome"] for span in spans(seen, "session")] == ["shutdown"] * 2
    assert sorted(span["attributes"]["streamgauge.outcome"] for span in spans(seen, "invoke")) == [
        "completed", "shutdown",
    ]  # fmt: skip
    assert not seen.open


def test_only_runs_are_counted(seen: Seen) -> None:
    conversation = opened(seen)
    turn(conversation, "a")
    turn(conversation, "b", ends=False)
    assert seen.value("streamgauge.streams.active") == 1
    conversation.closed(1006, "", "agent")
    assert seen.value("streamgauge.streams") == 2
    for outcome in ("completed", "truncated"):
        assert seen.value("streamgauge.streams", streamgauge_outcome=outcome) == 1


@pytest.mark.logs
def test_a_message_too_large_is_passed_over_and_the_next_is_read(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    conversation = opened(seen)
    conversation.sent('{"ask": "x"}')
    with caplog.at_level(logging.WARNING):
        conversation.received('"' + "x" * MAX_MESSAGE_BYTES + '"', time.monotonic_ns())
        conversation.skipped(time.monotonic_ns())
    turn(conversation, "b")
    conversation.end()
    assert len(caplog.records) == 1
    assert "too large" in caplog.text
    assert seen.value("streamgauge.tap.blind", reason="size") == 2
    assert [span["attributes"]["streamgauge.outcome"] for span in spans(seen, "invoke_agent")] == ["completed"] * 2


@pytest.mark.logs
def test_a_message_of_the_callers_that_is_too_large_is_no_answer(seen: Seen) -> None:
    conversation = opened(seen)
    conversation.sent('{"ask": "x"}')
    conversation.sent("x" * (MAX_MESSAGE_BYTES + 1))
    conversation.skipped(time.monotonic_ns(), came=False)
    conversation.end()
    (run,) = spans(seen, "invoke_agent")
    assert "streamgauge.stream.time_to_first_byte" not in run["attributes"]


def test_the_dialect_is_the_one_that_claims_the_path(seen: Seen) -> None:
    for path in ("/v1/turns", "/elsewhere"):
        opened(seen, path).end()
    assert [span["name"] for span in spans(seen, "session")] == ["session turns", "session generic-messages"]


def test_a_command_line_is_told_without_what_may_be_private(seen: Seen, tmp_path: Any) -> None:
    told: list[Any] = []

    class Listening(Turns):
        @classmethod
        def asked(cls, path: str, body: Any) -> dict[str, Any]:
            return {"model": path.split()[-1]}

        def feed(self, data: Any, at: int) -> Signals:
            told.append(data)
            return ()

    dialects._found["turns"] = Listening
    watch = duplex.watch("stdio", dialect="turns", pipeline=lambda: seen.pipeline)
    command = ["/opt/bin/agent", "exec", "resume", "Tell me", "--api-key=sk-1", "-p", "a prompt", "--model", "m-1"]
    watch(command=command).end()
    assert told == [Aside("started", {"command": "agent exec resume --api-key -p --model"})]
    watch(command=["agent", "--json", "--", "--not-an-option"]).end()
    assert told[-1] == Aside("started", {"command": "agent --json"})


def test_a_capture_of_a_session_replays_as_it_was(tmp_path: Any) -> None:
    with testing.recording(capture_dir=str(tmp_path)) as live:
        conversation = opened(live)
        conversation.answered(101)
        turn(conversation, "a", "ä", name="one")
        turn(conversation, "b", name="two", ends=False)
        conversation.closed(1011, "oh", "agent")
    (file,) = tmp_path.iterdir()
    with testing.recording() as again:
        replay.replay(capture.read(file), again.pipeline)
    assert again.tree() == live.tree()

    def told(seen: Seen) -> list[dict[str, Any]]:
        timeless = []
        for span in seen.spans:
            known = {name: value for name, value in span["attributes"].items() if not isinstance(value, float)}
            timeless.append({"name": span["name"], "status": span["status"], **known})
        return timeless

    assert told(again) == told(live)


@pytest.mark.parametrize("by", ["caller", "agent", "proxy"])
@pytest.mark.parametrize("code", [0, 1000, 1005, 1006, 1011, 3000, 4999])
def test_every_close_has_an_ending(code: int, by: str) -> None:
    outcome, error_type = ending(code, by)
    assert (outcome is None) == (by == "agent" and code in (1000, 1001, 1005))
    assert bool(error_type) == (outcome in (Outcome.FAILED, Outcome.TRUNCATED))


def test_nothing_is_harmed_where_nobody_watches() -> None:
    conversation = Conversation(None, lambda tap: {})
    conversation.answered(101)
    conversation.sent("x")
    conversation.received("x", 0)
    conversation.skipped(0)
    conversation.paused()
    conversation.resumed()
    conversation.closed(1000, "", "agent")
    conversation.end()
    assert (conversation.traceparent(), conversation.context, conversation.watched) == ({}, None, False)
