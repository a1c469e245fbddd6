"""The table of Gemini CLI's lines, from google-gemini/gemini-cli at 5411f113: `packages/core/src/output/types.ts`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects.gemini_cli import GeminiCli
from streamgauge.signals import RUN, Chunk, Closed, Opened
from streamgauge.wire import Aside, Granularity

from .agent_streams import JUNK, told, words

IN_THE_SOURCE = {"init", "message", "tool_use", "tool_result", "error", "result"}
"""`JsonStreamEventType`."""


def line(type_: str, **fields: Any) -> str:
    return json.dumps({"type": type_, "timestamp": "2026-11-21T00:00:00.000Z", **fields})


def says(text: Any) -> str:
    return line("message", role="assistant", content=text, delta=True)


def use(id_: str = "t1", name: str = "ls", **given: Any) -> str:
    return line("tool_use", tool_name=name, tool_id=id_, parameters=given)


def gave(id_: str = "t1", status: str = "success", **fields: Any) -> str:
    return line("tool_result", tool_id=id_, status=status, **fields)


def result(status: str = "success", **fields: Any) -> str:
    return line("result", status=status, **fields)


INIT = line("init", session_id="s-1", model="gem")
ECHO = line("message", role="user", content="Fix it")
SAID = Aside("sent", {"data": "Fix it"})
STATS = {"total_tokens": 19, "input_tokens": 10, "output_tokens": 4, "cached": 3, "input": 7, "models": {"gem-2": {}}}
OOPS = line("error", severity="error", message="The model returned nothing.")

# fmt: off
ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "sent": (
        [SAID, SAID, INIT],
        ["@1 + invoke_agent <", "@3 note :session gem s-1", "@3 note gem s-1"],
    ),
    "init": (
        [INIT, ECHO],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1"],
    ),
    "init: the process was started": (
        [Aside("started", {}), INIT],
        ["@1 + invoke_agent <", "@2 note :session gem s-1", "@2 note gem s-1"],
    ),
    "init: with nothing": (
        [line("init")],
        ["@1 + invoke_agent <"],
    ),
    "message": (
        [INIT, ECHO, says("a"), says("b"), says(""), line("message", role="assistant", content=None)],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@2 +chat: chat gem <",
         "@3 text chat: a", "@4 text chat: b"],
    ),
    "tool_use": (
        [INIT, says("a"), use(path="x"), use("t2"), use("t2"), use("")],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@1 +chat: chat gem <",
         "@2 text chat: a", '@3 tool_call chat: {"path":"x"}', '@3 +tool:t1 execute_tool ls < t1 {"path":"x"}',
         "@4 tool_call chat: {}", "@4 +tool:t2 execute_tool ls < t2 {}"],
    ),
    "tool_result": (
        [INIT, says("a"), use(), use("t2"), gave(output="ok"),
         gave("t2", "error", output="", error={"type": "invalid_tool_params", "message": "no path"}), gave("t3"),
         says("b"), result()],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@1 +chat: chat gem <",
         "@2 text chat: a", "@3 tool_call chat: {}", "@3 +tool:t1 execute_tool ls < t1 {}", "@4 tool_call chat: {}",
         "@4 +tool:t2 execute_tool ls < t2 {}", "@4 -chat:", "@5 note tool:t1 ok", "@5 -tool:t1",
         "@6 note tool:t2 no path", "@6 -tool:t2 failed invalid_tool_params", "@6 +chat: chat gem <",
         "@8 text chat: b", "@8 -chat:", "@9 -"],
    ),
    "tool_result: an error without a word": (
        [INIT, use(), gave(status="error", error={"type": "not a word", "message": "m"})],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@1 +chat: chat gem <",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool ls < t1 {}", "@2 -chat:", "@3 note tool:t1 m",
         "@3 -tool:t1 failed tool_error"],
    ),
    "error": (
        [INIT, line("error", severity="warning", message="Loop detected"), OOPS, result()],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@4 -"],
    ),
    "result": (
        [INIT, says("a"), result(stats=STATS), INIT, SAID, result()],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@1 +chat: chat gem <",
         "@2 text chat: a", "@2 -chat:", "@3 note gem-2", "@3 usage 10/4/3//", "@3 -"],
    ),
    "result: error": (
        [INIT, OOPS, result("error", stats=STATS)],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@3 note gem-2", "@3 usage 10/4/3//",
         "@3 - failed invalid_stream: The model returned nothing."],
    ),
    "result: error: by its type": (
        [INIT, result("error", error={"type": "FatalTurnLimitedError", "message": "Reached max session turns"})],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1",
         "@2 - failed FatalTurnLimitedError: Reached max session turns"],
    ),
    "result: error: without a word": (
        [INIT, result("error", error={"type": "two words", "message": "x"})],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@2 - failed: x"],
    ),
    "result: cancelled": (
        [INIT, use(), result("error", error={"type": "FatalCancellationError", "message": "Operation cancelled."})],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@1 +chat: chat gem <",
         "@2 tool_call chat: {}", "@2 +tool:t1 execute_tool ls < t1 {}", "@3 note signal", "@2 -chat:",
         "@3 - cancelled"],
    ),
    "result: of no request": (
        [result("error", stats={"input_tokens": 0, "output_tokens": 0, "models": {}})],
        ["@1 + invoke_agent <", "@1 - failed"],
    ),
    "result: of two models": (
        [INIT, result(stats={"input_tokens": 5, "models": {"a": {}, "b": {}}})],
        ["@1 + invoke_agent <", "@1 note :session gem s-1", "@1 note gem s-1", "@2 usage 5////", "@2 -"],
    ),
}
# fmt: on


@pytest.mark.parametrize(("events", "lines"), ROWS.values(), ids=ROWS)
def test_what_is_told(events: list[Any], lines: list[str]) -> None:
    assert told(GeminiCli(), events) == lines


def test_every_type_of_the_source_is_in_the_table() -> None:
    assert set(GeminiCli.events) == {"sent", *IN_THE_SOURCE}
    assert set(GeminiCli.events) <= set(ROWS)


def test_an_end_without_a_result_is_none() -> None:
    dialect = GeminiCli()
    told(dialect, [INIT, says("a"), OOPS])
    assert list(dialect.finish(4)) == list(dialect.untold(4)) == []  # and so it is truncated
    assert GeminiCli.terminal


def test_what_it_does_not_know() -> None:
    assert told(GeminiCli(), [line("dance"), Aside("exited", {"code": 0}), "no json", b"\xff", None, 7]) == []


@pytest.mark.parametrize(
    ("command", "claimed"),
    [
        ("zag exec -p gemini -o stream-json hi", False),
        ("gemini -p hi --output-format stream-json", True),
        ("npx @google/gemini-cli@latest -o stream-json 'a\nb'", True),
        ("/opt/gemini.js --output-format=stream-json", True),
        ("gemini -p hi", False),
        ("gemini --output-format json", False),
        ("claude --output-format stream-json", False),
    ],
)
def test_the_command_lines_that_it_claims(command: str, claimed: bool) -> None:
    assert any(re.search(pattern, command) for pattern in GeminiCli.commands) is claimed


def test_what_it_says_of_itself() -> None:
    assert (GeminiCli.granularity, GeminiCli.framing, GeminiCli.opens_runs) == (Granularity.TOKEN, "ndjson", True)
    assert GeminiCli.asked("gemini -m gem -p hi", None) == {"agent_name": "gemini-cli", "model": "gem"}


IDS = st.sampled_from(["", "a", "b"])
LIKELY = st.builds(
    lambda type_, fields: {**fields, "type": type_},
    st.sampled_from(sorted(IN_THE_SOURCE)),
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant"]), "content": JUNK | st.just("x"), "tool_id": IDS,
            "tool_name": IDS, "parameters": JUNK, "status": st.sampled_from(["success", "error"]), "output": JUNK,
            "error": JUNK | st.fixed_dictionaries({"type": IDS, "message": JUNK}), "severity": st.just("error"),
            "message": JUNK, "stats": JUNK | st.fixed_dictionaries({"models": JUNK, "input_tokens": JUNK}),
            "model": JUNK, "session_id": JUNK,
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
    dialect, open_ = GeminiCli(), set[str]()
    for at, event in enumerate(events, 1):
        for signal in dialect.feed(event, at):
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
    assert list(dialect.finish(99)) == []
