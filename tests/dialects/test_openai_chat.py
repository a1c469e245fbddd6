"""The table of chat completions, from openai 3.54.0 `types/chat/chat_completion_chunk.py`, `chat_completion.py` and
`types/completion.py`; and of what compatible servers send beside, from their API references."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import semconv
from streamgauge.dialects import find
from streamgauge.dialects.openai_chat import OpenAIChat
from streamgauge.wire import Granularity

from .model_apis import FINISH, JUNK, UNTOLD, as_object, framed, half, play, sound, sse, told, wire_files

IN_THE_DELTA = {"audio", "content", "function_call", "refusal", "role", "tool_calls"}
IN_THE_CHUNK = {"choices", "created", "id", "model", "moderation", "obfuscation", "object", "service_tier",
                "system_fingerprint", "usage"}  # fmt: skip
OF_THE_CHUNK_ITSELF = {"choices", "created", "id", "model", "object", "service_tier", "system_fingerprint"}
"""Keys that are no event."""


def chunk(delta: Any = None, finish: Any = None, *, index: int = 0, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m1", "choices": choices, **more}


def usage(taken: Any, given_: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": taken, "completion_tokens": given_, **more}


def call(index: int = 0, arguments: Any = None, *, id_: Any = None, name: Any = None) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"index": index, **({"id": id_} if id_ else {}), "function": function}


def answer(message: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    return {"id": "c1", "object": "chat.completion", "model": "m1", "choices": choices, **more}


def text(words: str, finish: Any = None) -> dict[str, Any]:
    return {"id": "c1", "object": "text_completion", "model": "m1",
            "choices": [{"index": 0, "text": words, "finish_reason": finish}]}  # fmt: skip


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
DONE = sse("[DONE]")
NAMED = "@1 note id=c1 model=m1"

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    # One of each
    "delta.role": ([ROLE], [NAMED]),
    "delta.content": (
        [ROLE, chunk({"content": "He"}), chunk({"content": "llo"})],
        [NAMED, "@2 text He", "@3 text llo"],
    ),
    "delta.content: at once": ([chunk({"role": "assistant", "content": "He"})], [NAMED, "@1 text He"]),
    "delta.content: null, empty, none": (
        [ROLE, chunk({"content": None}), chunk({"content": ""}), chunk({})],
        [NAMED],
    ),
    "delta.content: no finish_reason at all": (
        [ROLE, {"choices": [{"index": 0, "delta": {"content": "a", "role": "assistant"}}]}],
        [NAMED, "@2 text a"],
    ),
    "delta.content: the finish reason with it": (
        [ROLE, chunk({"content": "a"}, "stop")],
        [NAMED, "@2 text a", "@2 note finish=stop"],
    ),
    "delta.content: parts": (
        [chunk({"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "u"}, "b"]})],
        [NAMED, "@1 text a", "@1 text b"],
    ),
    "delta.refusal": ([ROLE, chunk({"refusal": "No."})], [NAMED, "@2 text No."]),
    "delta.reasoning_content": (
        [ROLE, chunk({"content": None, "reasoning_content": "hm"}), chunk({"content": "a", "reasoning_content": None})],
        [NAMED, "@2 reasoning hm", "@3 text a"],
    ),
    "delta.reasoning_content: empty": ([ROLE, chunk({"reasoning_content": ""}), chunk({"reasoning": None})], [NAMED]),
    "delta.reasoning_content: with text": (
        [ROLE, chunk({"content": "a", "reasoning_content": "hm"})],
        [NAMED, "@2 reasoning hm", "@2 text a"],
    ),
    "delta.reasoning": ([ROLE, chunk({"reasoning": "hm"})], [NAMED, "@2 reasoning hm"]),
    "delta.reasoning: the same by its old name": (
        [ROLE, chunk({"reasoning": "hm", "reasoning_content": "hm"})],
        [NAMED, "@2 reasoning hm"],
    ),
    "delta.reasoning_details": (
        [ROLE, chunk({"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
         chunk({"reasoning_details": [{"type": "reasoning.summary", "summary": "so"}]})],
        [NAMED, "@2 reasoning hm", "@3 reasoning so"],
    ),
    "delta.reasoning_details: beside": (
        [ROLE, chunk({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})],
        [NAMED, "@2 reasoning hm"],
    ),
    "delta.reasoning_details: encrypted": (
        [ROLE, chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]})],
        [NAMED],
    ),
    "delta.tool_calls": (
        [ROLE, chunk({"tool_calls": [call(0, "", id_="t1", name="ls")]}), chunk({"tool_calls": [call(0, '{"p":')]}),
         chunk({"tool_calls": [call(0, "1}")]}), chunk({}, "tool_calls")],
        [NAMED, "@2 note tool.requested tool=ls call=t1", '@3 tool_call {"p":', "@4 tool_call 1}",
         "@5 note finish=tool_call"],
    ),
    "delta.tool_calls: several at one time": (
        [chunk({"tool_calls": [call(0, "", id_="t1", name="ls"), call(1, "", id_="t2", name="cat")]}),
         chunk({"tool_calls": [call(1, "{}"), call(0, "[]")]})],
        [NAMED, "@1 note tool.requested tool=ls call=t1", "@1 note tool.requested tool=cat call=t2",
         "@2 tool_call {}", "@2 tool_call []"],
    ),
    "delta.tool_calls: whole, and all with one index": (
        [chunk({"content": "", "tool_calls": [call(0, "{}", id_="t1", name="ls")]}),
         chunk({"content": "", "tool_calls": [call(0, "{}", id_="t2", name="ls")]})],
        [NAMED, "@1 note tool.requested tool=ls call=t1", "@1 tool_call {}",
         "@2 note tool.requested tool=ls call=t2", "@2 tool_call {}"],
    ),
    "delta.tool_calls: the name again in every piece": (
        [ROLE, chunk({"tool_calls": [call(0, "a", id_="t1", name="ls")]}),
         chunk({"tool_calls": [call(0, "b", id_="t1", name="ls")]}), chunk({"tool_calls": [call(0, "c", name="ls")]})],
        [NAMED, "@2 note tool.requested tool=ls call=t1", "@2 tool_call a", "@3 tool_call b", "@4 tool_call c"],
    ),
    "delta.tool_calls: the id before the name": (
        [chunk({"tool_calls": [call(0, id_="t1")]}), chunk({"tool_calls": [call(0, "{}", name="ls")]})],
        [NAMED, "@2 note tool.requested tool=ls call=t1", "@2 tool_call {}"],
    ),
    "delta.tool_calls: no id, no index": (
        [chunk({"tool_calls": [{"function": {"name": "ls", "arguments": {"p": 1}}}]})],
        [NAMED, "@1 note tool.requested tool=ls", '@1 tool_call {"p":1}'],
    ),
    "delta.tool_calls: arguments of a program's own making": (
        [chunk({"tool_calls": [call(0, {"p": object()}, id_="t1", name="ls")]})],
        [NAMED, "@1 note tool.requested tool=ls call=t1"],
    ),
    "delta.tool_calls: an id that is none": (
        [chunk({"tool_calls": [call(0, "{}", id_="null", name="ls")]})],
        [NAMED, "@1 note tool.requested tool=ls", "@1 tool_call {}"],
    ),
    "delta.tool_calls: a custom tool": (
        [chunk({"tool_calls": [{"index": 0, "id": "t1", "type": "custom", "custom": {"name": "py", "input": "1+1"}}]})],
        [NAMED, "@1 note tool.requested tool=py call=t1", "@1 tool_call 1+1"],
    ),
    "delta.function_call": (
        [ROLE, chunk({"function_call": {"name": "ls", "arguments": ""}}),
         chunk({"function_call": {"arguments": "{}"}}), chunk({}, "function_call")],
        [NAMED, "@2 note tool.requested tool=ls", "@3 tool_call {}", "@4 note finish=tool_call"],
    ),
    "delta.audio": (
        [ROLE, chunk({"audio": {"id": "a1", "transcript": "He"}}), chunk({"audio": {"data": "AAAA"}}),
         chunk({"audio": {"expires_at": 9}})],
        [NAMED, "@2 text He", "@3 audio AAAA"],
    ),
    "delta.images": (
        [ROLE, chunk({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, {}]})],
        [NAMED, "@2 image data:image/png;base64,AA"],
    ),
    "finish_reason": ([ROLE, STOP], [NAMED, "@2 note finish=stop"]),
    "finish_reason: length, and of a filter": (
        [chunk({}, "length"), chunk({}, "content_filter")],
        [NAMED, "@1 note finish=length", "@2 note finish=content_filter"],
    ),
    "finish_reason: unknown": ([chunk({}, "eos")], [NAMED, "@1 note finish=eos"]),
    "finish_reason: again": ([ROLE, STOP, STOP], [NAMED, "@2 note finish=stop"]),
    "finish_reason: one for each choice": (
        [chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({"content": "c"}),
         chunk({}, "length", index=1), STOP, DONE],
        [NAMED, "@1 text a", "@2 text b", "@3 text c", "@5 note finish=stop+length", "@6 -"],
    ),
    "finish_reason: two choices in one chunk": (
        [{**ROLE, "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "length"},
                              {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}],
        [NAMED, "@1 text b", "@1 text a", "@1 note finish=stop+length"],
    ),
    "finish_reason: error": (
        [ROLE, chunk({"content": "a"}), chunk({"content": ""}, "error",
         error={"code": "server_error", "message": "disconnected"}), DONE],
        [NAMED, "@2 text a", "@3 note finish=error", "@3 - failed server_error: disconnected"],
    ),
    "finish_reason: error, and no word of it": (
        [ROLE, chunk({}, "error")],
        [NAMED, "@2 note finish=error", "@2 - failed"],
    ),
    "usage: after the last": (
        [ROLE, STOP, chunk(usage=usage(9, 5, prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 2},
                                       completion_tokens_details={"reasoning_tokens": 3})), DONE],
        [NAMED, "@2 note finish=stop", "@3 usage 9/5/4/2/3", "@4 -"],
    ),
    "usage: null until the last": (
        [chunk({"role": "assistant"}, usage=None), chunk({"content": "a"}, usage=None), chunk(usage=usage(9, 1))],
        [NAMED, "@2 text a", "@3 usage 9/1///"],
    ),
    "usage: in the last": (
        [ROLE, chunk({}, "stop", usage=usage(9, 5, prompt_cache_hit_tokens=8, prompt_cache_miss_tokens=1))],
        [NAMED, "@2 note finish=stop", "@2 usage 9/5/8//"],
    ),
    "usage: in every chunk": (
        [chunk({"role": "assistant"}, usage=usage(9, 0)), chunk({"content": "a"}, usage=usage(9, 1)),
         chunk({"reasoning": "b"}, usage=usage(9, 2)), chunk({"refusal": "c"}, usage=usage(9, 3)), DONE],
        [NAMED, "@1 usage 9/0///", "@2 text a", "@3 reasoning b", "@4 text c", "@5 usage 9/3///", "@5 -"],
    ),
    "usage: in every chunk, and the caller leaves": (
        [ROLE, chunk({"content": "a"}, usage=usage(9, 1)), chunk({"content": "b"}, usage=usage(9, 2)), UNTOLD],
        [NAMED, "@2 text a", "@3 text b", "@4 usage 9/2///"],
    ),
    "usage: LiteLLM's caches": (
        [chunk(usage=usage(9, 5, cache_read_input_tokens=4, cache_creation_input_tokens=2))],
        [NAMED, "@1 usage 9/5/4/2/"],
    ),
    "usage: in the choice": (
        [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage(9, 5, cached_tokens=2)}]}],
        ["@1 note finish=stop", "@1 usage 9/5/2//"],
    ),
    "usage: reasoning counted apart": (
        [chunk(usage=usage(9, 5, total_tokens=21, completion_tokens_details={"reasoning_tokens": 7}))],
        [NAMED, "@1 usage 9/12///7"],
    ),
    "usage: zeros, or no counts": (
        [chunk(usage=usage(0, 0)), chunk(usage=usage(None, "many")), chunk(usage={}), chunk(usage=usage(-1, True))],
        [NAMED],
    ),
    "usage: a part of it": ([chunk(usage=usage(9, None)), chunk(usage=usage(9.0, 5.5))],
                            [NAMED, "@1 usage 9////", "@2 usage 9////"]),
    "x_groq": (
        [{**ROLE, "x_groq": {"id": "r"}}, {**STOP, "x_groq": {"usage": usage(9, 5)}}],
        [NAMED, "@2 note finish=stop", "@2 usage 9/5///"],
    ),
    "x_groq: an error": (
        [ROLE, {**STOP, "choices": [], "x_groq": {"error": "over capacity"}}],
        [NAMED, "@2 - failed: over capacity"],
    ),
    "prompt_filter_results": (
        [{"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}, ROLE,
         {**ROLE, "choices": [{"index": 0, "finish_reason": None, "content_filter_results": {}}]}],
        ["@2 note id=c1 model=m1"],
    ),
    "obfuscation": ([ROLE, chunk({"content": "a"}, obfuscation="Zx9")], [NAMED, "@2 text a"]),
    "moderation": ([ROLE, chunk(moderation={"input": {}})], [NAMED]),
    "text": ([text("He"), text("llo"), text("", "stop"), DONE],
             [NAMED, "@1 text He", "@2 text llo", "@3 note finish=stop", "@4 -"]),
    "text: whole": ([b'{"id":"c1","choices":[{"index":0,"text":"Hello","finish_reason":"stop"}]}'],
                    ["@1 note id=c1", "@1 note finish=stop", "@1 -"]),
    "message": (
        [answer({"role": "assistant", "content": "Hello"}, usage=usage(9, 5)), DONE],
        [NAMED, "@1 note finish=stop", "@1 usage 9/5///", "@1 -"],
    ),
    "message: tools": (
        [answer({"content": None, "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "ls", "arguments": "{}"}},
            {"id": "t2", "type": "function", "function": {"name": "ls", "arguments": '{"p":1}'}}]}, "tool_calls")],
        [NAMED, "@1 note tool.requested tool=ls call=t1 arguments={}",
         '@1 note tool.requested tool=ls call=t2 arguments={"p":1}', "@1 note finish=tool_call", "@1 -"],
    ),
    "message: an event stream of one": ([sse(answer({"content": "a"})), DONE], [NAMED, "@1 note finish=stop", "@1 -"]),
    "message: another kind of answer": (['{"object":"list","data":[]}'], ["@1 -"]),
    "message: no choice": (['{"id":"c1","choices":[]}'], ["@1 note id=c1", "@1 -"]),
    "error": (
        [ROLE, {"error": {"message": "Try later.", "type": "server_error", "param": None, "code": None}}, STOP],
        [NAMED, "@2 - failed server_error: Try later."],
    ),
    "error: an event of that type": (
        [ROLE, sse({"error": {"message": "m", "type": "invalid_request_error", "code": "json_validate_failed"}},
                   "error")],
        [NAMED, "@2 - failed json_validate_failed: m"],
    ),
    "error: an event of that type, bare": ([sse({"message": "m", "code": 429}, "error")], ["@1 - failed 429: m"]),
    "error: an event of that type, in words": ([sse("it broke", "error")], ["@1 - failed: it broke"]),
    "error: an event of that type, empty": ([sse("{}", "error")], ["@1 - failed"]),
    "error: a word": ([{"error": "model not found"}], ["@1 - failed: model not found"]),
    "error: vLLM's own form": (
        [{"object": "error", "message": "m", "type": "BadRequestError", "code": 400}],
        ["@1 - failed BadRequestError: m"],
    ),
    "error: a code that is no word": (
        [{"error": {"code": "it is all over!", "type": "overloaded"}}],
        ["@1 - failed overloaded"],
    ),
    "error: of a choice": (
        [{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None, "error": {"code": 502}}]}],
        ["@1 text a", "@1 - failed 502"],
    ),
    "error: after a finish reason of one choice": (
        [STOP, chunk({"content": "b"}, index=1), {"error": {"code": 502, "message": "m"}}],
        [NAMED, "@1 note finish=stop", "@2 text b", "@3 note finish=stop+error", "@3 - failed 502: m"],
    ),
    "error: null": ([chunk({"content": "a"}, error=None)], [NAMED, "@1 text a"]),
    "error: a plain answer": (['{"error":{"message":"m","code":"bad"}}'], ["@1 - failed bad: m"]),
    "[DONE]": ([ROLE, STOP, DONE, DONE, ROLE], [NAMED, "@2 note finish=stop", "@3 -"]),
    "[DONE]: alone": ([DONE], ["@1 -"]),
    "[DONE]: as text, as bytes": (["[DONE]", b"[DONE]"], ["@1 -"]),
    # Ends without a mark
    "ended: all choices have finished": ([ROLE, STOP, FINISH], [NAMED, "@2 note finish=stop", "@3 -"]),
    "ended: with the usage": (
        [ROLE, chunk({"content": "a"}, "stop", usage=usage(9, 5)), FINISH, FINISH],
        [NAMED, "@2 text a", "@2 note finish=stop", "@3 usage 9/5///", "@3 -"],
    ),
    "ended: cut": ([ROLE, chunk({"content": "a"}), FINISH], [NAMED, "@2 text a"]),
    "ended: one of two has finished": (
        [chunk({"content": "a"}, index=1), STOP, FINISH],
        [NAMED, "@1 text a", "@3 note finish=stop+error"],
    ),
    "ended: at once": ([FINISH], []),
    "left: all choices have finished": ([ROLE, STOP, UNTOLD, STOP], [NAMED, "@2 note finish=stop", "@3 -"]),
    "left: in the middle": ([ROLE, chunk({"content": "a"}), UNTOLD], [NAMED, "@2 text a"]),
    # What is none of it
    "unknown": (
        [sse("hello"), sse("null"), sse("{}"), sse('{"type":"ping"}', "ping"), sse(""), None, 7, [], {}, "data: {}"],
        [],
    ),
    "an event of the SDK's own stream helper": (
        [{"type": "chunk", "chunk": ROLE, "snapshot": {}}, {"type": "chunk", "chunk": chunk({"content": "a"})},
         {"type": "content.delta", "delta": "a", "snapshot": "a"}],
        [NAMED, "@2 text a"],
    ),
    "no names": (
        [{"choices": [{"delta": {"content": "a"}}]}, {"choices": [{"index": "x", "delta": {"content": "b"}}]}],
        ["@1 text a", "@2 text b"],
    ),
    "names that come late": ([{"choices": []}, chunk({"content": "a"})], ["@2 note id=c1 model=m1", "@2 text a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_table(name: str) -> None:
    events, expected = ROWS[name]
    assert told(OpenAIChat(), events) == expected


@pytest.mark.parametrize("name", ROWS)
def test_every_form_tells_the_same(name: str) -> None:
    """As `dict`, as an SDK's object, and framed."""
    events, expected = ROWS[name]
    plain = [event for event in events if isinstance(event, dict)]
    if len(plain) != len([event for event in events if event not in (FINISH, UNTOLD, DONE)]) or not plain:
        return
    assert told(OpenAIChat(), [as_object(event) if isinstance(event, dict) else event for event in events]) == expected
    if not any("chunk" in event for event in plain) and "own making" not in name:  # which is never framed
        assert told(OpenAIChat(), [sse(event) if isinstance(event, dict) else event for event in events]) == expected


