"""The table of the parts of the AI SDK's UI message stream, from pydantic-ai-slim 2.68.0:
`ui/vercel_ai/response_types.py`."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import find
from streamgauge.dialects.vercel_ai import VercelAi
from streamgauge.signals import Closed
from streamgauge.wire import Granularity

from .agent_streams import JUNK, as_object, check_any, check_wire, sse, told, wire_files, words

IN_THE_SDK = {
    "text-start", "text-delta", "text-end", "reasoning-start", "reasoning-delta", "reasoning-end", "error",
    "tool-input-start", "tool-input-delta", "tool-output-available", "tool-input-available", "tool-input-error",
    "tool-output-error", "tool-approval-request", "tool-output-denied", "source-url", "source-document", "file",
    "start-step", "finish-step", "start", "finish", "abort", "message-metadata", "done",
}  # fmt: skip


def v(type_: str, **fields: Any) -> dict[str, Any]:
    return {"type": type_, **fields}


def say(delta: Any) -> dict[str, Any]:
    return v("text-delta", id="t", delta=delta)


CALLED = [
    v("tool-input-start", toolCallId="c1", toolName="search"),
    v("tool-input-delta", toolCallId="c1", inputTextDelta='{"q":1}'),
    v("tool-input-available", toolCallId="c1", toolName="search", input={"q": 1}),
]
DONE = v("done")
USED = {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13, "cachedInputTokens": 3, "reasoningTokens": 1}

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "start": (
        [v("start", messageId="m1")],
        [],
    ),
    "start-step": (
        [v("start-step"), v("start-step")],
        ["@1 +step:1 step 1 <", "@2 +step:2 step 2 <"],
    ),
    "finish-step": (
        [v("start-step"), v("finish-step")],
        ["@1 +step:1 step 1 <", "@2 -step:1"],
    ),
    "finish-step: of none": (
        [v("finish-step")],
        [],
    ),
    "text-delta": (
        [say("Hel"), say("lo")],
        ["@1 text Hel", "@2 text lo"],
    ),
    "text-delta: nothing": (
        [say(""), say(None)],
        [],
    ),
    "reasoning-delta": (
        [v("reasoning-delta", id="r", delta="hm"), v("reasoning-delta", id="r", delta="")],
        ["@1 reasoning hm"],
    ),
    "tool-input-start": (
        [CALLED[0]],
        [],
    ),
    "tool-input-delta": (
        [*CALLED[:2]],
        ['@2 tool_call {"q":1}'],
    ),
    "tool-input-delta: nothing": (
        [CALLED[0], v("tool-input-delta", toolCallId="c1", inputTextDelta="")],
        [],
    ),
    "tool-input-available": (
        [*CALLED],
        ['@2 tool_call {"q":1}'],
    ),
    "tool-input-available: no pieces of it came": (
        [CALLED[2]],
        ['@1 tool_call {"q":1}'],
    ),
    "tool-input-error": (
        [CALLED[0], v("tool-input-error", toolCallId="c1", toolName="search", input={"q": 1}, errorText="bad")],
        ["@1 note tool.requested search c1"],
    ),
    "tool-input-error: nothing came before": (
        [v("tool-input-error", toolCallId="c1", toolName="search", input={"q": 1}, errorText="bad")],
        ["@1 note tool.requested search c1"],
    ),
    "tool-approval-request": (
        [v("tool-approval-request", approvalId="a", toolCallId="c1")],
        ["@1 note person.asked"],
    ),
    "tool-output-available": (
        [v("start-step"), *CALLED, v("tool-output-available", toolCallId="c1", output={"hits": 3})],
        [
            "@1 +step:1 step 1 <",
            '@3 tool_call {"q":1}',
            '@4 +tool:c1 execute_tool search <step:1 c1 {"q":1}',
            '@5 note tool:c1 {"hits":3}',
            "@5 -tool:c1",
        ],
    ),
    "tool-output-available: in parts": (
        [
            *CALLED,
            v("tool-output-available", toolCallId="c1", output="1", preliminary=True),
            v("tool-output-available", toolCallId="c1", output="2", preliminary=True),
            v("tool-output-available", toolCallId="c1", output="3"),
        ],
        ['@2 tool_call {"q":1}', '@3 +tool:c1 execute_tool search < c1 {"q":1}', "@6 note tool:c1 3", "@6 -tool:c1"],
    ),
    "tool-output-available: of an unknown call": (
        [v("tool-output-available", toolCallId="c1", output=1)],
        [],
    ),
    "tool-output-error": (
        [*CALLED, v("tool-output-error", toolCallId="c1", errorText="it broke")],
        [
            '@2 tool_call {"q":1}',
            '@3 +tool:c1 execute_tool search < c1 {"q":1}',
            "@4 -tool:c1 failed tool_error: it broke",
        ],
    ),
    "tool-output-denied": (
        [*CALLED, v("tool-output-denied", toolCallId="c1"), DONE],
        ['@2 tool_call {"q":1}', '@3 note tool.requested search c1 {"q":1}', "@5 -"],
    ),
    "file": (
        [v("file", url="data:image/png;base64,AAAA", mediaType="image/png"), v("file", url="https://x/y.png")],
        ["@1 file data:image/png;base64,AAAA", "@2 file"],
    ),
    "message-metadata": (
        [v("message-metadata", messageMetadata={"totalUsage": USED})],
        ["@1 usage 9/4/3//1"],
    ),
    "message-metadata: of AI SDK 6": (
        [
            v(
                "message-metadata",
                messageMetadata={
                    "usage": {
                        "inputTokens": 9,
                        "outputTokens": 4,
                        "inputTokenDetails": {"cacheReadTokens": 3, "cacheWriteTokens": 2},
                        "outputTokenDetails": {"reasoningTokens": 1},
                    }
                },
            )
        ],
        ["@1 usage 9/4/3/2/1"],
    ),
    "message-metadata: of somebody's own": (
        [
            v("message-metadata", messageMetadata={"usage": "much"}),
            v("message-metadata", messageMetadata=5),
            v("message-metadata", messageMetadata={"usage": {"inputTokens": "x"}}),
        ],
        [],
    ),
    "finish": (
        [v("finish", finishReason="stop")],
        ["@1 note stop"],
    ),
    "finish: other words": (
        [
            v("finish", finishReason="tool-calls"),
            v("finish", finishReason="content-filter"),
            v("finish", finishReason="other"),
        ],
        ["@1 note tool_call", "@2 note content_filter", "@3 note other"],
    ),
    "finish: with usage": (
        [v("finish", messageMetadata={"totalUsage": USED}), DONE],
        ["@1 usage 9/4/3//1", "@2 -"],
    ),
    "abort": (
        [*CALLED, v("abort", reason="the user left"), DONE],
        ['@2 tool_call {"q":1}', '@3 note tool.requested search c1 {"q":1}', "@4 - cancelled: the user left"],
    ),
    "error": (
        [say("x"), v("error", errorText="it broke"), v("finish", finishReason="error"), DONE],
        ["@1 text x", "@2 - failed: it broke"],
    ),
    "done": (
        [say("x"), v("finish"), DONE, say("y"), DONE],
        ["@1 text x", "@3 -"],
    ),
    "done: a call that nobody answered": (
        [*CALLED, v("finish", finishReason="tool-calls"), DONE],
        ['@2 tool_call {"q":1}', "@4 note tool_call", '@3 note tool.requested search c1 {"q":1}', "@5 -"],
    ),
    "data-*": (
        [v("data-weather", data={"x": 1})],
        [],
    ),
    "an unknown type": (
        [v("something-new", delta="x")],
        [],
    ),
    "no event": (
        [None, 1, [], {}, "not json", b"\xff", {"type": None}, {"type": ["finish"]}],
        [],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(VercelAi(), events) == expected


def snake(data: Any) -> Any:
    """The names of a part as pydantic-ai's models have them; what is in it stays as it is."""
    if not isinstance(data, dict):
        return data
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): each for name, each in data.items()}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    """In an event stream, as text, and as objects."""
    texts = ["[DONE]" if data == DONE else json.dumps(data) if isinstance(data, dict) else data for data in events]
    assert told(VercelAi(), texts) == expected
    assert told(VercelAi(), [sse(data) if isinstance(data, str) else data for data in texts]) == expected
    objects = [as_flat(snake(data)) if data.__class__ is dict else data for data in events]
    assert told(VercelAi(), objects) == expected


