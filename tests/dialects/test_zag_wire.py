"""zag's process: its lines are those of `zag` (see `test_zag`); here is what is said to it, and how its runs begin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from streamgauge import capture
from streamgauge.dialects.zag import Zag
from streamgauge.dialects.zag_wire import ZagWire
from streamgauge.signals import RUN, Noted, Opened, Signal
from streamgauge.wire import Aside, Granularity, Outcome

from .message_streams import CAPTURES, FINISH, UNTOLD, anything, lines, sent, sound
from .stdio_streams import claims, facts, replayed, spans, watched
from .test_zag import INIT, LAST, LIMIT, PERMISSION, call, complete, ran, result, says, text, usage

STARTED = Aside("started", {"command": "zag exec -o stream-json Hi"})
MESSAGE = sent({"type": "user_message", "content": "more"})
WIRE = sorted(CAPTURES.glob("zag-*.ndjson"))


def message(semantics: str) -> Aside:
    return Aside("sent", {**MESSAGE.data, "semantics": semantics})


ANSWER = [says(text("hi")), complete(), result()]
ANSWERED = ["@{0} text chat: hi", "@{1} note chat: end_turn", "@{1} note 0 end_turn", "@{0} -chat:", "@{1} -"]


def answered(at: int) -> list[str]:
    return [each.format(at, at + 1) for each in ANSWERED]


ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "started": ([STARTED, INIT, *ANSWER], ["@1 + invoke_agent", "@2 note m", "@2 +chat: chat m", *answered(3)]),
    "started: twice": ([STARTED, STARTED], ["@1 + invoke_agent"]),
    "init": ([INIT, *ANSWER], ["@1 + invoke_agent", "@1 note m", "@1 +chat: chat m", *answered(2)]),
    "init: again": (
        [STARTED, *ANSWER, INIT], ["@1 + invoke_agent", "@1 +chat: chat", *answered(2)]),
    "sent: user_message": (
        [STARTED, *ANSWER, MESSAGE, INIT, *ANSWER],
        ["@1 + invoke_agent", "@1 +chat: chat", *answered(2), "@5 + invoke_agent", "@6 note m", "@6 +chat: chat m",
         *answered(7)]),
    "sent: user_message: the first": (
        [MESSAGE, INIT], ["@1 + invoke_agent", "@2 note m"]),
    "sent: in mid-turn: queue": (
        [STARTED, MESSAGE, *ANSWER, *ANSWER],
        ["@1 + invoke_agent", "@2 note queue", "@1 +chat: chat", *answered(3), "@4 + invoke_agent", "@4 +chat: chat",
         *answered(6)]),
    "sent: in mid-turn: between-turns-only": (
        [STARTED, message("between-turns-only"), *ANSWER],
        ["@1 + invoke_agent", "@2 note between-turns-only", "@1 +chat: chat", *answered(3)]),
    "sent: in mid-turn: interrupt": (
        [STARTED, message("interrupt"), complete(None), result(False), *ANSWER],
        ["@1 + invoke_agent", "@2 note interrupt", "@3 note 0", "@3 note by input", "@3 - cancelled",
         "@3 + invoke_agent", "@3 +chat: chat", *answered(5)]),
    "sent: in mid-turn: interrupt, but it was done": (
        [STARTED, message("interrupt"), *ANSWER],
        ["@1 + invoke_agent", "@2 note interrupt", "@1 +chat: chat", *answered(3), "@4 + invoke_agent"]),
    "sent: nothing for the agent": (
        [sent("x"), sent({"type": "control"}), sent(b"\xff"), Aside("sent", {})], []),
    "nesting": (
        [STARTED, says(call("T", "Task")), says(call("S"), parent="T"), ran("S", parent_tool_use_id="T"), ran("T")],
        ["@1 + invoke_agent", "@1 +chat: chat", '@2 tool_call chat: {}', "@2 +tool:T execute_tool Task T {}",
         "@3 +agent:T invoke_agent <tool:T", "@3 +chat:T chat <agent:T", "@3 tool_call chat:T {}",
         "@3 +tool:S execute_tool Bash <agent:T S {}", "@3 -chat:T", "@4 note tool:S out", "@4 -tool:S", "@2 -chat:",
         "@5 -agent:T", "@5 note tool:T out", "@5 -tool:T"]),
    "usage_limit_detected": (
        [STARTED, says(text("limit")), LIMIT, complete(None), result(False)],
        ["@1 + invoke_agent", "@1 +chat: chat", "@2 text chat: limit",
         "@3 note usage_limit session 2026-01-01T00:00:00+00:00", "@4 note 0", "@2 -chat:", "@4 - failed usage_limit"]),
    "permission_request": ([STARTED, PERMISSION], ["@1 + invoke_agent", "@2 note person.asked Bash"]),
    "result: of the process": (
        [STARTED, *ANSWER, LAST, Aside("exited", {"code": 0}), INIT, says(text("late"))],
        ["@1 + invoke_agent", "@1 +chat: chat", *answered(2)]),
    "result: of no turn": ([result(), LAST, complete()], []),
    "exited: before the result": (
        [STARTED, says(text("hi")), complete(), Aside("exited", {"code": 0}), FINISH, UNTOLD],
        ["@1 + invoke_agent", "@1 +chat: chat", *answered(2)]),
    "exited: in mid-turn": (
        [STARTED, says(text("hi")), Aside("exited", {"code": 2}), UNTOLD, MESSAGE],
        ["@1 + invoke_agent", "@1 +chat: chat", "@2 text chat: hi", "@5 note queue"]),
    "no event": (["x", "5", "[]", '{"type": 5}', '{"type": "new"}', Aside("http.response", {})], []),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_told(steps: list[Any], expected: list[str]) -> None:
    assert lines(ZagWire(), steps) == expected


def test_it_knows_the_events_of_zag() -> None:
    assert set(ZagWire.events) == set(Zag.events) | {"sent: user_message"}


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.stem)
def test_a_captured_stream_tells_the_same(path: Path) -> None:
    """The events of the binding's captures, as lines."""
    taken = capture.read(path)
    events = [event for event in taken.events if not isinstance(event.data, Aside)]
    own, wire = Zag(), ZagWire()
    first: list[Signal] = []
    second = list(wire.feed(STARTED, 1))
    for number, event in enumerate(events, 2):
        first += own.feed(event.data, number)
        data = event.data.data if hasattr(event.data, "data") else event.data
        second += wire.feed(data if isinstance(data, str) else json.dumps(data, default=vars), number)
    assert isinstance(second[0], Opened)
    since = [each for each in second[1:] if not (isinstance(each, Opened) and each.operation == "chat")]
    assert since == [each for each in first if not (isinstance(each, Opened) and each.operation == "chat")]