def test_every_event_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in ROWS} >= set(OpenAIChat.events)


def test_the_events_are_what_the_chunk_has() -> None:
    deltas = {name.removeprefix("delta.") for name in OpenAIChat.events if name.startswith("delta.")}
    assert deltas >= IN_THE_DELTA
    assert set(OpenAIChat.events) >= IN_THE_CHUNK - OF_THE_CHUNK_ITSELF


def test_the_sdk_has_no_more() -> None:
    chunks = pytest.importorskip("openai.types.chat.chat_completion_chunk")
    assert set(chunks.ChoiceDelta.model_fields) == IN_THE_DELTA
    assert set(chunks.ChatCompletionChunk.model_fields) == IN_THE_CHUNK


def test_the_sdks_objects() -> None:
    chunks = pytest.importorskip("openai.types.chat.chat_completion_chunk")
    events = [ROLE, chunk({"content": "a"}), chunk({"reasoning_content": "b"}),
              chunk({"tool_calls": [call(0, "{}", id_="t1", name="ls")]}), chunk({}, "tool_calls", usage=usage(9, 5)),
              FINISH]  # fmt: skip
    models = [chunks.ChatCompletionChunk.construct(**event) if isinstance(event, dict) else event for event in events]
    assert told(OpenAIChat(), models) == told(OpenAIChat(), events)


