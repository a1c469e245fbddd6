"""The table of zag's events, from zag 0.18.0: `types.py` of the Python binding, and the Rust event enum for what is
only on the wire."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.dialects import find
from streamgauge.dialects.zag import Zag
from streamgauge.signals import USAGE_LIMIT, Chunk, Closed, Noted, Opened, Signal, Usage
from streamgauge.wire import Aside, Granularity, Outcome, ServerSentEvent

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("zag-*.ndjson"))
IN_TYPES_PY = {
    "init", "user_message", "assistant_message", "tool_execution", "turn_complete", "result", "error",
    "permission_request",
}  # fmt: skip
ON_THE_WIRE_ONLY = {"usage_limit_detected"}


def text(words_: str) -> dict[str, Any]:
    return {"type": "text", "text": words_}


def call(id_: str = "t1", name: str = "Bash", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments}


def usage(taken: int, given_: int, read: int | None = None, written: int | None = None) -> dict[str, Any]:
    return {
        "input_tokens": taken, "output_tokens": given_, "cache_read_tokens": read, "cache_creation_tokens": written,
        "web_search_requests": None, "web_fetch_requests": None,
    }  # fmt: skip


def says(*content: Any, tokens: Any = None, parent: str | None = None) -> dict[str, Any]:
    event = {"type": "assistant_message", "content": list(content), "usage": tokens}
    return event if parent is None else {**event, "parent_tool_use_id": parent}


def ran(id_: str = "t1", *, output: str | None = "out", error: str | None = None, **more: Any) -> dict[str, Any]:
    result = {"success": error is None, "output": None if error else output, "error": error, "data": None}
    return {"type": "tool_execution", "tool_name": "Bash", "tool_id": id_, "input": None, "result": result, **more}


def complete(reason: str | None = "end_turn", index: int = 0, tokens: Any = None) -> dict[str, Any]:
    return {"type": "turn_complete", "stop_reason": reason, "turn_index": index, "usage": tokens}


def result(success: bool = True) -> dict[str, Any]:
    return {"type": "result", "success": success, "message": "what it said", "duration_ms": 50, "num_turns": 1}


def sent(semantics: str = "queue") -> Aside:
    return Aside("sent", {"semantics": semantics})


INIT = {"type": "init", "model": "m", "tools": ["Bash"], "working_directory": "/w", "metadata": {"cwd": "/w"}}
ASKED = {"type": "user_message", "content": [text("more")]}
LAST = {"type": "result", "success": True, "message": None, "duration_ms": None, "num_turns": None}
FAILED = {"type": "error", "message": "odd thing", "details": {"k": 1}}
PERMISSION = {"type": "permission_request", "tool_name": "Bash", "description": "run ls", "granted": False}
LIMIT = {
    "type": "usage_limit_detected", "provider": "claude", "scope": "session", "reset_at": "2026-01-01T00:00:00+00:00",
    "raw": "Claude AI usage limit reached|1700000000",
}  # fmt: skip


def words(signal: Signal) -> str:
    """A signal in one line, with its time; the run's key is empty."""
    return " ".join(_words(signal).split())


def _words(signal: Signal) -> str:
    at = f"@{signal.at} "
    match signal:
        case Opened(key, _, operation, name, parent):
            return f"{at}+{key} {operation} {name} <{parent}"
        case Closed(key, _, outcome, error_type, message):
            how = "" if outcome is Outcome.COMPLETED else f" {outcome}"
            return f"{at}-{key}{how}{error_type and ' ' + error_type}{message and ': ' + message}"
        case Chunk(key, _, kind, piece):
            return f"{at}{kind} {key} {piece}"
        case Usage(key):
            counts = (signal.input_tokens, signal.output_tokens, signal.cache_read_tokens, signal.cache_write_tokens)
            return f"{at}usage {key} " + "/".join("" if count is None else str(count) for count in counts)
        case Noted(key, _, attributes, name):
            return f"{at}note {key} {name}" + "".join(f" {value}" for value in attributes.values())
    raise AssertionError(signal)


def told(events: Iterable[Any], dialect: Zag | None = None) -> list[str]:
    """What the events tell, the first at 1, the next at 2."""
    dialect = dialect or Zag()
    return [words(signal) for at, data in enumerate(events, 1) for signal in dialect.feed(data, at)]


