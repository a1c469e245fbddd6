"""The table of the frames that ZIRAN's handler reads, from ziran 0.42.0:
`infrastructure/adapters/protocols/sse_handler.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import find
from streamgauge.dialects.ziran_sse import ZiranSse
from streamgauge.wire import Granularity

from .agent_streams import JUNK, check_any, check_wire, sse, told, wire_files, words

DONE = sse("[DONE]")
USED = {
    "prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 1},
}  # fmt: skip


def chunk(finish: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, id_: Any = None, name: Any = None, arguments: str = "") -> dict[str, Any]:
    return chunk(tool_calls=[{"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}])


ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "content_field": (
        [chunk(content="Hel"), chunk(content="lo"), DONE],
        ["@1 text Hel", "@2 text lo", "@3 -"],
    ),
    "content_field: nothing": (
        [chunk(role="assistant", content=""), chunk(content=None)],
        [],
    ),
    "finish_field": (
        [chunk(content="x"), chunk("stop")],
        ["@1 text x", "@2 note stop"],
    ),
    "finish_field: for tools": (
        [chunk("tool_calls")],
        ["@1 note tool_call"],
    ),
    "tool_calls": (
        [call(0, "c1", "search"), call(0, arguments="{}"), call(1, "c2", "book", "[]"), DONE],
        [
            "@2 tool_call {}",
            "@3 tool_call []",
            "@2 note tool.requested search c1 {}",
            "@3 note tool.requested book c2 []",
            "@4 -",
        ],
    ),
    "tool_calls: without ids": (
        [call(0, None, "search", "{}"), DONE],
        ["@1 tool_call {}", "@1 note tool.requested search 0 {}", "@2 -"],
    ),
    "tool_calls: that are none": (
        [chunk(tool_calls=5), chunk(tool_calls=[5, {"index": "x"}])],
        [],
    ),
    "usage": (
        [{"choices": [], "usage": USED}],
        ["@1 usage 9/4/3//1"],
    ),
    "usage: that is none": (
        [{"choices": [], "usage": {"prompt_tokens": "x"}}, {"usage": 5}],
        [],
    ),
    "error": (
        [chunk(content="x"), {"error": {"message": "it broke", "type": "server_error"}}, chunk(content="y")],
        ["@1 text x", "@2 - failed server_error: it broke"],
    ),
    "text that is no JSON": (
        [sse("Hello"), sse(", you"), sse(" "), DONE],
        ["@1 text Hello", "@2 text , you", "@4 -"],
    ),
    "[DONE]": (
        [DONE, chunk(content="x")],
        ["@1 -"],
    ),
    "id and model, once": (
        [{**chunk(content="a"), "id": "i", "model": "m"}, {**chunk(content="b"), "id": "i", "model": "m"}],
        ["@1 note i m", "@1 text a", "@2 text b"],
    ),
    "no frame": (
        [None, 1, [], {}, {"choices": []}, {"choices": {}}, {"choices": [5]}, sse(5), sse("[1]"), sse('"x"')],
        [],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(ZiranSse(), events) == expected
    assert told(ZiranSse(), [sse(data) if isinstance(data, dict) else data for data in events]) == expected


class Acme(ZiranSse):
    """A target with paths of its own."""

    name = "acme"
    content_field = "delta.0.text"
    finish_field = "done_reason"
    openai = False
    __slots__ = ()


def test_a_target_with_paths_of_its_own() -> None:
    frames = [
        {"id": "i", "delta": [{"text": "Hel"}]}, {"delta": [{"text": "lo"}], "usage": USED}, chunk(content="x"),
        {"delta": [], "done_reason": "length"},
    ]  # fmt: skip
    dialect = Acme()
    assert told(dialect, [sse(data) for data in frames]) == ["@1 text Hel", "@2 text lo", "@4 note length"]
    assert [words(signal) for signal in dialect.finish(9)] == ["@9 -"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([chunk(content="x")], []),
        ([chunk("stop")], ["@9 -"]),
        ([chunk("stop"), DONE], []),
        ([call(0, "c1", "search", "{}")], ["@1 note tool.requested search c1 {}"]),
    ],
)
def test_the_mark_is_missing(events: list[Any], expected: list[str]) -> None:
    for end in (ZiranSse.finish, ZiranSse.untold):
        dialect = ZiranSse()
        told(dialect, events)
        assert [words(signal) for signal in end(dialect, 9)] == expected
        assert list(end(dialect, 10)) == []


def test_a_plain_answer_has_no_chunks() -> None:
    body = {
        "id": "i",
        "model": "m",
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": USED,
    }
    assert told(ZiranSse(), [json.dumps(body).encode()]) == ["@1 note i m", "@1 usage 9/4/3//1", "@1 note stop", "@1 -"]
    assert told(ZiranSse(), [b'{"answer": "Hi"}']) == ["@1 -"]
    assert told(ZiranSse(), [b'{"error": "it broke"}']) == ["@1 - failed: it broke"]


def test_every_form_of_frame_has_words() -> None:
    assert {row.partition(":")[0] for row in ROWS} >= set(ZiranSse.events)


def test_what_it_says_of_itself() -> None:
    assert find("ziran-sse") is ZiranSse
    assert (ZiranSse.terminal, ZiranSse.granularity, ZiranSse.framing) == (True, Granularity.TOKEN, "sse")
    assert ZiranSse.paths == ()
    assert ZiranSse.asked("/", {"model": "m"}) == {"operation": "invoke_agent", "model": "m"}
    assert ZiranSse.asked("/", None) == {"operation": "invoke_agent", "model": ""}


def test_the_handler_s_own_default_is_ours() -> None:
    handler = pytest.importorskip("ziran.infrastructure.adapters.protocols.sse_handler")
    made = handler.SSEProtocolHandler.__init__.__kwdefaults__
    assert (made["content_field"], made["finish_field"]) == (ZiranSse.content_field, ZiranSse.finish_field)


@pytest.mark.parametrize("path", wire_files("ziran-sse"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, ZiranSse)


LIKELY = st.one_of(
    st.builds(
        lambda finish, delta: chunk(finish, **delta),
        JUNK,
        st.dictionaries(st.sampled_from(["content", "tool_calls"]), JUNK),
    ),
    st.builds(call, st.integers(0, 2), st.sampled_from([None, "a", "b"]), JUNK, st.sampled_from(["", "{"])),
    st.builds(lambda usage: {"usage": usage}, JUNK),
    st.builds(lambda error: {"error": error}, JUNK),
)


@given(
    st.lists(
        LIKELY | st.just(DONE) | JUNK | st.binary(max_size=5) | st.builds(sse, LIKELY | JUNK | st.text(max_size=5)),
        max_size=30,
    )
)
def test_anything(events: list[Any]) -> None:
    check_any(ZiranSse(), [sse(event) if isinstance(event, dict) else event for event in events])
