"""The table of AG-UI's events, from ag-ui-protocol 1.0.0: `ag_ui/_generated/models.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import by_path, find
from streamgauge.dialects.ag_ui import AgUi
from streamgauge.wire import Granularity

from .agent_streams import JUNK, as_object, check_any, check_wire, sse, told, wire_files, words

IN_THE_SDK = {
    "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "TEXT_MESSAGE_CHUNK", "TOOL_CALL_START",
    "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_CHUNK", "TOOL_CALL_RESULT", "STATE_SNAPSHOT", "STATE_DELTA",
    "MESSAGES_SNAPSHOT", "ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA", "RAW", "CUSTOM", "RUN_STARTED", "RUN_FINISHED",
    "RUN_ERROR", "STEP_STARTED", "STEP_FINISHED", "REASONING_START", "REASONING_MESSAGE_START",
    "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END", "REASONING_MESSAGE_CHUNK", "REASONING_END",
    "REASONING_ENCRYPTED_VALUE", "SUBAGENT_STARTED", "SUBAGENT_FINISHED", "SUBAGENT_ERROR",
}  # fmt: skip
BEFORE_1 = {
    "THINKING_START", "THINKING_END", "THINKING_TEXT_MESSAGE_START", "THINKING_TEXT_MESSAGE_CONTENT",
    "THINKING_TEXT_MESSAGE_END",
}  # fmt: skip


def ag(type_: str, **fields: Any) -> dict[str, Any]:
    return {"type": type_, **fields}


def say(delta: Any, **fields: Any) -> dict[str, Any]:
    return ag("TEXT_MESSAGE_CONTENT", messageId="m", delta=delta, **fields)


START = ag("RUN_STARTED", threadId="t1", runId="r1")
NESTED = ag("RUN_STARTED", threadId="t1", runId="r2", parentRunId="r1")
FINISHED = ag("RUN_FINISHED", threadId="t1", runId="r1")
STEP = ag("STEP_STARTED", stepName="plan")
SUB = ag("SUBAGENT_STARTED", subagentRunId="s1", name="helper")
CALLED = [
    ag("TOOL_CALL_START", toolCallId="c1", toolCallName="search"),
    ag("TOOL_CALL_ARGS", toolCallId="c1", delta='{"q":1}'),
    ag("TOOL_CALL_END", toolCallId="c1"),
]
RESULT = ag("TOOL_CALL_RESULT", messageId="m2", toolCallId="c1", content="3 hits")
USED = {"model": "m", "inputTokens": 9, "outputTokens": 4, "cachedInputTokens": 3, "cacheWriteInputTokens": 2}

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "RUN_STARTED": (
        [START],
        ["@1 note t1"],
    ),
    "RUN_STARTED: again": (
        [START, START],
        ["@1 note t1"],
    ),
    "RUN_STARTED: the next run": (
        [START, FINISHED, ag("RUN_STARTED", threadId="t2", runId="r2")],
        ["@1 note t1", "@2 -", "@3 + invoke_agent < t2"],
    ),
    "RUN_STARTED: within a run": (
        [START, NESTED, say("x"), ag("RUN_FINISHED", runId="r2"), say("y")],
        ["@1 note t1", "@2 +run:r2 invoke_agent < t1", "@3 text run:r2 x", "@4 -run:r2", "@5 text y"],
    ),
    "RUN_STARTED: of no thread": (
        [ag("RUN_STARTED")],
        [],
    ),
    "RUN_FINISHED": (
        [START, FINISHED],
        ["@1 note t1", "@2 -"],
    ),
    "RUN_FINISHED: success": (
        [ag("RUN_FINISHED", outcome={"type": "success"})],
        ["@1 -"],
    ),
    "RUN_FINISHED: cancelled": (
        [ag("RUN_FINISHED", outcome={"type": "cancelled"})],
        ["@1 - cancelled"],
    ),
    "RUN_FINISHED: an interrupt": (
        [ag("RUN_FINISHED", outcome={"type": "interrupt", "interrupts": [{"id": "i"}]})],
        ["@1 note person.asked", "@1 -"],
    ),
    "RUN_FINISHED: an interrupt, as before 1.0": (
        [ag("CUSTOM", name="on_interrupt", value="ok?"), ag("RUN_FINISHED", outcome="interrupt")],
        ["@1 note person.asked", "@2 -"],
    ),
    "RUN_FINISHED: usage of one model": (
        [ag("RUN_FINISHED", usage=[USED])],
        ["@1 note m", "@1 usage 9/4/3/2/", "@1 -"],
    ),
    "RUN_FINISHED: usage of two models": (
        [ag("RUN_FINISHED", usage=[USED, {"model": "n", "inputTokens": 1, "reasoningTokens": 2}])],
        ["@1 usage 10/4/3/2/2", "@1 -"],
    ),
    "RUN_FINISHED: counts that are none": (
        [ag("RUN_FINISHED", usage=[{"inputTokens": -1, "outputTokens": True}, 5])],
        ["@1 -"],
    ),
    "RUN_FINISHED: all after it": (
        [START, FINISHED, say("x"), FINISHED],
        ["@1 note t1", "@2 -"],
    ),
    "RUN_ERROR": (
        [START, ag("RUN_ERROR", message="it broke", code="overloaded")],
        ["@1 note t1", "@2 - failed overloaded: it broke"],
    ),
    "RUN_ERROR: a sentence for a code": (
        [ag("RUN_ERROR", message="it broke", code="it broke!", usage=[USED])],
        ["@1 note m", "@1 usage 9/4/3/2/", "@1 - failed: it broke"],
    ),
    "STEP_STARTED": (
        [STEP],
        ["@1 +step:/plan step plan <"],
    ),
    "STEP_FINISHED": (
        [STEP, ag("STEP_FINISHED", stepName="plan")],
        ["@1 +step:/plan step plan <", "@2 -step:/plan"],
    ),
    "STEP_FINISHED: of none": (
        [ag("STEP_FINISHED", stepName="plan")],
        [],
    ),
    "SUBAGENT_STARTED": (
        [SUB, say("x", subagentRunId="s1"), say("y")],
        ["@1 +agent:s1 invoke_agent helper <", "@2 text agent:s1 x", "@3 text y"],
    ),
    "SUBAGENT_STARTED: again": (
        [SUB, SUB],
        ["@1 +agent:s1 invoke_agent helper <"],
    ),
    "SUBAGENT_STARTED: as a tool": (
        [*CALLED, ag("SUBAGENT_STARTED", subagentRunId="s1", name="helper", parentToolCallId="c1"), RESULT],
        [
            '@2 tool_call {"q":1}',
            '@3 +tool:c1 execute_tool search < c1 {"q":1}',
            "@4 +agent:s1 invoke_agent helper <tool:c1",
            "@5 note tool:c1 3 hits",
            "@5 -tool:c1",
        ],
    ),
    "SUBAGENT_STARTED: below another": (
        [
            SUB,
            ag("SUBAGENT_STARTED", subagentRunId="s2", name="inner", parentSubagentRunId="s1"),
            ag("STEP_STARTED", stepName="a", subagentRunId="s2"),
            ag("SUBAGENT_FINISHED", subagentRunId="s1"),
            say("x", subagentRunId="s2"),
            ag("STEP_FINISHED", stepName="a", subagentRunId="s2"),
        ],
        [
            "@1 +agent:s1 invoke_agent helper <",
            "@2 +agent:s2 invoke_agent inner <agent:s1",
            "@3 +step:agent:s2/a step a <agent:s2",
            "@4 -agent:s1",
            "@5 text x",
        ],
    ),
    "SUBAGENT_FINISHED": (
        [SUB, ag("SUBAGENT_FINISHED", subagentRunId="s1", outcome={"type": "suspended"})],
        ["@1 +agent:s1 invoke_agent helper <", "@2 -agent:s1"],
    ),
    "SUBAGENT_FINISHED: of none": (
        [ag("SUBAGENT_FINISHED", subagentRunId="s1")],
        [],
    ),
    "SUBAGENT_ERROR": (
        [SUB, ag("SUBAGENT_ERROR", subagentRunId="s1", message="it broke", code="E")],
        ["@1 +agent:s1 invoke_agent helper <", "@2 -agent:s1 failed E: it broke"],
    ),
    "TEXT_MESSAGE_START": (
        [ag("TEXT_MESSAGE_START", messageId="m", role="assistant")],
        [],
    ),
    "TEXT_MESSAGE_CONTENT": (
        [say("Hel"), say("lo")],
        ["@1 text Hel", "@2 text lo"],
    ),
    "TEXT_MESSAGE_CONTENT: nothing": (
        [say(""), say(None), START, say(""), say(5)],
        ["@3 note t1"],
    ),
    "TEXT_MESSAGE_CONTENT: a user's": (
        [
            START,
            ag("TEXT_MESSAGE_START", messageId="m", role="user"),
            say("x"),
            ag("TEXT_MESSAGE_END", messageId="m"),
            say("y"),
        ],
        ["@1 note t1", "@5 text y"],
    ),
    "TEXT_MESSAGE_END": (
        [ag("TEXT_MESSAGE_END", messageId="m")],
        [],
    ),
    "TEXT_MESSAGE_CHUNK": (
        [ag("TEXT_MESSAGE_CHUNK", messageId="m", role="assistant", delta="Hel"), ag("TEXT_MESSAGE_CHUNK", delta="lo")],
        ["@1 text Hel", "@2 text lo"],
    ),
    "TEXT_MESSAGE_CHUNK: a user's": (
        [
            ag("TEXT_MESSAGE_CHUNK", messageId="m", role="user", delta="x"),
            ag("TEXT_MESSAGE_CHUNK", delta="y"),
            ag("TEXT_MESSAGE_CHUNK", messageId="n", delta="z"),
        ],
        ["@3 text z"],
    ),
    "TOOL_CALL_START": (
        [CALLED[0]],
        [],
    ),
    "TOOL_CALL_ARGS": (
        [CALLED[0], CALLED[1]],
        ['@2 tool_call {"q":1}'],
    ),
    "TOOL_CALL_END": (
        [*CALLED],
        ['@2 tool_call {"q":1}'],
    ),
    "TOOL_CALL_RESULT": (
        [*CALLED, RESULT],
        [
            '@2 tool_call {"q":1}',
            '@3 +tool:c1 execute_tool search < c1 {"q":1}',
            "@4 note tool:c1 3 hits",
            "@4 -tool:c1",
        ],
    ),
    "TOOL_CALL_RESULT: in a step": (
        [STEP, *CALLED, ag("TOOL_CALL_RESULT", toolCallId="c1", content=[{"type": "text", "text": "x"}])],
        [
            "@1 +step:/plan step plan <",
            '@3 tool_call {"q":1}',
            '@4 +tool:c1 execute_tool search <step:/plan c1 {"q":1}',
            "@5 -tool:c1",
        ],
    ),
    "TOOL_CALL_RESULT: of an unknown call": (
        [RESULT],
        [],
    ),
    "TOOL_CALL_RESULT: none": (
        [*CALLED, FINISHED],
        ['@2 tool_call {"q":1}', '@3 note tool.requested search c1 {"q":1}', "@4 -"],
    ),
    "TOOL_CALL_RESULT: none, and the run fails": (
        [*CALLED, ag("RUN_ERROR", message="x")],
        ['@2 tool_call {"q":1}', '@3 note tool.requested search c1 {"q":1}', "@4 - failed: x"],
    ),
    "TOOL_CALL_CHUNK": (
        [
            ag("TOOL_CALL_CHUNK", toolCallId="c1", toolCallName="search", delta="{"),
            ag("TOOL_CALL_CHUNK", delta="}"),
            RESULT,
        ],
        [
            "@1 tool_call {",
            "@2 tool_call }",
            "@2 +tool:c1 execute_tool search < c1 {}",
            "@3 note tool:c1 3 hits",
            "@3 -tool:c1",
        ],
    ),
    "REASONING_MESSAGE_CONTENT": (
        [ag("REASONING_MESSAGE_CONTENT", messageId="r", delta="hm")],
        ["@1 reasoning hm"],
    ),
    "REASONING_MESSAGE_CONTENT: nothing": (
        [ag("REASONING_MESSAGE_CONTENT", messageId="r", delta="")],
        [],
    ),
    "REASONING_MESSAGE_CHUNK": (
        [ag("REASONING_MESSAGE_CHUNK", delta="hm")],
        ["@1 reasoning hm"],
    ),
    "THINKING_TEXT_MESSAGE_CONTENT": (
        [ag("THINKING_TEXT_MESSAGE_CONTENT", delta="hm")],
        ["@1 reasoning hm"],
    ),
    "CUSTOM": (
        [ag("CUSTOM", name="mine", value=1)],
        [],
    ),
    "CUSTOM: an interrupt": (
        [ag("CUSTOM", name="on_interrupt", value=1), ag("CUSTOM", name="on_interrupt", value=2)],
        ["@1 note person.asked"],
    ),
    "an unknown type": (
        [ag("SOMETHING_NEW", delta="x")],
        [],
    ),
    "no event": (
        [None, 1, [], {}, "not json", b"\xff", {"type": None}, {"type": ["RUN_STARTED"]}, "[1]", '"x"'],
        [],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(AgUi(), events) == expected


def snake(data: Any) -> Any:
    """The names of a dict as the SDK's models have them."""
    if isinstance(data, list):
        return [snake(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): snake(each) for name, each in data.items()}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    """In an event stream, as text, in snake case, as objects."""
    assert told(AgUi(), [sse(data) if isinstance(data, dict) else data for data in events]) == expected
    assert told(AgUi(), [json.dumps(data) if isinstance(data, dict) else data for data in events]) == expected
    assert told(AgUi(), snake(events)) == expected
    assert told(AgUi(), [as_object(snake(data)) if data.__class__ is dict else data for data in events]) == expected