def as_flat(data: dict[str, Any]) -> Any:
    """An object of these attributes, whose values stay as they are."""
    found = as_object({})
    vars(found).update(data)
    return found


def test_every_part_of_the_source_has_words() -> None:
    assert set(VercelAi.events) == IN_THE_SDK | {"data-*"}
    silent = {name for name, becomes in VercelAi.events.items() if becomes == "nothing"}
    assert {row.partition(":")[0] for row in ROWS} >= set(VercelAi.events) - silent
    assert told(VercelAi(), [v(name, delta="x") for name in sorted(silent)]) == []


def test_the_source_has_no_others() -> None:
    types = pytest.importorskip("pydantic_ai.ui.vercel_ai.response_types")
    kinds = [
        typing.get_args(kind.model_fields["type"].annotation)
        for kind in types.BaseChunk.__subclasses__()
        if kind is not types.DataChunk
    ]
    assert {word for words_ in kinds for word in words_} == IN_THE_SDK
    assert told(VercelAi(), [types.TextDeltaChunk(id="t", delta="x"), types.DoneChunk()]) == ["@1 text x", "@2 -"]


def test_what_it_says_of_itself() -> None:
    assert find("vercel-ai") is VercelAi
    assert (VercelAi.terminal, VercelAi.granularity, VercelAi.framing) == (True, Granularity.TOKEN, "sse")
    assert VercelAi.paths == ()
    assert VercelAi.asked("/api/chat", {"id": "chat-1"}) == {
        "operation": "invoke_agent",
        "conversation_id": "chat-1",
    }
    assert VercelAi.asked("/api/chat", [1])["conversation_id"] == ""


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([say("x")], []),
        ([say("x"), v("finish")], ["@9 -"]),
        ([v("finish"), say("of another stream")], []),
        ([v("finish"), v("start"), v("finish")], ["@9 -"]),
        ([v("finish"), DONE], []),
        ([*CALLED], ['@3 note tool.requested search c1 {"q":1}']),
    ],
)
def test_the_mark_is_missing(events: list[Any], expected: list[str]) -> None:
    """Whether the source has ended or the caller has left: after the last `finish` the run is complete."""
    for end in (VercelAi.finish, VercelAi.untold):
        dialect = VercelAi()
        told(dialect, events)
        ended = list(end(dialect, 9))
        assert [words(signal) for signal in ended] == expected
        if any(isinstance(signal, Closed) for signal in ended):
            assert end(dialect, 10) == ()


@pytest.mark.parametrize("path", wire_files("vercel-ai"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, VercelAi)


LIKELY = st.builds(
    lambda type_, fields: {**fields, "type": type_},
    st.sampled_from(sorted(VercelAi.events)),
    st.fixed_dictionaries(
        {},
        optional={
            "toolCallId": st.sampled_from(["", "a", "b"]), "toolName": st.sampled_from(["", "t"]),
            "delta": st.sampled_from(["", "x"]), "inputTextDelta": st.sampled_from(["", "{"]), "input": JUNK,
            "output": JUNK, "messageMetadata": JUNK, "finishReason": JUNK, "preliminary": JUNK, "url": JUNK,
        },
    ),
)  # fmt: skip


@given(st.lists(LIKELY | JUNK | st.binary(max_size=5) | st.builds(sse, JUNK), max_size=40))
def test_anything(events: list[Any]) -> None:
    check_any(VercelAi(), events)
