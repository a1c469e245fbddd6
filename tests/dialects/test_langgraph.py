"""The table of the events of LangGraph's server, from langgraph-sdk 0.4.14 (`schema.py`) and langgraphjs
(`libs/langgraph-api/src/stream.mts`)."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import by_path, find
from streamgauge.dialects._langgraph_messages import Messages
from streamgauge.dialects.langgraph import Langgraph
from streamgauge.wire import Granularity, ServerSentEvent

from .agent_streams import JUNK, as_object, check_any, check_wire, sse, told, wire_files, words

MODES = {
    "values", "messages", "updates", "events", "tasks", "checkpoints", "debug", "custom", "messages-tuple", "tools",
    "lifecycle",
}  # fmt: skip
ON_THE_WIRE = {
    "metadata", "messages/partial", "messages/complete", "messages/metadata", "error", "feedback", "end", "run_done",
}  # fmt: skip


def ev(event: str, data: Any) -> dict[str, Any]:
    return {"event": event, "data": data}


def ai(content: Any, id_: str = "m1", **more: Any) -> dict[str, Any]:
    return {"type": "AIMessageChunk", "content": content, "id": id_, **more}


def piece(content: Any, id_: str = "m1", **more: Any) -> dict[str, Any]:
    return ev("messages", [ai(content, id_, **more), {"langgraph_node": "agent"}])


def partial(content: Any, **more: Any) -> dict[str, Any]:
    return ev("messages/partial", [{**ai(content, **more), "type": "ai"}])


def part(id_: Any, name: Any, args: str) -> dict[str, Any]:
    return {"id": id_, "name": name, "args": args, "index": 0}


def used(into: int, out: int) -> dict[str, Any]:
    return {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}


def task(id_: str, name: str) -> dict[str, Any]:
    return ev("tasks", {"id": id_, "name": name, "input": {}, "triggers": []})


def done(id_: str, name: str, **more: Any) -> dict[str, Any]:
    return ev("tasks", {"id": id_, "name": name, "error": None, "interrupts": [], "result": {}, **more})


def own(event: str, run_id: str, **data: Any) -> dict[str, Any]:
    told_ = {"event": event, "run_id": run_id, "name": "s", "metadata": {"ls_model_name": "gpt-5"}, "data": data}
    return ev("events", told_)


META = ev("metadata", {"run_id": "r", "attempt": 1})
END = ev("end", None)
TOOL_SAYS = ev("messages", [{"type": "tool", "content": "3 hits", "tool_call_id": "c1", "status": "success"}, {}])
WHOLE = {"type": "ai", "content": "Hello", "id": "m1", "tool_calls": [], "usage_metadata": used(9, 4)}

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "metadata": (
        [META],
        [],
    ),
    "metadata: a thread": (
        [ev("metadata", {"run_id": "r", "thread_id": "th"})],
        ["@1 note th"],
    ),
    "metadata: a later attempt": (
        [META, ev("metadata", {"run_id": "r", "attempt": 2}), ev("metadata", {"run_id": "r", "attempt": 2})],
        ["@2 retry request 1"],
    ),
    "metadata: the next run": (
        [META, END, ev("metadata", {"run_id": "r2", "thread_id": "th"}), piece("x")],
        ["@2 -", "@3 + invoke_agent < th", "@4 text x"],
    ),
    "messages": (
        [piece(""), piece("Hel"), piece("lo")],
        ["@2 text Hel", "@3 text lo"],
    ),
    "messages: the model that is asked": (
        [ev("messages", [ai("x"), {"ls_model_name": "gpt-5"}]), ev("messages", [ai("y"), {"ls_model_name": "gpt-5"}])],
        ["@1 note gpt-5", "@1 text x", "@2 text y"],
    ),
    "messages: in parts": (
        [piece([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}, " you", {"type": "image"}])],
        ["@1 reasoning hm", "@1 text Hi", "@1 text you"],
    ),
    "messages: reasoning in other forms": (
        [
            piece([{"type": "reasoning", "reasoning": "a"}, {"type": "reasoning", "summary": [{"text": "b"}]}]),
            piece("", additional_kwargs={"reasoning_content": "c"}),
        ],
        ["@1 reasoning a", "@1 reasoning b", "@2 reasoning c"],
    ),
    "messages: a tool call": (
        [
            piece("", tool_call_chunks=[part("c1", "search", "")]),
            piece("", tool_call_chunks=[part(None, None, '{"q":1}')]),
            TOOL_SAYS,
        ],
        [
            '@2 tool_call {"q":1}',
            '@2 +tool:c1 execute_tool search < c1 {"q":1}',
            "@3 note tool:c1 3 hits",
            "@3 -tool:c1",
        ],
    ),
    "messages: a tool call that fails": (
        [
            piece("", tool_calls=[{"id": "c1", "name": "search", "args": {"q": 1}}]),
            ev("messages", [{**TOOL_SAYS["data"][0], "status": "error"}, {}]),
        ],
        [
            '@1 tool_call {"q":1}',
            '@1 +tool:c1 execute_tool search < c1 {"q":1}',
            "@2 note tool:c1 3 hits",
            "@2 -tool:c1 failed tool_error: 3 hits",
        ],
    ),
    "messages: usage, in pieces": (
        [
            piece("", usage_metadata=used(9, 0)),
            piece("x", usage_metadata=used(0, 4)),
            piece("", "m2", usage_metadata=used(1, 1)),
        ],
        ["@1 usage 9/0///", "@2 text x", "@2 usage 9/4///", "@3 usage 10/5///"],
    ),
    "messages: usage, with parts": (
        [
            piece(
                "",
                usage_metadata={
                    **used(9, 4),
                    "input_token_details": {"cache_read": 3, "cache_creation": 2},
                    "output_token_details": {"reasoning": 1},
                },
            )
        ],
        ["@1 usage 9/4/3/2/1"],
    ),
    "messages: how it ended": (
        [
            piece("x"),
            piece("", response_metadata={"finish_reason": "tool_calls", "model_name": "gpt-5-1"}),
            piece("", response_metadata={"finish_reason": "tool_calls"}),
            piece("", response_metadata={"stop_reason": "end_turn"}),
        ],
        ["@1 text x", "@2 note gpt-5-1 tool_call", "@4 note stop"],
    ),
    "messages: the whole of it after its pieces": (
        [piece("Hi"), ev("messages", [{**ai("Hi"), "type": "ai"}, {}])],
        ["@1 text Hi"],
    ),
    "messages: whole, without pieces": (
        [ev("messages", [{**ai("Hi"), "type": "ai"}, {}])],
        ["@1 text Hi"],
    ),
    "messages: a person's": (
        [ev("messages", [{"type": "human", "content": "x", "id": "h"}, {}])],
        [],
    ),
    "messages: of a subgraph": (
        [ev("messages|look:T1", piece("x")["data"])],
        ["@1 text x"],
    ),
    "messages-tuple": (
        [ev("messages-tuple", piece("x")["data"])],
        ["@1 text x"],
    ),
    "messages/partial": (
        [partial("Hel"), partial("Hello"), partial("Hello", tool_calls=[{"id": "c1", "name": "s", "args": {"q": 1}}])],
        ["@1 text Hel", "@2 text lo", '@3 tool_call {"q":1}'],
    ),
    "messages/partial: a tool call's pieces": (
        [
            partial("", tool_call_chunks=[part("c1", "s", "{")]),
            partial("", tool_call_chunks=[part("c1", "s", "{}")]),
            END,
        ],
        ["@1 tool_call {", "@2 tool_call }", "@2 note tool.requested s c1 {}", "@3 -"],
    ),
    "messages/partial: usage so far": (
        [partial("x", usage_metadata=used(9, 1)), partial("xy", usage_metadata=used(9, 4))],
        ["@1 text x", "@1 usage 9/1///", "@2 text y", "@2 usage 9/4///"],
    ),
    "messages/complete": (
        [ev("messages/complete", [{"type": "human", "id": "h", "content": "x"}, WHOLE])],
        ["@1 note message", "@1 text Hello", "@1 usage 9/4///"],
    ),
    "messages/complete: after its pieces": (
        [partial("Hello"), ev("messages/complete", [WHOLE])],
        ["@1 text Hello"],
    ),
    "updates": (
        [ev("updates", {"agent": {"messages": [WHOLE]}}), ev("updates", {"agent": {"messages": [WHOLE]}})],
        ["@1 note message", "@1 text Hello", "@1 usage 9/4///"],
    ),
    "updates: an interrupt": (
        [ev("updates", {"__interrupt__": [{"value": 1}]}), ev("updates", {"__interrupt__": [{"value": 1}]})],
        ["@1 note person.asked"],
    ),
    "updates: pieces came": (
        [piece("Hi"), ev("updates", {"agent": {"messages": WHOLE}})],
        ["@1 text Hi"],
    ),
    "updates: pieces come later": (
        [ev("updates", {"a": [{"messages": [WHOLE]}, 5]}), piece("x", "m2")],
        ["@1 note message", "@1 text Hello", "@1 usage 9/4///", "@2 text x"],
    ),
    "updates: a tool's result": (
        [
            ev("updates", {"agent": {"messages": [{**WHOLE, "tool_calls": [{"id": "c1", "name": "s", "args": {}}]}]}}),
            ev("updates", {"tools": {"messages": [TOOL_SAYS["data"][0]]}}),
        ],
        [
            "@1 note message",
            "@1 text Hello",
            "@1 tool_call {}",
            "@1 usage 9/4///",
            "@1 +tool:c1 execute_tool s < c1 {}",
            "@2 note tool:c1 3 hits",
            "@2 -tool:c1",
        ],
    ),
    "values": (
        [
            ev("values", {"messages": [{**WHOLE, "id": "old"}]}),
            ev("values", {"messages": [{**WHOLE, "id": "old"}, WHOLE]}),
        ],
        ["@2 note message", "@2 text Hello", "@2 usage 9/4///"],
    ),
    "values: an interrupt": (
        [ev("values", {"messages": [], "__interrupt__": [1]})],
        ["@1 note person.asked"],
    ),
    "values: an interrupt, of version 2": (
        [{"type": "values", "ns": [], "data": {"messages": []}, "interrupts": [1]}],
        ["@1 note person.asked"],
    ),
    "values: of a subgraph": (
        [ev("values|look:T1", {"messages": []}), ev("values|look:T1", {"messages": [WHOLE]})],
        [],
    ),
    "tasks": (
        [task("T1", "plan"), done("T1", "plan")],
        ["@1 +task:T1 step plan <", "@2 -task:T1"],
    ),
    "tasks: one that fails": (
        [task("T1", "plan"), done("T1", "plan", error="ValueError('bad')")],
        ["@1 +task:T1 step plan <", "@2 -task:T1 failed ValueError: ValueError('bad')"],
    ),
    "tasks: one that waits": (
        [task("T1", "plan"), done("T1", "plan", interrupts=[{"value": 1}])],
        ["@1 +task:T1 step plan <", "@2 note person.asked", "@2 -task:T1"],
    ),
    "tasks: of a subgraph": (
        [task("T1", "plan"), {**task("T2", "look"), "event": "tasks|plan:T1"}],
        ["@1 +task:T1 step plan <", "@2 +task:T2 step look <task:T1"],
    ),
    "tasks: of version 2": (
        [task("T1", "plan"), {"type": "tasks", "ns": ["plan:T1"], "data": task("T2", "look")["data"]}],
        ["@1 +task:T1 step plan <", "@2 +task:T2 step look <task:T1"],
    ),
    "tasks: an end of none": (
        [done("T1", "plan")],
        [],
    ),
    "debug": (
        [
            ev("debug", {"type": "task", "payload": task("T1", "plan")["data"]}),
            ev("debug", {"type": "task_result", "payload": done("T1", "plan")["data"]}),
            ev("debug", {"type": "checkpoint", "payload": {}}),
        ],
        ["@1 +task:T1 step plan <", "@2 -task:T1"],
    ),
    "tools": (
        [
            task("T1", "plan"),
            ev("tools|plan:T1", {"event": "on_tool_start", "toolCallId": "c1", "name": "s", "input": {"q": 1}}),
            ev("tools", {"event": "on_tool_event", "toolCallId": "c1"}),
            ev("tools", {"event": "on_tool_end", "toolCallId": "c1", "output": "ok"}),
        ],
        [
            "@1 +task:T1 step plan <",
            '@2 +tool:c1 execute_tool s <task:T1 c1 {"q":1}',
            "@4 note tool:c1 ok",
            "@4 -tool:c1",
        ],
    ),
    "tools: one that fails": (
        [
            ev("tools", {"event": "tool-started", "tool_call_id": "c1", "tool_name": "s"}),
            ev("tools", {"event": "tool-error", "tool_call_id": "c1", "message": "it broke"}),
        ],
        ["@1 +tool:c1 execute_tool s < c1", "@2 -tool:c1 failed tool_error: it broke"],
    ),
    "lifecycle": (
        [
            task("T1", "plan"),
            ev("lifecycle|plan:T1", {"event": "started", "graph_name": "planner"}),
            ev("lifecycle|plan:T1", {"event": "completed"}),
        ],
        ["@1 +task:T1 step plan <", "@2 +graph:plan:T1 invoke_agent planner <task:T1", "@3 -graph:plan:T1"],
    ),
    "lifecycle: one that fails": (
        [
            ev("lifecycle|plan:T1", {"event": "started"}),
            ev("lifecycle|plan:T1", {"event": "failed", "error": "it broke"}),
            ev("lifecycle", {"event": "completed"}),
        ],
        ["@1 +graph:plan:T1 invoke_agent plan <", "@2 -graph:plan:T1 failed: it broke"],
    ),
    "events": (
        [
            own("on_chat_model_start", "A"),
            own("on_chat_model_stream", "A", chunk={**ai("Hi"), "usage_metadata": used(9, 4)}),
            own("on_chat_model_end", "A"),
            own("on_chain_end", "R"),
        ],
        ["@1 +chat:A chat gpt-5 <", "@2 text chat:A Hi", "@2 usage chat:A 9/4///", "@3 -chat:A"],
    ),
    "events: a tool": (
        [own("on_tool_start", "B"), own("on_tool_end", "B", output={"tool_call_id": "c1"})],
        ["@1 +run:B execute_tool s <", "@2 -run:B"],
    ),
    "events: a tool that fails": (
        [own("on_tool_start", "B"), own("on_tool_error", "B", error="KeyError('x')")],
        ["@1 +run:B execute_tool s <", "@2 -run:B failed KeyError: KeyError('x')"],
    ),
    "events: a tool that was asked for": (
        [
            own("on_chat_model_start", "A"),
            own("on_chat_model_stream", "A", chunk={**ai(""), "tool_call_chunks": [part("c1", "s", "{}")]}),
            own("on_chat_model_end", "A"),
            own("on_tool_start", "B"),
            own("on_tool_end", "B", output={"tool_call_id": "c1"}),
            END,
        ],
        [
            "@1 +chat:A chat gpt-5 <",
            "@2 tool_call chat:A {}",
            "@3 -chat:A",
            "@4 +run:B execute_tool s <",
            "@5 -run:B",
            "@6 -",
        ],
    ),
    "events: pieces came": (
        [piece("x"), own("on_chat_model_start", "A"), own("on_chat_model_stream", "A", chunk=ai("x"))],
        ["@1 text x"],
    ),
    "events: no start was seen": (
        [own("on_chat_model_stream", "A", chunk=ai("x"))],
        ["@1 text x"],
    ),
    "events: an end of none": (
        [
            own("on_chat_model_end", "A"),
            own("on_tool_end", "B"),
            own("on_tool_error", "B"),
            own("on_chat_model_start", "A"),
            own("on_chat_model_start", "A"),
        ],
        ["@4 +chat:A chat gpt-5 <"],
    ),
    "messages: pieces of a call that is not known": (
        [piece("", tool_call_chunks=[part(None, None, "{")])],
        ["@1 tool_call {"],
    ),
    "messages: a call that comes again": (
        [
            piece("", tool_calls=[{"id": "c1", "name": "s", "args": {}}]),
            piece("", tool_calls=[{"id": "c1", "name": "s", "args": {}}, {"id": "c2", "name": "t"}]),
        ],
        ["@1 tool_call {}"],
    ),
    "messages: content that is none": (
        [
            piece([5, "", {"type": "text"}, {"type": "thinking"}, {"type": "text", "text": ""}]),
            piece(None),
            piece("", additional_kwargs={"refusal": "x"}),
        ],
        [],
    ),
    "messages/partial: a tool's result": (
        [ev("messages/partial", [TOOL_SAYS["data"][0]]), piece("", response_metadata={"logprobs": None})],
        [],
    ),
    "error": (
        [piece("x"), ev("error", {"error": "GraphRecursionError", "message": "too deep"}), piece("y")],
        ["@1 text x", "@2 - failed GraphRecursionError: too deep"],
    ),
    "error: a user stopped it": (
        [ev("error", {"error": "UserInterrupt", "message": "stopped"})],
        ["@1 - cancelled: stopped"],
    ),
    "error: only a text": (
        [ev("error", "it broke")],
        ["@1 - failed: it broke"],
    ),
    "end": (
        [piece("x"), END, piece("y")],
        ["@1 text x", "@2 -"],
    ),
    "end: a call that nobody answered": (
        [piece("", tool_call_chunks=[part("c1", "search", "{}")]), END],
        ["@1 tool_call {}", "@1 note tool.requested search c1 {}", "@2 -"],
    ),
    "run_done": (
        [ev("run_done", {"run_id": "r"})],
        ["@1 -"],
    ),
    "lifecycle: other words": (
        [ev("lifecycle|plan:T1", {"event": "running"})],
        [],
    ),
    "tasks: without an id": (
        [ev("tasks", {"name": "x"})],
        [],
    ),
    "an unknown event": (
        [ev("something-new", {"x": 1})],
        [],
    ),
    "no event": (
        [
            None,
            1,
            [],
            {},
            "not json",
            b"\xff",
            {"event": 5},
            *(
                ev(name, junk)
                for name in (
                    "messages",
                    "messages/partial",
                    "updates",
                    "values",
                    "tasks",
                    "debug",
                    "tools",
                    "lifecycle",
                    "events",
                )
                for junk in (None, 5, [5], {"event": [1], "x": {"messages": 5}})
            ),
        ],
        [],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(Langgraph(), events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    """In an event stream, and as the SDK's parts, whose data stay dicts."""
    if any(isinstance(data, dict) and "interrupts" in data for data in events):
        return
    assert told(Langgraph(), [framed(data) for data in events]) == expected
    parts = []
    for data in events:
        given_ = as_object({}) if isinstance(data, dict) else data
        if isinstance(data, dict):
            vars(given_).update(data)
        parts.append(given_)
    assert told(Langgraph(), parts) == expected