TURN = [INIT, says(text("hi")), complete(), result()]
TOLD_TURN = [
    "@1 note m", "@1 +chat: chat m <", "@2 text chat: hi", "@3 note chat: ['end_turn']", "@3 note 0 ['end_turn']",
    "@2 -chat:", "@3 -",
]  # fmt: skip

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # One event of each type
    "init": ([INIT], ["@1 note m"]),
    "init: the model is not known": ([{**INIT, "model": ""}], []),
    "init: again": ([INIT, INIT], ["@1 note m", "@2 note m"]),
    "init: while the model answers": (
        [INIT, says(), INIT, says(text("hi"))],
        ["@1 note m", "@1 +chat: chat m <", "@3 note m", "@4 text chat: hi"],
    ),
    "init: no run": ([*TURN, INIT], TOLD_TURN),
    "user_message": ([ASKED], []),
    "assistant_message": ([INIT, says(text("hi"))], ["@1 note m", "@1 +chat: chat m <", "@2 text chat: hi"]),
    "assistant_message: no start was seen": ([says(text("hi"))], ["@1 +chat: chat <", "@1 text chat: hi"]),
    "assistant_message: the start": (
        [Aside("started"), says(text("hi"))],
        ["@1 +chat: chat <", "@2 text chat: hi"],
    ),
    "assistant_message: thinking only": ([INIT, says()], ["@1 note m", "@1 +chat: chat m <"]),
    "assistant_message: thinking, then text": (
        [INIT, says(tokens=usage(3, 1)), says(text("hi"), tokens=usage(3, 9, 7, 5)), complete()],
        [
            "@1 note m", "@1 +chat: chat m <", "@2 usage chat: 3/1//", "@2 usage 3/1//", "@3 text chat: hi",
            "@4 usage chat: 15/9/7/5", "@4 usage 15/9/7/5", "@4 note chat: ['end_turn']", "@4 note 0 ['end_turn']",
            "@3 -chat:",
        ],
    ),
    "assistant_message: a tool": (
        [says(text("so"), call(command="ls"))],
        [
            "@1 +chat: chat <", "@1 text chat: so", '@1 tool_call chat: {"command": "ls"}',
            '@1 +tool:t1 execute_tool Bash <',
        ],
    ),
    "assistant_message: a tool without arguments or id": (
        [says({"type": "tool_use", "id": "", "name": "Bash", "input": None})],
        ["@1 +chat: chat <"],
    ),
    "assistant_message: a tool without arguments": (
        [says({"type": "tool_use", "id": "t1", "name": None, "input": None})],
        ["@1 +chat: chat <", "@1 +tool:t1 execute_tool <"],
    ),
    "assistant_message: a tool that is repeated": (
        [says(call()), says(call())],
        ["@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:t1 execute_tool Bash <", "@2 tool_call chat: {}"],
    ),
    "tool_execution": (
        [says(call()), ran(), says(text("done"))],
        [
            "@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:t1 execute_tool Bash <", "@1 -chat:",
            "@2 note tool:t1 out", "@2 -tool:t1", "@2 +chat: chat <", "@3 text chat: done",
        ],
    ),
    "tool_execution: failed": (
        [says(call()), ran(error="exit 1")],
        [
            "@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:t1 execute_tool Bash <", "@1 -chat:",
            "@2 note tool:t1 exit 1", "@2 -tool:t1 failed tool_error",
        ],
    ),
    "tool_execution: without output": (
        [says(call()), ran(output=None)],
        [
            "@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:t1 execute_tool Bash <", "@1 -chat:", "@2 -tool:t1",
        ],
    ),
    "tool_execution: of an unknown tool": ([ran("t9")], []),
    "tool_execution: in no turn": ([*TURN, ran()], TOLD_TURN),
    "turn_complete": (
        [complete(index=2, tokens=usage(7, 2)), result()],
        ["@1 note 2 ['end_turn']", "@1 usage 7/2//", "@1 -"],
    ),
    "turn_complete: its tokens are the last message's": (
        [says(text("a"), tokens=usage(10, 8)), ran(), says(text("b"), tokens=usage(20, 4)),
         complete(tokens=usage(20, 4))],
        [
            "@1 +chat: chat <", "@1 text chat: a", "@1 usage chat: 10/8//", "@1 usage 10/8//", "@1 -chat:",
            "@2 +chat: chat <", "@3 text chat: b", "@3 usage chat: 20/4//", "@3 usage 30/12//",
            "@4 note chat: ['end_turn']", "@4 note 0 ['end_turn']", "@3 -chat:",
        ],
    ),
    "turn_complete: the message had no tokens": (
        [says(text("a")), complete(reason=None, tokens=usage(20, 4))],
        [
            "@1 +chat: chat <", "@1 text chat: a", "@2 note 0", "@2 usage chat: 20/4//", "@2 usage 20/4//",
            "@1 -chat:",
        ],
    ),
    "turn_complete: a tool whose end was not told": (
        [says(call("t1"), call("t2")), ran("t2"), complete()],
        [
            "@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:t1 execute_tool Bash <", "@1 tool_call chat: {}",
            "@1 +tool:t2 execute_tool Bash <", "@1 -chat:", "@2 note tool:t2 out", "@2 -tool:t2",
            "@3 note 0 ['end_turn']", "@3 note tool:t1 True", "@3 -tool:t1",
        ],
    ),
    "turn_complete: says nothing": ([{"type": "turn_complete"}, result()], ["@1 -"]),
    "turn_complete: twice": ([complete(), complete()], ["@1 note 0 ['end_turn']", "@1 -"]),
    "result": ([complete(), result()], ["@1 note 0 ['end_turn']", "@1 -"]),
    "result: no success": ([complete(), result(False)], ["@1 note 0 ['end_turn']", "@1 - failed result_error"]),
    "result: of the process": ([LAST], []),
    "result: of the process, after the turn": ([*TURN, LAST], TOLD_TURN),
    "result: no success, and no turn_complete": ([result(False)], ["@1 - failed result_error"]),
    "error": ([FAILED], ["@1 - failed: odd thing"]),
    "error: with a code": (
        [{**FAILED, "details": {"code": "overloaded"}}],
        ["@1 - failed overloaded: odd thing"],
    ),
    "error: with words for a code": ([{**FAILED, "details": {"type": "it broke!"}}], ["@1 - failed: odd thing"]),
    "error: the rest of its turn": (
        [FAILED, says(text("x")), PERMISSION, complete(), result(False), LAST, ASKED],
        ["@1 - failed: odd thing", "@7 + invoke_agent <"],
    ),
    "error: a result follows": (
        [FAILED, result(False), ASKED],
        ["@1 - failed: odd thing", "@3 + invoke_agent <"],
    ),
    "error: in no turn": ([*TURN, FAILED], TOLD_TURN),
    "permission_request": ([PERMISSION], ["@1 note streamgauge.person.asked Bash"]),
    "permission_request: of no tool": (
        [{**PERMISSION, "tool_name": None}],
        ["@1 note streamgauge.person.asked"],
    ),
    "permission_request: granted": (
        [{**PERMISSION, "granted": True}],
        ["@1 note streamgauge.person.asked Bash", "@1 note streamgauge.person.answered Bash"],
    ),
    "usage_limit_detected": ([LIMIT], [f"@1 note {USAGE_LIMIT} session 2026-01-01T00:00:00+00:00"]),
    "usage_limit_detected: the turn fails": (
        [LIMIT, complete(None), result(False)],
        [f"@1 note {USAGE_LIMIT} session 2026-01-01T00:00:00+00:00", "@2 note 0", "@2 - failed usage_limit"],
    ),
    "usage_limit_detected: in no turn": ([*TURN, LIMIT], TOLD_TURN),
    # Turns
    "a turn": (TURN, TOLD_TURN),
    "the next turn: a message comes back": (
        [*TURN, ASKED, INIT, says(text("yo"))],
        [*TOLD_TURN, "@5 + invoke_agent <", "@6 note m", "@6 +chat: chat m <", "@7 text chat: yo"],
    ),
    "the next turn: the answer alone": (
        [*TURN, says(text("yo"))],
        [*TOLD_TURN, "@5 + invoke_agent <", "@5 +chat: chat m <", "@5 text chat: yo"],
    ),
    "the next turn: a person is asked": (
        [*TURN, PERMISSION],
        [*TOLD_TURN, "@5 + invoke_agent <", "@5 note streamgauge.person.asked Bash"],
    ),
    "the next turn: no result of the last": (
        [*TURN[:3], ASKED, result()],
        [*TOLD_TURN, "@4 + invoke_agent <"],
    ),
    "a send": ([*TURN, sent(), ASKED], [*TOLD_TURN, "@5 + invoke_agent <"]),
    "a send: the answer": (
        [*TURN, sent(), says(text("yo"))],
        [*TOLD_TURN, "@5 + invoke_agent <", "@5 +chat: chat m <", "@6 text chat: yo"],
    ),
    "a send: in mid-turn": (
        [*TURN[:2], sent(), *TURN[2:], says(text("yo"))],
        [
            *TOLD_TURN[:3], "@3 note queue", "@4 note chat: ['end_turn']", "@4 note 0 ['end_turn']", "@2 -chat:",
            "@4 -", "@4 + invoke_agent <", "@4 +chat: chat m <", "@6 text chat: yo",
        ],
    ),
    "a send: two in mid-turn": (
        [sent(), sent(), complete(), result(), complete(), result(), ASKED],
        [
            "@1 note queue", "@2 note queue", "@3 note 0 ['end_turn']", "@3 -", "@3 + invoke_agent <",
            "@5 note 0 ['end_turn']", "@5 -", "@7 + invoke_agent <",
        ],
    ),
    "a send: in mid-turn, which interrupts": (
        [sent("interrupt"), complete(), result()],
        ["@1 note interrupt", "@2 note 0 ['end_turn']", "@2 -", "@2 + invoke_agent <"],
    ),
    "a send: in mid-turn, to nobody": (
        [sent("between-turns-only"), complete(), result()],
        ["@1 note between-turns-only", "@2 note 0 ['end_turn']", "@2 -"],
    ),
    "a send: in mid-turn, nobody knows what it means": (
        [sent(""), complete(), result()],
        ["@2 note 0 ['end_turn']", "@2 -", "@2 + invoke_agent <"],
    ),
    "a send: before the result was read": (
        [complete(), sent("between-turns-only"), result(False), says(text("yo"))],
        [
            "@1 note 0 ['end_turn']", "@1 - failed result_error", "@2 + invoke_agent <", "@2 +chat: chat <",
            "@4 text chat: yo",
        ],
    ),
    "a send: after an error": ([FAILED, sent()], ["@1 - failed: odd thing", "@2 + invoke_agent <"]),
    "a send: an error follows": (
        [sent(), FAILED, says(text("x"))],
        ["@1 note queue", "@2 - failed: odd thing", "@2 + invoke_agent <", "@2 +chat: chat <", "@3 text chat: x"],
    ),
    "send_failed": (
        [*TURN, sent(), Aside("send_failed", {"error_type": "ConnectionResetError"})],
        [*TOLD_TURN, "@5 + invoke_agent <", "@6 - failed ConnectionResetError"],
    ),
    "send_failed: in mid-turn": (
        [sent(), Aside("send_failed", {"error_type": "ConnectionResetError"}), complete(), result()],
        ["@1 note queue", "@3 note 0 ['end_turn']", "@3 -"],
    ),
    "send_failed: the answer has come": (
        [*TURN, sent(), ASKED, Aside("send_failed", {"error_type": "OSError"})],
        [*TOLD_TURN, "@5 + invoke_agent <"],
    ),
    "left: at turn_complete": (
        [*TURN[:3], Aside("left"), sent(), result(False), complete(), result()],
        [*TOLD_TURN, "@5 + invoke_agent <", "@7 note 0 ['end_turn']", "@7 -"],
    ),
    "left: at a turn_complete that may be a failure's": (
        [complete("stop_sequence"), Aside("left"), sent(), result(False)],
        ["@1 note 0 ['stop_sequence']", "@1 - failed result_error", "@3 + invoke_agent <"],
    ),
    "left: in mid-turn": ([INIT, Aside("left")], ["@1 note m"]),
    "read_failed": (
        [INIT, Aside("read_failed", {"error_type": "ValueError"}), says(text("x")), complete(), result(), ASKED],
        ["@1 note m", "@2 - failed ValueError", "@6 + invoke_agent <"],
    ),
    "read_failed: after the turn": (
        [*TURN[:3], Aside("read_failed", {"error_type": "ValueError"})],
        TOLD_TURN,
    ),
    "started: between turns": ([*TURN, Aside("started")], TOLD_TURN),
    "stdout_ended": ([*TURN[:3], Aside("stdout_ended"), sent(), ASKED], TOLD_TURN),
    "stdout_ended: in mid-turn": ([INIT, LAST, Aside("stdout_ended")], ["@1 note m"]),
    "over": ([sent(), complete(None), Aside("over"), ASKED], ["@1 note queue", "@2 note 0", "@2 -"]),
    "an aside of somebody else's": ([Aside("unheard_of", {"x": 1})], []),
    # Sub-agents: on the wire only
    "a sub-agent": (
        [
            says(call("T", "Task")), says(text("I look"), call("s1"), tokens=usage(1, 1), parent="T"),
            ran("s1", parent_tool_use_id="T"), says(text("found"), tokens=usage(2, 2), parent="T"), ran("T"),
            says(text("so")),
        ],
        [
            "@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:T execute_tool Task <",
            "@2 +agent:T invoke_agent <tool:T", "@2 +chat:T chat <agent:T", "@2 text chat:T I look",
            "@2 tool_call chat:T {}", "@2 +tool:s1 execute_tool Bash <agent:T", "@2 usage chat:T 1/1//",
            "@2 usage 1/1//", "@2 -chat:T", "@3 note tool:s1 out", "@3 -tool:s1", "@3 +chat:T chat <agent:T",
            "@4 text chat:T found", "@4 usage chat:T 2/2//", "@4 usage 3/3//", "@1 -chat:", "@4 -chat:T",
            "@5 -agent:T", "@5 note tool:T out", "@5 -tool:T", "@5 +chat: chat <", "@6 text chat: so",
        ],
    ),
    "a sub-agent with an open tool": (
        [says(call("T")), says(call("s"), parent="T"), ran("T", error="stopped")],
        [
            "@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:T execute_tool Bash <",
            "@2 +agent:T invoke_agent <tool:T", "@2 +chat:T chat <agent:T", "@2 tool_call chat:T {}",
            "@2 +tool:s execute_tool Bash <agent:T", "@1 -chat:", "@3 -tool:s failed tool_error", "@2 -chat:T",
            "@3 -agent:T failed tool_error", "@3 note tool:T stopped", "@3 -tool:T failed tool_error",
        ],
    ),
    "a sub-agent below one, at the turn's end": (
        [says(call("T")), says(call("S"), parent="T"), says(text("deep"), parent="S"), complete()],
        [
            "@1 +chat: chat <", "@1 tool_call chat: {}", "@1 +tool:T execute_tool Bash <",
            "@2 +agent:T invoke_agent <tool:T", "@2 +chat:T chat <agent:T", "@2 tool_call chat:T {}",
            "@2 +tool:S execute_tool Bash <agent:T", "@3 +agent:S invoke_agent <tool:S", "@3 +chat:S chat <agent:S",
            "@3 text chat:S deep", "@4 note chat: ['end_turn']", "@4 note 0 ['end_turn']", "@3 -chat:S", "@2 -chat:T",
            "@1 -chat:", "@4 -agent:S", "@4 note tool:S True", "@4 -tool:S", "@4 -agent:T", "@4 note tool:T True",
            "@4 -tool:T",
        ],
    ),
    "a sub-agent of an unknown tool": (
        [says(text("hi"), parent="T")],
        ["@1 +agent:T invoke_agent <", "@1 +chat:T chat <agent:T", "@1 text chat:T hi"],
    ),
    "a sub-agent that outlives its turn": ([*TURN, says(text("hi"), parent="T")], TOLD_TURN),
    # What is none of it
    "an unknown type": ([{"type": "something_new"}], []),
    "no event": ([None, 1, [], {}, "not json", b"\xff", {"type": None}, {"type": ["init"]}], []),
    "content that is none": (
        [{"type": "assistant_message", "content": "hi"}, says(1, text(""), {"type": "text", "text": 2})],
        ["@1 +chat: chat <"],
    ),
    "counts that are none": ([{**complete(), "turn_index": True, "usage": usage(-1, True)}], ["@1 note ['end_turn']"]),  # type: ignore[arg-type]
    "zeros are nobody's count": ([complete(tokens=usage(0, 0))], ["@1 note 0 ['end_turn']"]),
    "counts of one message only": (
        [says(tokens=usage(1, 1, 1)), ran(), says(tokens=usage(2, 2, None, 4))],
        [
            "@1 +chat: chat <", "@1 usage chat: 2/1/1/", "@1 usage 2/1/1/", "@1 -chat:", "@2 +chat: chat <",
            "@3 usage chat: 6/2//4", "@3 usage 8/3/1/4",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    """The binding's objects, lines of text and of bytes, and lines in an event stream."""
    wire = [data if isinstance(data, Aside | str | bytes) else json.dumps(data) for data in events]
    assert told(wire) == expected
    assert told(line.encode() if isinstance(line, str) else line for line in wire) == expected
    assert told(ServerSentEvent(line) if isinstance(line, str) else line for line in wire) == expected
    assert told(as_object(data) for data in events) == expected


def as_object(data: Any) -> Any:
    if isinstance(data, list):
        return [as_object(item) for item in data]
    if not isinstance(data, dict):
        return data
    kind = dataclasses.make_dataclass("Event", [(name, Any) for name in data])
    # What the model made up and what the provider tells stay dicts, as in the binding.
    return kind(**{name: item if name in ("input", "details") else as_object(item) for name, item in data.items()})


def test_every_event_of_the_source_has_words() -> None:
    assert set(Zag.events) == IN_TYPES_PY | ON_THE_WIRE_ONLY
    assert {row.partition(":")[0] for row in ROWS} >= set(Zag.events)


def test_what_it_says_of_itself() -> None:
    dialect = find("zag")
    assert dialect is Zag
    assert (Zag.terminal, Zag.granularity, Zag.framing) == (True, Granularity.MESSAGE, "ndjson")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([INIT], []),
        ([complete()], ["@1 -"]),
        ([complete(None)], ["@1 -"]),
        (TURN, []),
        ([INIT, Aside("stdout_ended")], ["@2 - truncated"]),
        ([*TURN, Aside("stdout_ended")], []),
        ([sent(), complete()], ["@1 -"]),
    ],
)
def test_the_source_has_ended(events: list[Any], expected: list[str]) -> None:
    dialect = Zag()
    told(events, dialect)
    ended = [words(signal) for signal in dialect.finish(9)]
    assert ended == [line.replace("@1", "@2") if isinstance(events[0], Aside) else line for line in expected]
    assert dialect.finish(10) == []


