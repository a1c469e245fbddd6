"""The table of Mistral's chunks and events, from mistralai 3.7 `client/models/completionchunk.py` and
`conversationevents.py`. What chunks have in common with OpenAI's is in `test_openai_chat.py`."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.dialects import by_path, find
from streamgauge.dialects.mistral import Mistral
from streamgauge.wire import Granularity

from .model_apis import FINISH, JUNK, UNTOLD, as_object, framed, half, play, sound, sse, told, wire_files

IN_THE_SDK = {
    "agent.handoff.done", "agent.handoff.started", "conversation.response.done", "conversation.response.error",
    "conversation.response.started", "function.call.delta", "message.output.delta", "tool.execution.delta",
    "tool.execution.done", "tool.execution.started",
}  # fmt: skip
IN_THE_DELTA = {"content", "index", "metadata", "role", "tool_call_id", "tool_calls"}


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m1",
            "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}  # fmt: skip


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message.output.delta", "id": "msg1", "role": "assistant", "content": content, **more}


def tool(what: str, id_: Any = "x1", **more: Any) -> dict[str, Any]:
    return {"type": f"tool.execution.{what}", "id": id_, "name": "web_search", **more}


def function(arguments: Any, id_: str = "t1", **more: Any) -> dict[str, Any]:
    return {
        "type": "function.call.delta",
        "id": "f1",
        "tool_call_id": id_,
        "name": "ls",
        "arguments": arguments,
        **more,
    }


def usage(taken: Any, given_: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": taken, "completion_tokens": given_, **more}


def done(**tokens: Any) -> dict[str, Any]:
    return {"type": "conversation.response.done", "usage": tokens}


LEAVING = {"type": "agent.handoff.started", "id": "h1", "previous_agent_id": "a1", "previous_agent_name": "desk"}
ARRIVED = {"type": "agent.handoff.done", "id": "h1", "next_agent_id": "a2", "next_agent_name": "archivist"}
STARTED = {"type": "conversation.response.started", "conversation_id": "conv1"}
ROLE = chunk({"role": "assistant", "content": ""})
THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, {"type": "tool_reference"}]},
            {"type": "text", "text": "a"}]  # fmt: skip
OUTPUTS = [
    {"type": "message.output", "content": "a", "model": "m1"}, {"type": "agent.handoff", "next_agent_name": "x"},
    {"type": "function.call", "tool_call_id": "t1", "name": "ls", "arguments": {"p": 1}},
]  # fmt: skip
NAMED = "@1 note id=c1 model=m1"

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # Completions
    "delta.role": ([ROLE], [NAMED]),
    "delta.content": ([ROLE, chunk({"content": "a"})], [NAMED, "@2 text a"]),
    "delta.content: parts": (
        [ROLE, chunk({"content": THINKING}), chunk({"content": [{"type": "thinking", "thinking": "so"}]}),
         chunk({"content": [{"type": "reference", "reference_ids": [1]}]})],
        [NAMED, "@2 reasoning hm", "@2 text a", "@3 reasoning so"],
    ),
    "delta.tool_calls": (
        [ROLE, chunk({"content": "", "tool_calls": [
            {"id": "t1", "function": {"name": "ls", "arguments": "{}"}, "index": 0},
            {"id": "null", "function": {"name": "cat", "arguments": {"p": 1}}, "index": 1}]}, "tool_calls")],
        [NAMED, "@2 note tool.requested tool=ls call=t1", "@2 tool_call {}", "@2 note tool.requested tool=cat",
         '@2 tool_call {"p":1}', "@2 note finish=tool_call"],
    ),
    "finish_reason": ([chunk({}, "model_length")], [NAMED, "@1 note finish=length"]),
    "finish_reason: error": ([chunk({}, "error")], [NAMED, "@1 note finish=error", "@1 - failed"]),
    "usage": (
        [ROLE, chunk({"content": ""}, "stop", usage=usage(9, 5)), sse("[DONE]")],
        [NAMED, "@2 note finish=stop", "@2 usage 9/5///", "@3 -"],
    ),
    "message": (
        [json.dumps({"id": "c1", "object": "chat.completion", "model": "m1", "usage": usage(9, 5), "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}]})],
        [NAMED, "@1 note finish=stop", "@1 usage 9/5///", "@1 -"],
    ),
    "error": (
        [ROLE, {"object": "error", "message": "m", "type": "internal_server_error", "code": "1000"}],
        [NAMED, "@2 - failed 1000: m"],
    ),
    "[DONE]": ([sse("[DONE]")], ["@1 -"]),
    # Conversations
    "conversation.response.started": ([STARTED, {"type": "conversation.response.started"}],
                                      ["@1 note conversation=conv1"]),
    "message.output.delta": (
        [said("He", model="m1"), said("llo", model="m1"), said(""), said(None)],
        ["@1 note model=m1", "@1 text He", "@2 text llo"],
    ),
    "message.output.delta: parts": (
        [said({"type": "text", "text": "a"}), said({"type": "tool_reference", "title": "Files"}), said(THINKING)],
        ["@1 text a", "@3 reasoning hm", "@3 text a"],
    ),
    "tool.execution.started": (
        [tool("started", arguments="")],
        ["@1 +tool:x1 execute_tool web_search < call=x1 type=extension"],
    ),
    "tool.execution.started: with arguments, and the model": (
        [tool("started", arguments="{}", model="m1")],
        ["@1 note model=m1", "@1 tool_call {}", "@1 +tool:x1 execute_tool web_search < call=x1 type=extension"],
    ),
    "tool.execution.started: no id": ([tool("started", None)], []),
    "tool.execution.delta": (
        [tool("started"), tool("delta", arguments='{"q":'), tool("delta", arguments="1}")],
        ["@1 +tool:x1 execute_tool web_search < call=x1 type=extension", '@2 tool_call {"q":', "@3 tool_call 1}"],
    ),
    "tool.execution.done": (
        [tool("started"), tool("done", info={}), tool("done"), tool("done", "x2")],
        ["@1 +tool:x1 execute_tool web_search < call=x1 type=extension", "@2 -tool:x1"],
    ),
    "agent.handoff.started": ([LEAVING], ["@1 note agent=desk"]),
    "agent.handoff.done": (
        [LEAVING, ARRIVED, said("a"), tool("started"), done()],
        ["@1 note agent=desk", "@2 +agent:1 invoke_agent archivist < agent-id=a2", "@3 text agent:1 a",
         "@4 +tool:x1 execute_tool web_search <agent:1 call=x1 type=extension", "@5 -"],
    ),
    "agent.handoff.done: and on": (
        [LEAVING, ARRIVED, tool("started"), {**LEAVING, "previous_agent_name": "archivist"}, tool("done"),
         {**ARRIVED, "next_agent_id": None, "next_agent_name": "clerk"}, said("a")],
        ["@1 note agent=desk", "@2 +agent:1 invoke_agent archivist < agent-id=a2",
         "@3 +tool:x1 execute_tool web_search <agent:1 call=x1 type=extension", "@4 -agent:1",
         "@6 +agent:2 invoke_agent clerk <", "@7 text agent:2 a"],
    ),
    "agent.handoff.done: its start was not told": (
        [ARRIVED, {**ARRIVED, "next_agent_id": "a3"}],
        ["@1 +agent:1 invoke_agent archivist < agent-id=a2", "@2 -agent:1",
         "@2 +agent:2 invoke_agent archivist < agent-id=a3"],
    ),
    "function.call.delta": (
        [function('{"p":'), function("1}"), function("{}", "t2")],
        ["@1 note tool.requested tool=ls call=t1", '@1 tool_call {"p":', "@2 tool_call 1}",
         "@3 note tool.requested tool=ls call=t2", "@3 tool_call {}"],
    ),
    "function.call.delta: it waits for an approval": (
        [function("{}", confirmation_status="pending", model="m1")],
        ["@1 note model=m1", "@1 note tool.queued tool=ls call=t1", "@1 tool_call {}"],
    ),
    "conversation.response.done": (
        [STARTED, done(**usage(9, 5, total_tokens=14)), said("a")],
        ["@1 note conversation=conv1", "@2 usage 9/5///", "@2 -"],
    ),
    "conversation.response.done: what its connectors put in": (
        [done(**usage(9, 5, total_tokens=114, connector_tokens=100, connectors={"web_search": 1}))],
        ["@1 usage 109/5///", "@1 -"],
    ),
    "conversation.response.done: that is in the prompt already": (
        [done(**usage(109, 5, total_tokens=114, connector_tokens=100))],
        ["@1 usage 109/5///", "@1 -"],
    ),
    "conversation.response.done: no tokens": ([{"type": "conversation.response.done"}], ["@1 -"]),
    "conversation.response.error": (
        [said("a"), {"type": "conversation.response.error", "code": 3000, "message": "m"}],
        ["@1 text a", "@2 - failed 3000: m"],
    ),
    "a plain answer": (
        [json.dumps({"object": "conversation.response", "conversation_id": "conv1", "outputs": OUTPUTS,
                     "usage": usage(9, 5)})],
        ["@1 note conversation=conv1", "@1 note model=m1",
         '@1 note tool.requested tool=ls call=t1 arguments={"p":1}', "@1 usage 9/5///", "@1 -"],
    ),
    "a plain answer: another kind": (['{"object":"conversation","id":"conv1"}'], ["@1 -"]),
    # Ends
    "cut: a conversation": ([STARTED, said("a"), FINISH], ["@1 note conversation=conv1", "@2 text a"]),
    "left: a conversation": ([STARTED, said("a"), UNTOLD], ["@1 note conversation=conv1", "@2 text a"]),
    "ended: a completion without its mark": ([chunk({}, "stop"), FINISH], [NAMED, "@1 note finish=stop", "@2 -"]),
    # The SDK's events
    "data": ([{"data": ROLE}, {"data": chunk({"content": "a"})}, {"event": "x", "data": said("b")}],
             [NAMED, "@2 text a", "@3 text b"]),
    "unknown": ([{"type": "tomorrow"}, sse("{}"), sse("hello"), None, 7, [], {}, {"type": [1]}, {"data": "x"}], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    events, expected = ROWS[name]
    assert told(Mistral(), events) == expected


@pytest.mark.parametrize("name", ROWS)
def test_every_form_tells_the_same(name: str) -> None:
    """As `dict`, as an SDK's event and object, and framed."""
    events, expected = ROWS[name]
    forms = [lambda event: SimpleNamespace(data=as_object(event)), as_object]
    if name not in ("data", "unknown"):
        forms.append(lambda event: sse(event, event.get("type", "message")))
    for form in forms:
        assert told(Mistral(), [form(event) if isinstance(event, dict) else event for event in events]) == expected