def framed(data: Any) -> Any:
    if not isinstance(data, dict) or data.get("event", "").__class__ is not str:
        return data
    path = "".join(f"|{each}" for each in data.get("ns", ()))
    return sse(json.dumps(data.get("data")), data.get("event") or f"{data.get('type')}{path}")


def test_every_event_of_the_source_has_words() -> None:
    assert set(Langgraph.events) == MODES | ON_THE_WIRE
    silent = {name for name, becomes in Langgraph.events.items() if becomes == "nothing"}
    assert {row.partition(":")[0] for row in ROWS} >= set(Langgraph.events) - silent
    assert told(Langgraph(), [ev(name, {"id": "x"}) for name in sorted(silent)]) == []


def test_the_sdk_has_no_others() -> None:
    schema = pytest.importorskip("langgraph_sdk.schema")
    assert set(typing.get_args(schema.StreamMode)) == MODES
    assert told(Langgraph(), [schema.StreamPart(**piece("x"))]) == ["@1 text x"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([META, piece("x")], []),  # servers may just close the stream
        ([META, piece("x"), END], []),
        ([task("T1", "plan")], ["@9 - truncated"]),
        ([task("T1", "plan"), ev("updates", {"__interrupt__": [1]})], []),
        ([task("T1", "plan"), done("T1", "plan")], []),
        ([piece("", tool_call_chunks=[part("c1", "search", "{}")])], ["@1 note tool.requested search c1 {}"]),
    ],
)
def test_the_stream_ends(events: list[Any], expected: list[str]) -> None:
    dialect = Langgraph()
    told(dialect, events)
    assert [words(signal) for signal in dialect.finish(9)] == expected
    dialect = Langgraph()
    told(dialect, events)
    left = [words(signal) for signal in dialect.untold(9)]
    assert left == [line for line in expected if "truncated" not in line]


