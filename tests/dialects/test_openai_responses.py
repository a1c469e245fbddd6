"""The table of the Responses API's events, from openai 3.54.0 `types/responses/response_stream_event.py` and
`responses_server_event.py`."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.dialects import find
from streamgauge.dialects.openai_responses import OpenAIResponses
from streamgauge.wire import Granularity

from .model_apis import FINISH, JUNK, UNTOLD, as_object, framed, half, play, sound, sse, told, wire_files

IN_THE_SDK = {
    "error", "response.audio.delta", "response.audio.done", "response.audio.transcript.delta",
    "response.audio.transcript.done", "response.code_interpreter_call.completed",
    "response.code_interpreter_call.in_progress", "response.code_interpreter_call.interpreting",
    "response.code_interpreter_call_code.delta", "response.code_interpreter_call_code.done",
    "response.compaction.compacting", "response.completed", "response.content_part.added",
    "response.content_part.done", "response.created", "response.custom_tool_call_input.delta",
    "response.custom_tool_call_input.done", "response.failed", "response.file_search_call.completed",
    "response.file_search_call.in_progress", "response.file_search_call.searching",
    "response.function_call_arguments.delta", "response.function_call_arguments.done",
    "response.image_generation_call.completed", "response.image_generation_call.generating",
    "response.image_generation_call.in_progress", "response.image_generation_call.partial_image",
    "response.in_progress", "response.incomplete", "response.mcp_call.completed", "response.mcp_call.failed",
    "response.mcp_call.in_progress", "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done",
    "response.mcp_list_tools.completed", "response.mcp_list_tools.failed", "response.mcp_list_tools.in_progress",
    "response.output_item.added", "response.output_item.done", "response.output_text.annotation.added",
    "response.output_text.delta", "response.output_text.done", "response.queued",
    "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
    "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
    "response.reasoning_text.delta", "response.reasoning_text.done", "response.refusal.delta",
    "response.refusal.done", "response.shell_call_command.added", "response.shell_call_command.delta",
    "response.shell_call_command.done", "response.shell_call_output_content.delta",
    "response.shell_call_output_content.done", "response.web_search_call.completed",
    "response.web_search_call.in_progress", "response.web_search_call.searching",
}  # fmt: skip
OVER_A_WEBSOCKET_ONLY = {"response.steer.accepted", "response.steer.failed", "response.steer.pending"}
NOT_IN_THE_SDK = {"response.cancelled"}
"""A response has that status; what its stream then ends with, the SDK does not name."""
ITEMS = {
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
    "computer_call", "computer_call_output", "custom_tool_call", "custom_tool_call_output", "file_search_call",
    "function_call", "function_call_output", "image_generation_call", "local_shell_call", "local_shell_call_output",
    "mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools", "message", "program",
    "program_output", "reasoning", "shell_call", "shell_call_output", "tool_search_call", "tool_search_output",
    "web_search_call",
}  # fmt: skip


def response(status: str = "in_progress", **more: Any) -> dict[str, Any]:
    return {"id": "r1", "object": "response", "status": status, "model": "m1", "output": [], "error": None,
            "incomplete_details": None, "usage": None, **more}  # fmt: skip


def event(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "sequence_number": 1, **more}


def of(type_: str, status: str, **more: Any) -> dict[str, Any]:
    return event(type_, response=response(status, **more))


def item(kind: str, what: str, **more: Any) -> dict[str, Any]:
    return event(f"response.output_item.{what}", output_index=0, item={"id": "i1", "type": kind, **more})


def delta(kind: str, piece: Any = "a") -> dict[str, Any]:
    return event(f"response.{kind}.delta", item_id="i1", output_index=0, content_index=0, delta=piece)


def about(type_: str, **more: Any) -> dict[str, Any]:
    return event(f"response.{type_}", item_id="i1", output_index=0, **more)


USAGE = {
    "input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}, "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 14,
}  # fmt: skip
CREATED = of("response.created", "in_progress")
COMPLETED = of("response.completed", "completed")
FUNCTION = {"call_id": "t1", "name": "ls", "arguments": "{}", "status": "completed"}
NAMED = "@1 note id=r1 model=m1"

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # The response
    "response.created": ([CREATED, of("response.in_progress", "in_progress")], [NAMED]),
    "response.created: no names": ([event("response.created", response={}), CREATED], ["@2 note id=r1 model=m1"]),
    "response.created: in a conversation": (
        [of("response.created", "in_progress", conversation={"id": "conv1"})],
        ["@1 note id=r1 model=m1 conversation=conv1"],
    ),
    "response.created: the next on one connection": (
        [CREATED, COMPLETED, delta("output_text"), CREATED, delta("output_text"), COMPLETED],
        [NAMED, "@2 note finish=stop", "@2 -", "@4 + chat <", "@4 note id=r1 model=m1", "@5 text a",
         "@6 note finish=stop", "@6 -"],
    ),
    "response.queued": ([of("response.queued", "queued"), CREATED], [NAMED]),
    "response.in_progress": ([of("response.in_progress", "in_progress")], [NAMED]),
    "response.completed": (
        [CREATED, of("response.completed", "completed", usage=USAGE), COMPLETED],
        [NAMED, "@2 note finish=stop", "@2 usage 9/5/4/2/3", "@2 -"],
    ),
    "response.completed: a tool that was not told": (
        [of("response.completed", "completed", output=[{"type": "function_call", **FUNCTION}])],
        [NAMED, "@1 note tool.requested tool=ls call=t1 arguments={}", "@1 note finish=tool_call", "@1 -"],
    ),
    "response.completed: no tokens": (
        [of("response.completed", "completed", usage={"input_tokens": 0, "output_tokens": 0})],
        [NAMED, "@1 note finish=stop", "@1 -"],
    ),
    "response.completed: no response": ([event("response.completed")], ["@1 note finish=stop", "@1 -"]),
    "response.incomplete": (
        [of("response.incomplete", "incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=USAGE)],
        [NAMED, "@1 note finish=length", "@1 usage 9/5/4/2/3", "@1 -"],
    ),
    "response.incomplete: of a filter": (
        [of("response.incomplete", "incomplete", incomplete_details={"reason": "content_filter"})],
        [NAMED, "@1 note finish=content_filter", "@1 -"],
    ),
    "response.incomplete: steered": (
        [of("response.incomplete", "incomplete", incomplete_details={"reason": "steered"}), CREATED],
        [NAMED, "@1 note finish=steered", "@1 -", "@2 + chat <", "@2 note id=r1 model=m1"],
    ),
    "response.incomplete: no reason": ([of("response.incomplete", "incomplete")], [NAMED, "@1 -"]),
    "response.failed": (
        [CREATED, of("response.failed", "failed", error={"code": "server_error", "message": "m"}, usage=USAGE)],
        [NAMED, "@2 usage 9/5/4/2/3", "@2 - failed server_error: m"],
    ),
    "response.failed: no response": ([event("response.failed")], ["@1 - failed"]),
    "response.cancelled": (
        [CREATED, of("response.cancelled", "cancelled", usage=USAGE)],
        [NAMED, "@2 usage 9/5/4/2/3", "@2 - cancelled"],
    ),
    "error": (
        [CREATED, event("error", code="rate_limit_exceeded", message="m", param=None), COMPLETED],
        [NAMED, "@2 - failed rate_limit_exceeded: m"],
    ),
    "error: over a WebSocket": (
        [json.dumps(event("error", status=400, error={"type": "invalid_request_error", "code": None, "message": "m"}))],
        ["@1 - failed invalid_request_error: m"],
    ),
    "error: no type": ([sse({"error": {"message": "m", "type": "server_error"}})], ["@1 - failed server_error: m"]),
    "error: an event of that type": ([sse({"message": "m", "code": "bad"}, "error")], ["@1 - failed bad: m"]),
    "error: an event of that type, in words": ([sse("it broke", "error")], ["@1 - failed"]),
    "response.compaction.compacting": ([about("compaction.compacting")], []),
    # What the model makes
    "response.output_text.delta": (
        [delta("output_text"), delta("output_text", ""), delta("output_text", None), sse(delta("output_text"), "x")],
        ["@1 text a", "@4 text a"],
    ),
    "response.output_text.done": ([about("output_text.done", text="a")], []),
    "response.output_text.annotation.added": ([about("output_text.annotation.added", annotation={})], []),
    "response.content_part.added": ([about("content_part.added", part={"text": ""})], []),
    "response.content_part.done": ([about("content_part.done", part={"text": "a"})], []),
    "response.refusal.delta": ([delta("refusal")], ["@1 text a"]),
    "response.refusal.done": ([about("refusal.done", refusal="a")], []),
    "response.reasoning_text.delta": ([delta("reasoning_text")], ["@1 reasoning a"]),
    "response.reasoning_text.done": ([about("reasoning_text.done", text="a")], []),
    "response.reasoning_summary_text.delta": ([delta("reasoning_summary_text")], ["@1 reasoning a"]),
    "response.reasoning_summary_text.done": ([about("reasoning_summary_text.done", text="a")], []),
    "response.reasoning_summary_part.added": ([about("reasoning_summary_part.added", part={"text": ""})], []),
    "response.reasoning_summary_part.done": ([about("reasoning_summary_part.done", part={"text": "a"})], []),
    "response.audio.delta": ([event("response.audio.delta", delta="AAAA")], ["@1 audio AAAA"]),
    "response.audio.done": ([event("response.audio.done")], []),
    "response.audio.transcript.delta": ([event("response.audio.transcript.delta", delta="a")], ["@1 text a"]),
    "response.audio.transcript.done": ([event("response.audio.transcript.done")], []),
    # Tools that the caller runs
    "response.function_call_arguments.delta": ([delta("function_call_arguments", "{}")], ["@1 tool_call {}"]),
    "response.function_call_arguments.done": ([about("function_call_arguments.done", arguments="{}")], []),
    "response.custom_tool_call_input.delta": ([delta("custom_tool_call_input", "1+")], ["@1 tool_call 1+"]),
    "response.custom_tool_call_input.done": ([about("custom_tool_call_input.done", input="1+1")], []),
    "response.output_item.done": (
        [item("function_call", "added", **{**FUNCTION, "arguments": ""}), item("function_call", "done", **FUNCTION),
         of("response.completed", "completed", output=[{"type": "function_call", **FUNCTION}])],
        ["@2 note tool.requested tool=ls call=t1 arguments={}", "@3 note id=r1 model=m1", "@3 note finish=tool_call",
         "@3 -"],
    ),
    "response.output_item.done: a custom tool": (
        [item("custom_tool_call", "done", call_id="t1", name="py", input="1+1")],
        ["@1 note tool.requested tool=py call=t1 arguments=1+1"],
    ),
    "response.output_item.done: the caller's own shell, computer, patches": (
        [item("local_shell_call", "done", call_id="t1"), item("computer_call", "done", call_id="t2"),
         item("apply_patch_call", "done", call_id="t3"),
         item("shell_call", "done", call_id="t4", environment={"type": "local"}),
         item("tool_search_call", "done", call_id="t5", execution="client", arguments={"q": 1})],
        ["@1 note tool.requested tool=local_shell call=t1", "@2 note tool.requested tool=computer call=t2",
         "@3 note tool.requested tool=apply_patch call=t3", "@4 note tool.requested tool=shell call=t4",
         '@5 note tool.requested tool=tool_search call=t5 arguments={"q":1}'],
    ),
    "response.output_item.done: it waits for an approval": (
        [item("mcp_approval_request", "done", name="ls", arguments="{}", server_label="files"), COMPLETED],
        ["@1 note tool.queued tool=ls call=i1 arguments={}", "@2 note id=r1 model=m1", "@2 note finish=tool_call",
         "@2 -"],
    ),
    "response.output_item.done: no tool": (
        [item("message", "done", content=[]), item("reasoning", "done", summary=[]), item("compaction", "done"),
         event("response.output_item.done"), item("function_call_output", "done", call_id="t1")],
        [],
    ),
    # Tools that the service runs
    "response.output_item.added": (
        [item("web_search_call", "added"), item("web_search_call", "added", id="i2")],
        ["@1 +tool:i1 execute_tool web_search < call=i1 type=extension",
         "@2 +tool:i2 execute_tool web_search < call=i2 type=extension"],
    ),
    "response.output_item.added: no tool": (
        [item("message", "added"), item("reasoning", "added"), event("response.output_item.added"),
         item("web_search_call", "added", id=None)],
        [],
    ),
    "response.web_search_call.in_progress": ([about("web_search_call.in_progress")], []),
    "response.web_search_call.searching": ([about("web_search_call.searching")], []),
    "response.web_search_call.completed": (
        [item("web_search_call", "added"), about("web_search_call.completed"),
         item("web_search_call", "done", status="completed")],
        ["@1 +tool:i1 execute_tool web_search < call=i1 type=extension", "@2 -tool:i1"],
    ),
    "response.web_search_call.completed: of none": ([about("web_search_call.completed")], []),
    "response.output_item.done: the end of a tool": (
        [item("web_search_call", "added"), item("web_search_call", "done", status="completed")],
        ["@1 +tool:i1 execute_tool web_search < call=i1 type=extension", "@2 -tool:i1"],
    ),
    "response.output_item.done: a tool that failed": (
        [item("image_generation_call", "added"), item("image_generation_call", "done", status="failed"),
         item("file_search_call", "added", id="i2"), item("file_search_call", "done", id="i2", status="incomplete")],
        ["@1 +tool:i1 execute_tool image_generation < call=i1 type=extension", "@2 -tool:i1 failed tool_error",
         "@3 +tool:i2 execute_tool file_search < call=i2 type=datastore", "@4 -tool:i2 failed incomplete"],
    ),
    "response.file_search_call.in_progress": ([about("file_search_call.in_progress")], []),
    "response.file_search_call.searching": ([about("file_search_call.searching")], []),
    "response.file_search_call.completed": (
        [item("file_search_call", "added"), about("file_search_call.completed")],
        ["@1 +tool:i1 execute_tool file_search < call=i1 type=datastore", "@2 -tool:i1"],
    ),
    "response.image_generation_call.in_progress": ([about("image_generation_call.in_progress")], []),
    "response.image_generation_call.generating": ([about("image_generation_call.generating")], []),
    "response.image_generation_call.partial_image": (
        [about("image_generation_call.partial_image", partial_image_b64="AAAA", partial_image_index=0),
         about("image_generation_call.partial_image")],
        ["@1 image AAAA"],
    ),
    "response.image_generation_call.completed": (
        [item("image_generation_call", "added"), about("image_generation_call.completed")],
        ["@1 +tool:i1 execute_tool image_generation < call=i1 type=extension", "@2 -tool:i1"],
    ),
    "response.code_interpreter_call.in_progress": ([about("code_interpreter_call.in_progress")], []),
    "response.code_interpreter_call_code.delta": ([delta("code_interpreter_call_code", "1+")], ["@1 tool_call 1+"]),
    "response.code_interpreter_call_code.done": (
        [item("code_interpreter_call", "added"), about("code_interpreter_call.in_progress"),
         delta("code_interpreter_call_code", "1+1"), about("code_interpreter_call_code.done", code="1+1"),
         about("code_interpreter_call.interpreting"), about("code_interpreter_call.completed"),
         item("code_interpreter_call", "done", status="completed")],
        ["@3 tool_call 1+1", "@4 +tool:i1 execute_tool code_interpreter < call=i1 type=extension", "@6 -tool:i1"],
    ),
    "response.code_interpreter_call.interpreting": (
        [item("code_interpreter_call", "added"), about("code_interpreter_call.interpreting")],
        ["@2 +tool:i1 execute_tool code_interpreter < call=i1 type=extension"],
    ),
    "response.code_interpreter_call.completed": (
        [item("code_interpreter_call", "added"), about("code_interpreter_call.completed")],
        ["@1 +tool:i1 execute_tool code_interpreter < call=i1 type=extension", "@2 -tool:i1"],
    ),
    "response.mcp_call.in_progress": ([about("mcp_call.in_progress")], []),
    "response.mcp_call_arguments.delta": ([delta("mcp_call_arguments", "{}")], ["@1 tool_call {}"]),
    "response.mcp_call_arguments.done": (
        [item("mcp_call", "added", name="ls", server_label="files"), about("mcp_call.in_progress"),
         delta("mcp_call_arguments", "{}"), about("mcp_call_arguments.done", arguments="{}")],
        ["@3 tool_call {}", "@4 +tool:i1 execute_tool ls < call=i1 type=extension"],
    ),
    "response.mcp_call.completed": (
        [item("mcp_call", "added", name="ls"), about("mcp_call_arguments.done"), about("mcp_call.completed")],
        ["@2 +tool:i1 execute_tool ls < call=i1 type=extension", "@3 -tool:i1"],
    ),
    "response.mcp_call.failed": (
        [item("mcp_call", "added", name="ls"), about("mcp_call_arguments.done"), about("mcp_call.failed"),
         item("mcp_call", "done", name="ls", error={"type": "http_error"})],
        ["@2 +tool:i1 execute_tool ls < call=i1 type=extension", "@3 -tool:i1 failed tool_error"],
    ),
    "response.mcp_call.failed: told by the item alone": (
        [item("mcp_call", "added", name="ls"), item("mcp_call", "done", name="ls", error={"type": "http_error"})],
        ["@1 +tool:i1 execute_tool ls < call=i1 type=extension", "@2 -tool:i1 failed tool_error"],
    ),
    "response.mcp_list_tools.in_progress": (
        [item("mcp_list_tools", "added"), about("mcp_list_tools.in_progress"), item("mcp_list_tools", "done")],
        [],
    ),
    "response.mcp_list_tools.completed": ([about("mcp_list_tools.completed")], []),
    "response.mcp_list_tools.failed": ([about("mcp_list_tools.failed")], []),
    "response.shell_call_command.added": ([event("response.shell_call_command.added", command="")], []),
    "response.shell_call_command.delta": (
        [event("response.shell_call_command.delta", command_index=0, delta="ls")],
        ["@1 tool_call ls"],
    ),
    "response.shell_call_command.done": ([event("response.shell_call_command.done", command="ls")], []),
    "response.shell_call_output_content.delta": (
        [about("shell_call_output_content.delta", delta={"stdout": "a.txt"})],
        [],
    ),
    "response.shell_call_output_content.done": ([about("shell_call_output_content.done", output=[])], []),
    "response.output_item.done: a shell in its container": (
        [item("shell_call", "added", call_id="t1"),
         item("shell_call", "done", call_id="t1", environment={"type": "container_reference", "container_id": "c"}),
         item("shell_call_output", "added", call_id="t1"), item("shell_call_output", "done", call_id="t1"),
         item("shell_call_output", "done", call_id="t2")],
        ["@2 +tool:t1 execute_tool shell < call=t1 type=extension", "@4 -tool:t1"],
    ),
    "response.output_item.done: a program, a search for tools": (
        [item("program", "done", call_id="t1"), item("program_output", "done", call_id="t1"),
         item("tool_search_call", "done", execution="server", call_id=None),
         item("tool_search_output", "done", execution="server", call_id=None)],
        ["@1 +tool:t1 execute_tool program < call=t1 type=extension", "@2 -tool:t1",
         "@3 +tool:tool_search execute_tool tool_search < call=tool_search type=extension", "@4 -tool:tool_search"],
    ),
    # Over a WebSocket
    "response.steer.accepted": ([event("response.steer.accepted", steer={"id": "s1"})], []),
    "response.steer.pending": ([event("response.steer.pending", steer={"id": "s1"})], []),
    "response.steer.failed": ([event("response.steer.failed", error={"message": "m"})], []),
    "messages as text, as bytes": (
        [json.dumps(CREATED), json.dumps(delta("output_text")).encode(), "no JSON", "[]", json.dumps(COMPLETED)],
        [NAMED, "@2 text a", "@5 note finish=stop", "@5 -"],
    ),
    # A plain answer
    "a plain answer": (
        [json.dumps(response("completed", usage=USAGE, output=[
            {"type": "web_search_call", "id": "i1"}, {"type": "function_call", **FUNCTION}]))],
        [NAMED, "@1 note tool.requested tool=ls call=t1 arguments={}", "@1 note finish=tool_call",
         "@1 usage 9/5/4/2/3", "@1 -"],
    ),
    "a plain answer: incomplete": (
        [response("incomplete", incomplete_details={"reason": "max_output_tokens"})],
        [NAMED, "@1 note finish=length", "@1 -"],
    ),
    "a plain answer: failed": (
        [response("failed", error={"code": "server_error", "message": "m"})],
        [NAMED, "@1 - failed server_error: m"],
    ),
    "a plain answer: an error": (['{"error":{"code":"bad","message":"m"}}'], ["@1 - failed bad: m"]),
    "a plain answer: queued": ([response("queued")], [NAMED, "@1 -"]),
    "a plain answer: cancelled": ([response("cancelled")], [NAMED, "@1 - cancelled"]),
    # Ends
    "cut": ([CREATED, delta("output_text"), FINISH], [NAMED, "@2 text a"]),
    "left": ([CREATED, delta("output_text"), UNTOLD], [NAMED, "@2 text a"]),
    "unknown": (
        [event("response.tomorrow"), event("keepalive"), sse("[DONE]"), sse("{}"), None, 7, [], {}, {"type": [1]}], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    events, expected = ROWS[name]
    assert told(OpenAIResponses(), events) == expected


@pytest.mark.parametrize("name", ROWS)
def test_every_form_tells_the_same(name: str) -> None:
    """As `dict`, as an SDK's object, framed, and as text."""
    events, expected = ROWS[name]
    for form in (as_object, lambda event: sse(event, event.get("type", "message")), json.dumps):
        formed = [form(event) if isinstance(event, dict) and event else event for event in events]
        if not any(isinstance(event, dict) and isinstance(event.get("type"), list) for event in events):
            assert told(OpenAIResponses(), formed) == expected