def test_the_type_may_be_the_frames_alone() -> None:
    assert told(Mistral(), [sse({"content": "a"}, "message.output.delta")]) == ["@1 text a"]


def test_every_event_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in ROWS} >= set(Mistral.events)
    assert {name for name in Mistral.events if name.count(".") == 2} == IN_THE_SDK


def test_the_sdk_has_no_more() -> None:
    models = pytest.importorskip("mistralai.client.models")
    assert set(typing.get_args(typing.get_args(models.SSETypes)[0])) == IN_THE_SDK
    assert set(models.DeltaMessage.model_fields) == IN_THE_DELTA


def test_the_sdks_objects() -> None:
    models = pytest.importorskip("mistralai.client.models")
    call = {"id": "t1", "function": {"name": "ls", "arguments": "{}"}}
    chunks = [ROLE, chunk({"content": "a"}), chunk({"content": [{"type": "text", "text": "b"}]}),
              chunk({"content": "", "tool_calls": [call]}, "tool_calls", usage=usage(9, 5))]  # fmt: skip
    events = [models.CompletionEvent.model_validate({"data": each}) for each in chunks]
    assert told(Mistral(), events) == told(Mistral(), chunks)
    spoken = [STARTED, said("a"), tool("started", arguments=""), tool("done"), done(**usage(9, 5, total_tokens=14))]
    events = [models.ConversationEvents.model_validate({"event": each["type"], "data": each}) for each in spoken]
    assert told(Mistral(), events) == told(Mistral(), spoken)