def piece(content: Any = None, calls: Any = None, tokens: Any = None, **extra: Any) -> Any:
    """A chunk as the SDK has it: what the delta has beside its own fields is apart."""
    delta = SimpleNamespace(content=content, tool_calls=calls and as_object(calls), model_extra=extra, **extra)
    choice = SimpleNamespace(index=0, delta=delta, finish_reason=None)
    return SimpleNamespace(id="c1", model="m1", usage=tokens, choices=[choice])


def call_of_sdk(**more: Any) -> dict[str, Any]:
    return {"index": 0, "id": None, "function": {"name": None, "arguments": "{}"}, **more}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (piece("a"), ["@2 text a"]),
        (piece("a", tokens=usage(9, 5)), ["@2 text a", "@3 usage 9/5///"]),
        (piece(reasoning_content="hm"), ["@2 reasoning hm"]),
        (piece("", reasoning="hm"), ["@2 reasoning hm"]),
        (piece("", reasoning=""), []),
        (piece("a", reasoning="hm"), ["@2 reasoning hm", "@2 text a"]),
        (piece(reasoning="hm", images=[]), ["@2 reasoning hm"]),
        (piece(None, [call_of_sdk()]), ["@2 tool_call {}"]),
        (piece("a", [call_of_sdk()]), ["@2 text a", "@2 tool_call {}"]),
        (piece(None, [call_of_sdk(), call_of_sdk(index=1)]), ["@2 tool_call {}", "@2 tool_call {}"]),
        (piece(None, [call_of_sdk(id="t1")]), ["@2 tool_call {}"]),
        (piece(), []),
    ],
)
def test_pieces_of_objects(event: Any, expected: list[str]) -> None:
    assert told(OpenAIChat(), [piece(), event, UNTOLD])[1:] == expected