def test_a_message_is_told_once_though_the_fast_way_is_taken() -> None:
    """The first piece of each message is read with care, the next ones quickly."""
    dialect = Langgraph()
    events = [
        piece("a"), piece("b"), piece("c", "m2"), piece("d", "m2"),
        ev("messages", [{**ai("cd", "m2"), "type": "ai"}, {}]), piece("e", id_=["m"]), piece("f", id_={}),  # type: ignore[arg-type]
    ]  # fmt: skip
    assert told(dialect, events) == ["@1 text a", "@2 text b", "@3 text c", "@4 text d", "@6 text e", "@7 text f"]


def test_it_forgets_messages_that_are_too_many() -> None:
    said = Messages()
    for number in range(5000):
        list(said.piece(ai("x", f"m{number}", usage_metadata=used(1, 1)), 1))
        list(said.piece(ai("", f"m{number}", tool_call_chunks=[part(f"c{number}", "s", "{}")]), 1))
    assert len(said.known) <= 4096
    assert len(said._used) <= 4096
    assert len(said._indexes) <= 4096
    (usage,) = (signal for signal in said.piece(ai("", "m", usage_metadata=used(1, 1)), 1))
    assert words(usage) == "@1 usage 5001/5001///"


def test_what_it_says_of_itself() -> None:
    assert find("langgraph") is Langgraph
    assert (Langgraph.terminal, Langgraph.granularity, Langgraph.framing) == (False, Granularity.TOKEN, "sse")
    for path in ("/runs/stream", "/threads/th/runs/stream", "/threads/th/runs/r/stream", "/runs/r/stream"):
        assert by_path(path) == "langgraph"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/threads/th/runs/stream", {"assistant_id": "agent"}, ("th", "agent")),
        ("/runs/stream", {"assistant_id": "fe096781-5601-53d2-b2f6-0d3403f7e9ca"}, ("", None)),
        ("/threads/th/runs/r/stream?x=1", None, ("th", "")),
    ],
)
def test_what_a_request_tells(path: str, body: Any, expected: tuple[str, Any]) -> None:
    asked = Langgraph.asked(path, body)
    assert (asked["operation"], asked["conversation_id"], asked.get("agent_name")) == ("invoke_agent", *expected)