def test_a_turns_model_is_the_next_ones() -> None:
    dialect = Zag()
    told([*TURN, ASKED], dialect)
    assert dialect.feed(complete(), 6)
    (closed, opened) = [*dialect.feed(result(), 7), *dialect.feed(ASKED, 8)]
    assert isinstance(closed, Closed)
    assert opened == Opened("", 8, semconv.INVOKE_AGENT, attributes={semconv.GEN_AI_REQUEST_MODEL: "m"})


def test_content_is_named_as_content() -> None:
    dialect = Zag()
    opened = [signal for signal in dialect.feed(says(call(secret="s3")), 1) if isinstance(signal, Opened)]
    assert opened[1].attributes == {
        semconv.GEN_AI_TOOL_CALL_ID: "t1",
        semconv.GEN_AI_TOOL_CALL_ARGUMENTS: '{"secret": "s3"}',
    }
    noted = [signal for signal in dialect.feed(ran(output="s3"), 2) if isinstance(signal, Noted)]
    assert [signal.attributes for signal in noted] == [{semconv.GEN_AI_TOOL_CALL_RESULT: "s3"}]


def captured(path: Path) -> list[tuple[int, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["at"], line["data"]) for line in lines if "data" in line]


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_captures(path: Path) -> None:
    """Each run ends with its turn; a run is open at the end only where the turn was not complete."""
    dialect = Zag()
    signals = [signal for at, data in captured(path) for signal in dialect.feed(data, at)]
    ended = sum(isinstance(signal, Closed) and signal.key == "" for signal in signals)
    begun = 1 + sum(isinstance(signal, Opened) and signal.key == "" for signal in signals)
    turns = sum(data.get("type") == "turn_complete" for _, data in captured(path))
    assert ended == turns
    cut = {"crash", "bigline", "cancelled", "aclose", "stderrflood", "stream"} & set(path.stem.split("-")[2:])
    assert begun - ended == (1 if cut or turns == 0 else 0)