def test_a_chunk_alone_is_no_sequence() -> None:
    dialect = OpenAIChat()
    dialect.feed(ROLE, 1)
    assert type(dialect.feed(chunk({"content": "a"}), 2)).__name__ == "Chunk"
    assert type(dialect.feed(sse(chunk({"role": "assistant", "content": "a"})), 3)).__name__ == "Chunk"
    assert type(dialect.feed(chunk({"reasoning": "a"}), 4)).__name__ == "Chunk"
    assert type(dialect.feed(chunk({"tool_calls": [call(0, "a")]}), 5)).__name__ == "Chunk"


def test_what_it_is() -> None:
    assert find("openai-chat") is OpenAIChat
    assert (OpenAIChat.terminal, OpenAIChat.granularity, OpenAIChat.framing) == (True, Granularity.TOKEN, "sse")
    assert OpenAIChat.provider_name == "openai"


# Requests -----------------------------------------------------------------------------------------------------

MANY = {
    "model": "m", "stream": True, "temperature": 1, "top_p": 0.5, "top_k": 3, "n": 2, "seed": 7, "stop": ["a", "b"],
    "max_tokens": 5, "max_completion_tokens": 6, "frequency_penalty": 0.1, "presence_penalty": 0.2,
    "reasoning_effort": "low", "response_format": {"type": "json_schema", "json_schema": {}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "operation", "model", "attributes"),
    [
        ("/v1/chat/completions", {"model": "m", "stream": True}, "chat", "m", {}),
        ("/v1/chat/completions", {"model": "m"}, "chat", "m", {semconv.GEN_AI_REQUEST_STREAM: False}),
        ("/v1/chat/completions", None, "chat", "", {}),
        ("/v1/chat/completions", [1], "chat", "", {}),
        ("/v1/completions?x=1", {"model": "m", "stream": True}, "text_completion", "m", {}),
        ("/openai/deployments/my%20gpt/chat/completions?api-version=1", {"stream": True}, "chat", "my gpt", {}),
        ("/openai/deployments/d/completions", {"model": "m", "stream": True}, "text_completion", "m", {}),
        ("/api/v1/chat/completions", {"model": "m", "stream": True, "reasoning": {"effort": "high"}}, "chat", "m",
         {semconv.GEN_AI_REQUEST_REASONING_LEVEL: "high"}),
        ("/v1/chat/completions", {"stream": True, "response_format": {"type": ["x"]}, "reasoning": 3}, "chat", "", {}),
        ("/v1/chat/completions", MANY, "chat", "m", {
            semconv.GEN_AI_REQUEST_TEMPERATURE: 1.0, semconv.GEN_AI_REQUEST_TOP_P: 0.5,
            semconv.GEN_AI_REQUEST_TOP_K: 3, semconv.GEN_AI_REQUEST_CHOICE_COUNT: 2, semconv.GEN_AI_REQUEST_SEED: 7,
            semconv.GEN_AI_REQUEST_STOP_SEQUENCES: ("a", "b"), semconv.GEN_AI_REQUEST_MAX_TOKENS: 6,
            semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: 0.1, semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: 0.2,
            semconv.GEN_AI_REQUEST_REASONING_LEVEL: "low", semconv.GEN_AI_OUTPUT_TYPE: "json",
        }),
    ],
)  # fmt: skip
def test_asked(path: str, body: Any, operation: str, model: str, attributes: dict[str, Any]) -> None:
    assert OpenAIChat.asked(path, body) == {"operation": operation, "model": model, "attributes": attributes}