@pytest.mark.parametrize("path", wire_files("langgraph"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, Langgraph)


IDS = st.sampled_from(["", "a", "b"])
MESSAGES = st.builds(
    lambda type_, content, id_, more: {"type": type_, "content": content, "id": id_, **more},
    st.sampled_from(["AIMessageChunk", "ai", "tool", "human"]), st.sampled_from(["", "x", "xy"]) | JUNK, IDS,
    st.dictionaries(
        st.sampled_from(["tool_calls", "tool_call_chunks", "usage_metadata", "response_metadata", "additional_kwargs"]),
        JUNK | st.lists(st.builds(part, IDS, IDS, st.sampled_from(["", "{"])), max_size=2), max_size=2,
    ),
)  # fmt: skip
LIKELY = st.one_of(
    st.builds(lambda each: ev("messages", [each, {}]), MESSAGES),
    st.builds(lambda each: ev("messages/partial", [each]), MESSAGES),
    st.builds(
        lambda name, each: ev(name, {"messages": [each], "n": {"messages": each}}),
        st.sampled_from(["values", "updates"]), MESSAGES,
    ),
    st.builds(task, IDS, IDS), st.builds(done, IDS, IDS),
    st.builds(
        lambda name, id_, each: own(name, id_, chunk=each, output=each),
        st.sampled_from(
            ["on_chat_model_start", "on_chat_model_stream", "on_chat_model_end", "on_tool_start", "on_tool_end"]
        ),
        IDS, MESSAGES,
    ),
    st.builds(
        lambda name, what, id_, path: ev(f"{name}{path}", {"event": what, "tool_call_id": id_}),
        st.sampled_from(["tools", "lifecycle"]),
        st.sampled_from(["on_tool_start", "on_tool_end", "on_tool_error", "started", "completed", "failed"]), IDS,
        st.sampled_from(["", "|n:a", "|n:a|m:b"]),
    ),
    st.builds(ev, st.sampled_from(sorted(Langgraph.events)), JUNK),
)  # fmt: skip


@given(st.lists(LIKELY | JUNK | st.binary(max_size=5) | st.builds(framed, LIKELY), max_size=40))
def test_anything(events: list[Any]) -> None:
    check_any(Langgraph(), events)


def test_a_large_state_is_not_looked_into() -> None:
    assert list(Langgraph().feed(ServerSentEvent("{" * 100, "checkpoints"), 1)) == []