def test_every_event_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in ROWS} >= set(OpenAIResponses.events)
    assert set(OpenAIResponses.events) == IN_THE_SDK | OVER_A_WEBSOCKET_ONLY | NOT_IN_THE_SDK


def types_of(union: Any) -> set[str]:
    """The values of `type` of an SDK's union of events or items."""
    while typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    return {value for kind in typing.get_args(union) for value in typing.get_args(kind.model_fields["type"].annotation)}


def test_the_sdk_has_no_more() -> None:
    responses = pytest.importorskip("openai.types.responses")
    assert types_of(responses.ResponseStreamEvent) == IN_THE_SDK
    assert types_of(responses.ResponsesServerEvent) == IN_THE_SDK | OVER_A_WEBSOCKET_ONLY
    assert types_of(responses.ResponseOutputItem) == ITEMS


def test_the_sdks_objects() -> None:
    responses = pytest.importorskip("openai.types.responses")
    made = responses.ResponseTextDeltaEvent.construct(**delta("output_text"))
    ended = responses.ResponseCompletedEvent.construct(**of("response.completed", "completed", usage=USAGE))
    assert told(OpenAIResponses(), [made, ended]) == [
        "@1 text a", "@2 note id=r1 model=m1", "@2 note finish=stop", "@2 usage 9/5/4/2/3", "@2 -",
    ]  # fmt: skip


