"""The table of Codex's lines, from @openai/codex-sdk 0.163.0: `dist/index.d.ts`, and openai/codex:
`codex-rs/exec/src/exec_events.rs`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects.codex import Codex
from streamgauge.signals import RUN, Chunk, Closed, Opened
from streamgauge.wire import Aside, Granularity

from .agent_streams import JUNK, told, words

IN_THE_SDK = {
    "thread.started", "turn.started", "turn.completed", "turn.failed", "item.started", "item.updated",
    "item.completed", "error",
}  # fmt: skip
ITEMS = {
    "agent_message", "reasoning", "command_execution", "file_change", "mcp_tool_call", "collab_tool_call", "web_search",
    "todo_list", "error",
}  # fmt: skip
STARTED = "started"
DONE = "completed"


def line(type_: str, **fields: Any) -> str:
    return json.dumps({"type": type_, **fields})


def item(what: str, type_: str, id_: str = "i", **fields: Any) -> str:
    return line(f"item.{what}", item={"id": id_, "type": type_, **fields})


def ran(what: str, id_: str, status: str = "in_progress", **fields: Any) -> str:
    return item(what, "command_execution", id_, command="ls", status=status, **fields)


def used(taken: int, given: int, **fields: int) -> str:
    return line("turn.completed", usage={"input_tokens": taken, "output_tokens": given, **fields})


def failed(message: Any = "no") -> str:
    return line("turn.failed", error={"message": message})


THREAD = line("thread.started", thread_id="t-1")
TURN = line("turn.started")
SAID = Aside("sent", {"data": "Fix it"})
SAYS = item(DONE, "agent_message", text="a")
STATUS = "unexpected status 401 Unauthorized: no key"

# fmt: off
ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "sent": (
        [SAID, SAID, THREAD, TURN, SAID],
        ["@1 + invoke_agent <", "@3 note :session t-1", "@3 note t-1"],
    ),
    "thread.started": (
        [THREAD, TURN, SAYS],
        ["@1 + invoke_agent <", "@1 note :session t-1", "@1 note t-1", "@2 +chat: chat <", "@3 text chat: a"],
    ),
    "thread.started: the process was started": (
        [Aside("started", {"command": "codex exec --json hi"}), THREAD, TURN],
        ["@1 + invoke_agent <", "@2 note :session t-1", "@2 note t-1"],
    ),
    "thread.started: with no id": (
        [SAID, line("thread.started")],
        ["@1 + invoke_agent <"],
    ),
    "turn.started": (
        [TURN, used(1, 1), TURN, TURN],
        ["@1 + invoke_agent <", "@2 usage 1/1///", "@2 -", "@3 + invoke_agent <"],
    ),
    "turn.started: after the process and a turn": (
        [Aside("started", {}), TURN, used(1, 1), TURN],
        ["@1 + invoke_agent <", "@3 usage 1/1///", "@3 -", "@4 + invoke_agent <"],
    ),
    "turn.completed": (
        [THREAD, TURN, SAYS,
         used(10, 4, cached_input_tokens=3, cache_write_input_tokens=2, reasoning_output_tokens=1)],
        ["@1 + invoke_agent <", "@1 note :session t-1", "@1 note t-1", "@2 +chat: chat <", "@3 text chat: a",
         "@3 -chat:", "@4 usage 10/4/3/2/1", "@4 -"],
    ),
    "turn.completed: of two turns": (
        [TURN, used(10, 4, cached_input_tokens=3), THREAD, TURN,
         used(25, 9, cached_input_tokens=3, reasoning_output_tokens=2)],
        ["@1 + invoke_agent <", "@2 usage 10/4/3//", "@2 -", "@3 note :session t-1", "@4 + invoke_agent < t-1",
         "@5 usage 15/5/0//2", "@5 -"],
    ),
    "turn.completed: of a thread that was resumed": (
        [Aside("started", {"command": "codex exec resume t-1 --json hi"}), TURN, used(1000, 400), TURN,
         used(1010, 404)],
        ["@1 + invoke_agent <", "@3 -", "@4 + invoke_agent <", "@5 usage 10/4///", "@5 -"],
    ),
    "turn.completed: nothing was counted": (
        [TURN, used(0, 0), TURN, line("turn.completed", usage=None), line("turn.completed")],
        ["@1 + invoke_agent <", "@2 -", "@3 + invoke_agent <", "@4 -"],
    ),
    "turn.failed": (
        [TURN, failed(STATUS)],
        ["@1 + invoke_agent <", "@2 - failed 401: unexpected status 401 Unauthorized: no key"],
    ),
    "turn.failed: by other words": (
        [TURN, failed("You hit your usage limit."), TURN, failed("ran out of room in the model's context window"),
         TURN, failed("stream disconnected before completion"), TURN, failed("experiencing high demand"), TURN,
         failed(None), failed()],
        ["@1 + invoke_agent <", "@2 - failed usage_limit: You hit your usage limit.", "@3 + invoke_agent <",
         "@4 - failed context_window_exceeded: ran out of room in the model's context window", "@5 + invoke_agent <",
         "@6 - failed stream_disconnected: stream disconnected before completion", "@7 + invoke_agent <",
         "@8 - failed server_overloaded: experiencing high demand", "@9 + invoke_agent <", "@10 - failed"],
    ),
    "error": (
        [THREAD, TURN, line("error", message=f"Reconnecting... 1/5 ({STATUS})"),
         line("error", message="Reconnecting... 2/5 (stream disconnected)"), SAYS],
        ["@1 + invoke_agent <", "@1 note :session t-1", "@1 note t-1", "@2 +chat: chat <",
         "@3 retry chat: model 1 401", "@4 retry chat: model 2 stream_disconnected", "@5 text chat: a"],
    ),
    "error: the last": (
        [TURN, line("error", message=STATUS), line("turn.failed", error=None)],
        ["@1 + invoke_agent <", "@3 - failed 401: unexpected status 401 Unauthorized: no key"],
    ),
    "error: while a tool runs": (
        [TURN, ran(STARTED, "i1"), line("error", message="Reconnecting... 0/5 (x)")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"command":"ls"}', "@2 -chat:",
         '@2 +tool:i1 execute_tool command_execution < i1 {"command":"ls"}', "@3 retry model 1"],
    ),
    "item.started": (
        [TURN, ran(STARTED, "i1"), ran(STARTED, "i1"), ran(STARTED, ""), ran(STARTED, "i2"),
         item(STARTED, "agent_message")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"command":"ls"}', "@2 -chat:",
         '@2 +tool:i1 execute_tool command_execution < i1 {"command":"ls"}', '@5 tool_call {"command":"ls"}',
         '@5 +tool:i2 execute_tool command_execution < i2 {"command":"ls"}'],
    ),
    "item.updated": (
        [TURN, ran("updated", "i1")],
        ["@1 + invoke_agent <"],
    ),
    "item.completed": (
        [TURN, ran(STARTED, "i1"), ran(STARTED, "i2"),
         ran(DONE, "i1", "completed", exit_code=0, aggregated_output="x"), ran(DONE, "i2", "failed", exit_code=3),
         SAYS],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"command":"ls"}', "@2 -chat:",
         '@2 +tool:i1 execute_tool command_execution < i1 {"command":"ls"}', '@3 tool_call {"command":"ls"}',
         '@3 +tool:i2 execute_tool command_execution < i2 {"command":"ls"}', "@4 note tool:i1 x 0", "@4 -tool:i1",
         "@5 note tool:i2 3", "@5 -tool:i2 failed tool_error", "@5 +chat: chat <", "@6 text chat: a"],
    ),
    "item.completed: agent_message": (
        [TURN, SAYS, SAYS, item(DONE, "agent_message", text="")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 text chat: a", "@3 text chat: a"],
    ),
    "item.completed: agent_message, while a tool runs": (
        [TURN, ran(STARTED, "i1"), SAYS, ran(DONE, "i1", "completed")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"command":"ls"}', "@2 -chat:",
         '@2 +tool:i1 execute_tool command_execution < i1 {"command":"ls"}', "@3 text a", "@4 -tool:i1"],
    ),
    "item.completed: reasoning": (
        [TURN, item(DONE, "reasoning", text="hm"), SAYS],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 reasoning chat: hm", "@3 text chat: a"],
    ),
    "item: command_execution": (
        [TURN, ran(DONE, "i1", "declined")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"command":"ls"}', "@2 -chat:",
         '@2 +tool:i1 execute_tool command_execution < i1 {"command":"ls"}', "@2 -tool:i1 failed declined"],
    ),
    "item: file_change": (
        [TURN, item(DONE, "file_change", changes=[{"path": "/a", "kind": "add"}], status="completed")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"changes":[{"path":"/a","kind":"add"}]}',
         "@2 -chat:", '@2 +tool:i execute_tool file_change < i {"changes":[{"path":"/a","kind":"add"}]}',
         "@2 -tool:i"],
    ),
    "item: mcp_tool_call": (
        [TURN, item(STARTED, "mcp_tool_call", server="docs", tool="find", arguments={"q": 1}, status="in_progress"),
         item(
             DONE, "mcp_tool_call", status="completed", result={"content": [{"type": "text", "text": "2 hits"}]},
          )],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"q":1}', "@2 -chat:",
         '@2 +tool:i execute_tool docs.find < i {"q":1}', "@3 note tool:i 2 hits", "@3 -tool:i"],
    ),
    "item: mcp_tool_call: failed": (
        [TURN, item(DONE, "mcp_tool_call", server="docs", status="failed", error={"message": "gone"}),
         item(DONE, "mcp_tool_call", "j")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 -chat:", "@2 +tool:i execute_tool docs < i",
         "@2 note tool:i gone", "@2 -tool:i failed tool_error", "@2 +chat: chat <", "@3 -chat:",
         "@3 +tool:j execute_tool mcp_tool_call < j", "@3 -tool:j"],
    ),
    "item: collab_tool_call": (
        [TURN, item(STARTED, "collab_tool_call", tool="spawn_agent", prompt="Look", status="in_progress"),
         item(DONE, "collab_tool_call", tool="spawn_agent", status="completed"), item(DONE, "collab_tool_call", "j")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", '@2 tool_call chat: {"prompt":"Look"}', "@2 -chat:",
         '@2 +tool:i execute_tool spawn_agent < i {"prompt":"Look"}', "@3 -tool:i", "@3 +chat: chat <", "@4 -chat:",
         "@4 +tool:j execute_tool collab_tool_call < j", "@4 -tool:j"],
    ),
    "item: web_search": (
        [TURN, item(STARTED, "web_search", query=""), item(DONE, "web_search", query="x")],
        ["@1 + invoke_agent <", "@1 +chat: chat <", "@2 -chat:", "@2 +tool:i execute_tool web_search < i",
         '@3 note tool:i {"query":"x"}', "@3 -tool:i"],
    ),
    "item: todo_list": (
        [TURN, *(item(what, "todo_list", items=[]) for what in (STARTED, "updated", DONE))],
        ["@1 + invoke_agent <"],
    ),
    "item: error": (
        [TURN, item(DONE, "error", message="be careful"),
         item(DONE, "error", message="model rerouted: a-1 -> a-2 (busy)"), SAYS],
        ["@1 + invoke_agent <", "@3 note a-2", "@1 +chat: chat a-2 <", "@4 text chat: a"],
    ),
    "item: unknown": (
        [TURN, item(STARTED, "dance"), item(DONE, "dance")],
        ["@1 + invoke_agent <"],
    ),
}
# fmt: on


@pytest.mark.parametrize(("events", "lines"), ROWS.values(), ids=ROWS)
def test_what_is_told(events: list[Any], lines: list[str]) -> None:
    assert told(Codex(), events) == lines


def test_every_type_of_the_source_is_in_the_table() -> None:
    assert {name for name in Codex.events if ": " not in name} == {"sent", *IN_THE_SDK}
    assert {name[6:] for name in Codex.events if name.startswith("item: ")} == ITEMS - {"agent_message", "reasoning"}
    assert set(Codex.events) <= set(ROWS)


def test_an_error_with_nothing_after_it_is_the_end() -> None:
    dialect = Codex()
    told(dialect, [TURN, line("error", message=STATUS)])
    assert list(dialect.untold(3)) == []
    assert [words(signal) for signal in dialect.finish(3)] == [f"@3 - failed 401: {STATUS}"]
    assert list(dialect.finish(4)) == []
    unended = Codex()
    told(unended, [TURN])
    assert list(unended.finish(2)) == []  # and so it is truncated


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("zag -p codex exec --json", False),
        ("codex exec --json hi", True),
        ("/usr/bin/codex -m gpt exec --full-auto --json 'a\nb'", True),
        ("npx -y @openai/codex@latest e --experimental-json -", True),
        ("codex exec hi", False),
        ("codex --json", False),
        ("codexx exec --json", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert any(re.search(pattern, command) for pattern in Codex.commands) is claimed


def test_what_it_says_of_itself() -> None:
    assert (Codex.terminal, Codex.granularity, Codex.framing) == (True, Granularity.MESSAGE, "ndjson")
    assert Codex.opens_runs
    assert Codex.asked("codex exec -m gpt-6 --json 'say -m x'", None) == {"agent_name": "codex", "model": "gpt-6"}
    assert Codex.asked("codex exec --json -- -m x", None) == {"agent_name": "codex"}


def test_it_forgets_tools_that_are_too_many() -> None:
    begun = told(Codex(), [TURN, *(ran(STARTED, f"i{number}") for number in range(300))])
    assert len([each for each in begun if "execute_tool" in each]) == 256


IDS = st.sampled_from(["", "a", "b"])
LIKELY = st.builds(
    lambda type_, fields: {**fields, "type": type_},
    st.sampled_from(sorted(IN_THE_SDK)),
    st.fixed_dictionaries(
        {},
        optional={
            "item": JUNK
            | st.fixed_dictionaries(
                {"type": st.sampled_from(sorted(ITEMS)), "id": IDS},
                optional={
                    "text": JUNK | st.just("x"), "status": st.sampled_from(["completed", "failed", "declined"]),
                    "exit_code": JUNK, "server": IDS, "tool": IDS, "arguments": JUNK, "result": JUNK, "message": IDS,
                    "changes": JUNK,
                },
            ),
            "usage": JUNK | st.fixed_dictionaries({"input_tokens": JUNK, "output_tokens": JUNK}),
            "message": JUNK | st.sampled_from(["Reconnecting... 1/5", STATUS]), "error": JUNK, "thread_id": JUNK,
        },
    ),
)  # fmt: skip


@given(
    st.lists(
        (LIKELY | JUNK).map(json.dumps) | JUNK | st.text(max_size=5) | st.binary(max_size=5)
        | st.builds(Aside, st.sampled_from(["sent", "started", "exited"]), JUNK),
        max_size=40,
    )
)  # fmt: skip
def test_anything(events: list[Any]) -> None:
    dialect, open_ = Codex(), set[str]()
    for at, event in enumerate([*events, None], 1):
        for signal in dialect.feed(event, at) if at <= len(events) else dialect.finish(at):
            assert 0 < signal.at <= at, words(signal)
            if isinstance(signal, Opened):
                assert signal.key not in open_, words(signal)
                assert RUN in open_ or signal.key == RUN
                open_.add(signal.key)
            elif isinstance(signal, Closed):
                assert signal.key in open_, words(signal)
                open_ = set() if signal.key == RUN else open_ - {signal.key}
            elif isinstance(signal, Chunk):
                assert signal.key in open_
                assert signal.text.__class__ is str