def test_the_translators_capture() -> None:
    path = next(path for path in CAPTURES if path.stem == "zag-rust-translator-wire")
    dialect = Zag()
    signals = [signal for at, data in captured(path) for signal in dialect.feed(data, at)]
    ends = [signal for signal in signals if isinstance(signal, Closed) and signal.key == ""]
    assert [(end.outcome, end.error_type) for end in ends] == [("completed", ""), ("failed", "usage_limit")]


def test_arguments_that_are_no_json() -> None:
    """Only a program that makes its own events has such."""
    assert told([says(call(x=object()))]) == ["@1 +chat: chat <", "@1 +tool:t1 execute_tool Bash <"]


# Anything -----------------------------------------------------------------------------------------------------

IDS = st.sampled_from(["", "a", "b", "c"])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BLOCKS = st.builds(text, st.text(max_size=3)) | st.builds(call, IDS, st.text(max_size=3)) | JUNK
LIKELY = st.one_of(
    st.just(INIT), st.just(ASKED), st.just(FAILED), st.just(PERMISSION), st.just(LIMIT), st.just(LAST),
    st.builds(result, st.booleans()), st.builds(complete, st.sampled_from(["end_turn", None])),
    st.builds(
        lambda blocks, tokens, parent: says(*blocks, tokens=tokens, parent=parent),
        st.lists(BLOCKS, max_size=3), st.none() | st.builds(usage, st.integers(0, 9), st.integers(0, 9)),
        st.none() | IDS,
    ),
    st.builds(lambda id_, parent: ran(id_, parent_tool_use_id=parent), IDS, st.none() | IDS),
    st.builds(sent, st.sampled_from(["queue", "interrupt", "between-turns-only", ""])),
    st.builds(
        Aside, st.sampled_from(["send_failed", "left", "read_failed", "stdout_ended", "started", "over", "other"]),
        st.dictionaries(st.sampled_from(["error_type"]), JUNK),
    ),
)  # fmt: skip
HALF = st.builds(
    lambda type_, rest: {**rest, "type": type_},
    st.sampled_from(sorted(Zag.events)),
    st.dictionaries(
        st.sampled_from(
            ["content", "usage", "parent_tool_use_id", "tool_id", "result", "stop_reason", "turn_index", "success",
             "message", "details", "tool_name", "granted", "model", "scope", "reset_at"]
        ),
        JUNK,
    ),
)  # fmt: skip