def test_every_event_of_the_source_has_words() -> None:
    assert set(AgUi.events) == IN_THE_SDK | BEFORE_1
    silent = {name for name, becomes in AgUi.events.items() if becomes == "nothing"}
    assert {row.partition(":")[0] for row in ROWS} >= set(AgUi.events) - silent
    assert told(AgUi(), [ag(name, delta="x", messageId="m") for name in sorted(silent)]) == []


def test_the_sdk_has_no_others() -> None:
    core = pytest.importorskip("ag_ui.core")
    assert {member.value for member in core.EventType} == IN_THE_SDK
    event = core.TextMessageContentEvent(message_id="m", delta="x")
    assert told(AgUi(), [event]) == ["@1 text x"]


def test_what_it_says_of_itself() -> None:
    assert find("ag-ui") is AgUi
    assert (AgUi.terminal, AgUi.granularity, AgUi.framing, AgUi.paths) == (True, Granularity.TOKEN, "sse", ())
    assert by_path("/agent") is None
    for body in ({"threadId": "t"}, {"thread_id": "t"}):
        assert AgUi.asked("/agent", body) == {"operation": "invoke_agent", "conversation_id": "t"}
    assert AgUi.asked("/agent", None)["conversation_id"] == ""


def test_what_is_left_when_the_caller_leaves() -> None:
    dialect = AgUi()
    told(dialect, [START, *CALLED])
    assert [words(signal) for signal in dialect.untold(9)] == ['@4 note tool.requested search c1 {"q":1}']
    assert list(dialect.finish(9)) == []