def test_a_chunk_alone_is_no_sequence() -> None:
    dialect = Mistral()
    dialect.feed(ROLE, 1)
    assert type(dialect.feed(sse(chunk({"content": "a"})), 2)).__name__ == "Chunk"


def test_what_it_is() -> None:
    assert find("mistral") is Mistral
    assert (Mistral.terminal, Mistral.granularity, Mistral.framing) == (True, Granularity.TOKEN, "sse")
    assert Mistral.provider_name == "mistral_ai"


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/fim/completions", "mistral"),
        ("/v1/agents/completions", "mistral"),
        ("/v1/conversations", "mistral"),
        ("/v1/conversations/conv1", "mistral"),
        ("/v1/conversations/conv1/restart", "mistral"),
        ("/v1/conversations/conv1/history", None),
        ("/v1/chat/completions", "openai-chat"),
        ("/v1/completions", "openai-chat"),
        ("/openai/deployments/d/chat/completions", "openai-chat"),
        ("/v1/responses", "openai-responses"),
        ("/v1/responses/r1/cancel", None),
        ("/v2/chat", "cohere"),
    ],
)
def test_whose_paths(path: str, dialect: str | None) -> None:
    """Of those that are alike."""
    assert by_path(path) == dialect


ARGUMENTS = {"stop": "x", "temperature": 0.5, "random_seed": 7, "max_tokens": 9, "response_format": {"type": "text"}}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/chat/completions", {"model": "m", "stream": True}, {"operation": "chat", "model": "m"}),
        ("/v1/agents/completions", {"agent_id": "a1", "stream": True},
         {"operation": "chat", "attributes": {semconv.GEN_AI_AGENT_ID: "a1"}}),
        ("/v1/fim/completions", {"model": "m", "prompt": "x"},
         {"operation": "text_completion", "model": "m", "attributes": {semconv.GEN_AI_REQUEST_STREAM: False}}),
        ("/v1/conversations?x=1", {"model": "m", "inputs": "x", "completion_args": ARGUMENTS},
         {"operation": "invoke_agent", "model": "m", "conversation_id": "", "attributes": {
             semconv.GEN_AI_REQUEST_STOP_SEQUENCES: ("x",), semconv.GEN_AI_REQUEST_TEMPERATURE: 0.5,
             semconv.GEN_AI_REQUEST_SEED: 7, semconv.GEN_AI_REQUEST_MAX_TOKENS: 9,
             semconv.GEN_AI_OUTPUT_TYPE: "text"}}),
        ("/v1/conversations/conv1", {"inputs": "x", "completion_args": [1]},
         {"operation": "invoke_agent", "conversation_id": "conv1"}),
        ("/v1/conversations/conv1/restart", None, {"operation": "invoke_agent", "conversation_id": "conv1"}),
    ],
)  # fmt: skip
def test_asked(path: str, body: Any, expected: dict[str, Any]) -> None:
    assert Mistral.asked(path, body) == {"model": "", "attributes": {}, **expected}


