"""AG-UI over a WebSocket, from ag-ui-protocol 1.0.0 `ag_ui/_generated/models.py`: the runs of a connection, and that
each is told as over server-sent events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from streamgauge.dialects import find
from streamgauge.dialects.ag_ui_socket import AgUiSocket

from .message_streams import FINISH, UNTOLD, anything, lines, mixed, replayed, sent, sound, streams, told_twice


def asks(run: str = "r1", **more: Any) -> Any:
    return sent({"threadId": "c1", "runId": run, "messages": [], **more})


def event(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, **more}


def started(run: str = "r1") -> dict[str, Any]:
    return event("RUN_STARTED", threadId="c1", runId=run)


def finished(run: str = "r1", **more: Any) -> dict[str, Any]:
    return event("RUN_FINISHED", threadId="c1", runId=run, **more)


TEXT = event("TEXT_MESSAGE_CONTENT", messageId="m1", delta="a")
OPEN = ["@1 + invoke_agent c1", "@2 note c1"]

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "a run": ([asks(), started(), TEXT, finished(), TEXT], [*OPEN, "@3 text a", "@4 -"]),
    "a run: wrapped": ([sent({"type": "run", "input": {"thread_id": "c1", "run_id": "r1"}})], ["@1 + invoke_agent c1"]),
    "a run: in a trace": ([asks(forwardedProps={"traceparent": "00-x"})], ["@1 + invoke_agent <00-x c1"]),
    "a run: wrapped, in a trace": (
        [sent({"payload": {"threadId": "c1", "runId": "r1", "forwardedProps": {"traceparent": "00-x"}}})],
        ["@1 + invoke_agent <00-x c1"],
    ),
    "two runs": (
        [asks(), started(), finished(), asks("r2"), started("r2"), finished("r2")],
        [*OPEN, "@3 -", "@4 + invoke_agent c1", "@5 note c1", "@6 -"],
    ),
    "failed": ([asks(), started(), event("RUN_ERROR", code="bad", message="m")], [*OPEN, "@3 - failed bad: m"]),
    "a message that is no input": (
        [sent("hello"), started(), finished()], ["@1 + invoke_agent", "@2 note c1", "@3 -"],
    ),
    "nobody asked": ([started(), finished()], ["@1 + invoke_agent", "@1 note c1", "@2 -"]),
    "a run in the run": (
        [asks(), started(), started("r9"), finished("r9"), finished()],
        [*OPEN, "@3 +run:r9 invoke_agent c1", "@4 -run:r9", "@5 -"],
    ),
    "an input waits": (
        [asks(), started(), asks("r2"), TEXT, finished(), started("r2"), finished("r2")],
        [*OPEN, "@4 text a", "@5 -", "@5 + invoke_agent c1", "@6 note c1", "@7 -"],
    ),
    "an input interrupts": (
        [asks(), started(), TEXT, asks("r2"), started("r2"), finished("r2")],
        [*OPEN, "@3 text a", "@3 note by input", "@3 - cancelled", "@4 + invoke_agent c1", "@5 note c1", "@6 -"],
    ),
    "an input interrupts, and it is said": (
        [asks(), started(), asks("r2"), finished(outcome={"type": "cancelled"})],
        [*OPEN, "@4 note by input", "@4 - cancelled"],
    ),
    "it is told to stop": (
        [asks(), started(), sent({"type": "stop"}), finished(outcome={"type": "cancelled"})],
        [*OPEN, "@4 note by cancel", "@4 - cancelled"],
    ),
    "a tool that is left": (
        [asks(), started(), event("TOOL_CALL_START", toolCallId="t1", toolCallName="ls"),
         event("TOOL_CALL_END", toolCallId="t1"), finished()],
        [*OPEN, "@4 note tool.requested ls t1", "@5 -"],
    ),
    "cut": ([asks(), started(), TEXT, FINISH], [*OPEN, "@3 text a"]),
    "left": ([asks(), started(), TEXT, UNTOLD], [*OPEN, "@3 text a"]),
    "unknown": ([{}, "no JSON", "[]", b"\xff", TEXT, finished(), sent("x"), sent({"type": "ping"})], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    messages, expected = ROWS[name]
    assert lines(AgUiSocket(), messages) == expected


def test_its_events_are_those_of_a_stream_and_the_callers() -> None:
    stream = find("ag-ui")
    assert stream is not None
    assert set(AgUiSocket.events) == {*stream.events, "sent"}


@pytest.mark.parametrize("path", streams("ag-ui-[ceir]*", "ag-ui-te*", "ag-ui-tools", "ag-ui-subagent"))
def test_a_run_is_told_as_over_server_sent_events(path: Path) -> None:
    first, second = told_twice(path, AgUiSocket(), {"threadId": "c1", "runId": "r0"}, json.dumps)
    assert len(first) >= 2
    assert second == first


@given(anything(
    ["type", "threadId", "runId", "input", "messageId", "delta", "toolCallId", "toolCallName", "subagentRunId",
     "outcome", "stepName", "content", "role"],
    [*AgUiSocket.events, "r1", "t1", "cancelled"],
))  # fmt: skip
def test_anything(messages: list[Any]) -> None:
    sound(AgUiSocket(), messages)


@given(mixed(ROWS))
def test_its_messages_in_any_order(messages: list[Any]) -> None:
    sound(AgUiSocket(), messages)


def test_a_connection() -> None:
    seen = replayed("ag-ui-socket-runs")
    assert [line for line in seen.tree() if not line.startswith("    ")] == [
        "session ag-ui-socket", "  invoke_agent", "  invoke_agent",
    ]  # fmt: skip
    first, second = [span["attributes"] for span in seen.spans if span["name"].startswith("invoke")]
    assert (first["streamgauge.outcome"], first["streamgauge.interrupted_by"]) == ("cancelled", "input")
    assert second["streamgauge.outcome"] == "completed"