@pytest.mark.parametrize("path", wire_files("openai-chat"), ids=lambda path: path.name)
def test_over_http(path: Path) -> None:
    found, expected = play(path, OpenAIChat)
    assert found == expected


# Anything -----------------------------------------------------------------------------------------------------

KEYS = {
    "arguments", "audio", "cached_tokens", "choices", "chunk", "completion_tokens", "content", "custom", "data",
    "delta", "error", "finish_reason", "function", "function_call", "id", "image_url", "images", "index", "input",
    "message", "model", "name", "object", "prompt_tokens", "prompt_tokens_details", "reasoning", "reasoning_content",
    "reasoning_details", "refusal", "text", "thinking", "tool_calls", "transcript", "type", "url", "usage", "x_groq",
}  # fmt: skip
DELTAS = half(KEYS) | st.fixed_dictionaries({}, optional={
    "content": st.text(max_size=3) | JUNK, "role": st.just("assistant"), "reasoning": st.text(max_size=3),
    "tool_calls": st.lists(st.builds(call, st.integers(0, 2), st.text(max_size=3), id_=st.sampled_from(["", "a", "b"]),
                                     name=st.sampled_from(["", "ls"])), max_size=2) | JUNK,
})  # fmt: skip
CHUNKS = st.builds(
    lambda delta, finish, index, more: chunk(delta, finish, index=index, **more),
    DELTAS, st.sampled_from([None, None, "stop", "error", "tool_calls"]) | JUNK, st.integers(0, 2),
    st.fixed_dictionaries({}, optional={"usage": JUNK | st.builds(usage, st.integers(), st.integers())}),
)  # fmt: skip


@given(st.lists(framed(CHUNKS | half(KEYS) | JUNK) | st.just(DONE), max_size=20))
def test_anything(events: list[Any]) -> None:
    sound(OpenAIChat(), events)


@given(JUNK | half(KEYS), st.text(max_size=30))
def test_any_request(body: Any, path: str) -> None:
    assert OpenAIChat.asked(path, body)["operation"] in ("chat", "text_completion")


def test_it_keeps_nothing_of_the_text() -> None:
    dialect = OpenAIChat()
    told(dialect, [ROLE, *[chunk({"content": "word "})] * 1000])
    assert (len(dialect._reasons), len(dialect._asked), dialect._owed) == (1, 0, None)