def test_it_forgets_calls_that_are_too_many() -> None:
    dialect = AgUi()
    told(dialect, [ag("TOOL_CALL_START", toolCallId=f"c{number}", toolCallName="t") for number in range(2000)])
    assert len(list(dialect.finish(3000))) == 1024


def test_a_call_that_is_not_known_and_one_whose_arguments_are_too_long() -> None:
    dialect = AgUi()
    assert told(dialect, [ag("TOOL_CALL_ARGS", toolCallId="c9", delta="{"), ag("TOOL_CALL_END", toolCallId="c9")]) == [
        "@1 tool_call {"
    ]
    told(dialect, [CALLED[0], *(ag("TOOL_CALL_ARGS", toolCallId="c1", delta="x" * 10_000) for _ in range(3))])
    (opened, *_) = dialect.feed(RESULT, 9)
    assert len(opened.attributes["gen_ai.tool.call.arguments"]) == 20_000  # type: ignore[union-attr]


@pytest.mark.parametrize("path", wire_files("ag-ui"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, AgUi)


IDS = st.sampled_from(["", "a", "b", "c1"])
LIKELY = st.builds(
    lambda type_, fields: {**fields, "type": type_},
    st.sampled_from(sorted(AgUi.events)),
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(
                ["runId", "toolCallId", "toolCallName", "stepName", "subagentRunId", "parentSubagentRunId",
                 "parentToolCallId", "messageId", "name"],
                IDS,
            ),
            "delta": st.sampled_from(["", "x"]),
            "role": st.sampled_from(["user", "assistant"]),
            "outcome": st.sampled_from([None, "interrupt"]) | JUNK,
            "usage": JUNK, "content": JUNK, "code": JUNK,
        },
    ),
)  # fmt: skip


@given(st.lists(LIKELY | JUNK | st.binary(max_size=5) | st.builds(sse, JUNK), max_size=40))
def test_anything(events: list[Any]) -> None:
    check_any(AgUi(), events)