@pytest.mark.parametrize("path", wire_files("mistral"), ids=lambda path: path.name)
def test_over_http(path: Path) -> None:
    found, expected = play(path, Mistral)
    assert found == expected


KEYS = {
    "arguments", "choices", "code", "completion_tokens", "connector_tokens", "content", "conversation_id", "data",
    "delta", "finish_reason", "function", "id", "index", "message", "model", "name", "next_agent_id",
    "next_agent_name", "object", "outputs", "previous_agent_name", "prompt_tokens", "text", "thinking",
    "tool_call_id", "tool_calls", "total_tokens", "type", "usage",
}  # fmt: skip
LIKELY = st.one_of(
    st.just(LEAVING), st.just(ARRIVED), st.just(said("a")), st.just(done()), st.just(chunk({"content": "a"})),
    st.builds(tool, st.sampled_from(["started", "done"]), st.sampled_from(["x1", "x2"])),
)  # fmt: skip


@given(st.lists(framed(LIKELY | half(KEYS, IN_THE_SDK) | half(KEYS) | JUNK), max_size=30))
def test_anything(events: list[Any]) -> None:
    sound(Mistral(), events)


@given(JUNK | half({"model", "stream", "agent_id", "completion_args", "response_format", "type"}), st.text(max_size=30))
def test_any_request(body: Any, path: str) -> None:
    assert Mistral.asked(path, body)["operation"] == "chat"
    assert Mistral.asked("/v1/conversations", body)["operation"] == "invoke_agent"