@given(st.lists(LIKELY | HALF | JUNK | st.binary(max_size=5), max_size=40))
def test_anything(events: list[Any]) -> None:
    """It never raises; what is opened was not, lies below what is, and is closed once; nothing is told of no run."""
    dialect = Zag()
    open_ = {"": ""}
    for at, data in enumerate(events, 1):
        for signal in dialect.feed(data, at):
            follow(signal, open_, at)
    for signal in dialect.finish(len(events) + 1):
        follow(signal, open_, len(events) + 1)


def follow(signal: Signal, open_: dict[str, str], now: int) -> None:
    assert signal.at <= now
    if isinstance(signal, Opened):
        assert signal.key not in open_
        assert signal.key == "" or signal.parent in open_
        open_[signal.key] = signal.parent
        return
    assert signal.key in open_
    if isinstance(signal, Closed):
        del open_[signal.key]
        if signal.key == "":
            open_.clear()
        else:
            assert signal.key not in open_.values()
    elif isinstance(signal, Chunk):
        assert signal.text
        assert signal.at == now


def test_it_keeps_nothing_of_what_is_over() -> None:
    dialect = Zag()
    for number in range(1000):
        told([says(call(f"t{number}")), says(text("x"), parent=f"t{number}"), ran(f"t{number}")], dialect)
    turn = dialect._turn
    assert turn is not None
    assert (len(turn.open), len(turn.agents)) == (0, 1)