def test_a_chunk_alone_is_no_sequence() -> None:
    assert type(OpenAIResponses().feed(sse(delta("output_text")), 1)).__name__ == "Chunk"
    assert type(OpenAIResponses().feed(as_object(delta("reasoning_text")), 1)).__name__ == "Chunk"


def test_what_it_is() -> None:
    assert find("openai-responses") is OpenAIResponses
    assert (OpenAIResponses.terminal, OpenAIResponses.granularity) == (True, Granularity.TOKEN)
    assert (OpenAIResponses.provider_name, OpenAIResponses.framing) == ("openai", "sse")


@pytest.mark.parametrize(
    ("body", "model", "conversation", "attributes"),
    [
        ({"model": "m", "stream": True}, "m", "", {}),
        ({"model": "m", "stream": False}, "m", "", {semconv.GEN_AI_REQUEST_STREAM: False}),
        ({"stream": True, "previous_response_id": "r0"}, "", "r0", {}),
        ({"stream": True, "previous_response_id": "r0", "conversation": "conv1"}, "", "conv1", {}),
        ({"stream": True, "conversation": {"id": "conv1"}}, "", "conv1", {}),
        ({"stream": True, "temperature": 1, "top_p": 0.5, "max_output_tokens": 9, "reasoning": {"effort": "low"},
          "text": {"format": {"type": "json_schema"}}}, "", "", {
            semconv.GEN_AI_REQUEST_TEMPERATURE: 1.0, semconv.GEN_AI_REQUEST_TOP_P: 0.5,
            semconv.GEN_AI_REQUEST_MAX_TOKENS: 9, semconv.GEN_AI_REQUEST_REASONING_LEVEL: "low",
            semconv.GEN_AI_OUTPUT_TYPE: "json"}),
        ({"stream": True, "text": 1, "reasoning": [], "conversation": 7}, "", "", {}),
        (None, "", "", {}),
    ],
)  # fmt: skip
def test_asked(body: Any, model: str, conversation: str, attributes: dict[str, Any]) -> None:
    asked = {"operation": "chat", "model": model, "conversation_id": conversation, "attributes": attributes}
    assert OpenAIResponses.asked("/v1/responses", body) == asked