def test_a_turn_each_in_the_processs_session() -> None:
    steps = [STARTED, INIT, says(text("a"), tokens=usage(3, 1)), MESSAGE, complete(), result(),
             says(text("b"), tokens=usage(3, 1)), complete("end_turn", 1), result(), LAST,
             Aside("exited", {"code": 0})]  # fmt: skip
    seen = watched(ZagWire, steps)
    first, second = spans(seen, "invoke_agent")
    names = (
        "streamgauge.turn.index",
        "streamgauge.send.semantics",
        "gen_ai.usage.output_tokens",
        "streamgauge.outcome",
    )
    assert facts(first, *names) == [0, "queue", 1, "completed"]
    assert facts(second, *names) == [1, None, 1, "completed"]
    assert second["start"] == first["end"]
    (session,) = spans(seen, "session")
    assert facts(session, "streamgauge.session.turns", "process.exit.code") == [2, 0]


def test_what_is_open_ends_as_the_process_does() -> None:
    steps = [STARTED, INIT, says(text("a"), call()), Aside("exited", {"code": 2})]
    seen = watched(ZagWire, steps, outcome=Outcome.FAILED, error_type="exit_2")
    assert {each["attributes"]["error.type"] for each in spans(seen)} == {"exit_2"}
    (run,) = spans(watched(ZagWire, steps[:-1]), "invoke_agent")
    assert facts(run, "streamgauge.outcome") == ["truncated"]


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("zag exec -o stream-json Hi", True),
        ("zag exec -p claude -i stream-json -o stream-json Hi", True),
        ("zag exec --output=stream-json Hi", True),
        ("zag exec Hi", False),
        ("zigzag exec -o stream-json Hi", False),
        ("zag exec -o json Hi", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert claims(ZagWire, command) is claimed


def test_what_it_says_of_itself() -> None:
    assert (ZagWire.terminal, ZagWire.granularity, ZagWire.framing) == (True, Granularity.MESSAGE, "ndjson")
    assert ZagWire.asked("zag exec -p claude --model opus Hi", None) == {"agent_name": "claude", "model": "opus"}
    assert ZagWire.asked("", None) == {"agent_name": "zag"}


def test_the_captures() -> None:
    seen = replayed(ZagWire, "zag_wire-three-turns")
    outcomes = [facts(each, "streamgauge.outcome", "error.type") for each in spans(seen, "invoke_agent claude")]
    assert outcomes == [["completed", None], ["completed", None], ["failed", "usage_limit"]]
    assert seen.tree()[:6] == [
        "session zag-wire", "  invoke_agent claude", "    chat claude-sonnet-4-5", "    execute_tool Task",
        "      invoke_agent", "        chat claude-sonnet-4-5",
    ]  # fmt: skip
    crashed = replayed(ZagWire, "zag_wire-crash")
    assert [facts(each, "error.type") for each in spans(crashed, "invoke_agent")] == [["exit_2"]]


KEYS = [
    "type", "content", "text", "id", "name", "input", "usage", "tool_id", "result", "success", "parent_tool_use_id",
    "stop_reason", "turn_index",
]  # fmt: skip
VALUES = [*Zag.events, "text", "tool_use", "T", "end_turn"]
OTHERS = [STARTED, MESSAGE, message("interrupt"), message("between-turns-only"), Aside("exited", {"code": 0})]


@given(anything(KEYS, VALUES))
def test_anything(steps: list[Any]) -> None:
    sound(ZagWire(), steps)
    dialect = ZagWire()
    noted = [each for step in OTHERS for each in dialect.feed(step, 1)]
    assert next(each for each in noted if isinstance(each, Noted)).key == RUN
    sound(ZagWire(), [each for pair in zip(steps, OTHERS, strict=False) for each in pair])