@pytest.mark.parametrize("path", wire_files("openai-responses"), ids=lambda path: path.name)
def test_over_http(path: Path) -> None:
    found, expected = play(path, OpenAIResponses)
    assert found == expected


# Anything -----------------------------------------------------------------------------------------------------

KEYS = {
    "call_id", "code", "conversation", "delta", "environment", "error", "execution", "id", "incomplete_details",
    "input_tokens", "item", "item_id", "message", "model", "name", "object", "output", "output_tokens",
    "partial_image_b64", "reason", "response", "status", "type", "usage",
}  # fmt: skip
LIKELY = st.one_of(
    st.just(CREATED), st.just(delta("output_text")), st.just(COMPLETED),
    st.builds(lambda kind, what, id_: item(kind, what, id=id_, call_id=id_, environment={"type": "container_reference"},
                                           execution="server"),
              st.sampled_from(sorted(ITEMS)), st.sampled_from(["added", "done"]), st.sampled_from(["a", "b", None])),
    st.builds(lambda type_, id_: event(type_, item_id=id_), st.sampled_from(sorted(IN_THE_SDK)),
              st.sampled_from(["a", "b", None])),
)  # fmt: skip


@given(st.lists(framed(LIKELY | half(KEYS, OpenAIResponses.events) | half(KEYS) | JUNK), max_size=30))
def test_anything(events: list[Any]) -> None:
    sound(OpenAIResponses(), events)


@given(JUNK | half({"model", "stream", "conversation", "id", "text", "format", "type", "reasoning", "effort"}))
def test_any_request(body: Any) -> None:
    assert OpenAIResponses.asked("/v1/responses", body)["operation"] == "chat"
