"""Captures: what is written is what is read; bad files say where; secrets and bounds."""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import importlib.util
import io
import json
import os
import pathlib
import stat
import sys
import threading
import types
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.capture import (
    HOWS,
    REDACTED,
    Capture,
    CaptureWriter,
    Ending,
    Note,
    jsonable,
    read,
    redact_secrets,
)
from streamgauge.dialects import BUILT_IN
from streamgauge.errors import CaptureError
from streamgauge.framing import SSEFraming
from streamgauge.wire import Aside, Event, Outcome, Request

FOLDER = Path(__file__).parent / "captures"
SCRIPT = Path(__file__).parents[1] / "scripts" / "import_captures.py"
REQUEST = Request(dialect="generic", agent_name="a", server_port=8080, timeout_s=1.5, attributes={"k": [1, "x"]})
HEADER = '{"streamgauge":"capture","version":1,"dialect":"zag","framing":null,"request":{},"epoch_ns":0}\n'


def written(*events: Event, request: Request = REQUEST, **options: Any) -> bytes:
    file = io.BytesIO()
    with CaptureWriter(file, request, **options) as writer:
        for event in events:
            writer.write(event)
    return file.getvalue()


def reread(*events: Event, **options: Any) -> Capture:
    return read(io.BytesIO(written(*events, **options)))


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


# Round trip ---------------------------------------------------------------------------------------------------------

FORMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
TIMES = st.integers(0, 10**18)
ASIDES = st.builds(Aside, st.text(), st.dictionaries(st.text(), FORMS))
REQUESTS = st.builds(
    Request,
    dialect=st.sampled_from(["generic", "zag"]),
    transport=st.text(),
    agent_name=st.text(),
    model=st.text(),
    server_port=st.integers(0, 65_535),
    timeout_s=st.floats(0, 1e6),
    attributes=st.dictionaries(st.text(), FORMS),
)
ENDINGS = st.none() | st.builds(
    Ending, TIMES, st.sampled_from(HOWS), st.none() | st.just("ValueError"), st.sampled_from(["", *Outcome])
)


def timed(data: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Event]]:
    return st.lists(st.builds(Event, at=TIMES, data=data, asked=st.none() | TIMES), max_size=6)


@settings(deadline=None)
@given(
    st.tuples(st.none(), timed(FORMS | ASIDES))
    | st.tuples(st.sampled_from(["sse", "ndjson"]), timed(st.binary() | st.text(st.characters()) | ASIDES)),
    REQUESTS,
    ENDINGS,
    st.integers(1, 2 * 10**18),
)
def test_round_trip(
    recorded: tuple[str | None, list[Event]], request: Request, ending: Ending | None, epoch: int
) -> None:
    framing, events = recorded
    file = io.BytesIO()
    writer = CaptureWriter(file, request, framing=framing, opened_at=0, anchor=epoch, redact=None)
    for event in events:
        writer.write(event)
    if ending is not None:
        writer.end(ending.at, ending.error, ending.how, ending.outcome)
    writer.close()

    capture = read(io.BytesIO(file.getvalue()))
    # What is empty in a request is not written, and comes back as the default.
    transport = request.transport or "inprocess"
    assert capture.request == dataclasses.replace(request, transport=transport)
    assert (capture.framing, capture.epoch_ns, capture.ending) == (framing, epoch, ending)
    assert capture.events == events
    assert capture.types == [""] * len(events)
    assert (capture.notes, capture.truncated) == ([], False)
    assert writer.written_bytes == len(file.getvalue())
    assert file.getvalue().isascii()


@dataclasses.dataclass
class Message:
    text: str


def test_the_lines() -> None:
    file = io.BytesIO()
    writer = CaptureWriter(file, REQUEST, opened_at=100, anchor=1_000)
    writer.write(Event(130, Message("é"), 110))
    writer.write(Event(140, {"b": 1}))
    writer.write(Event(140, Aside("user_message", {"mid_turn": False})))
    writer.note(145, {"seen": (1, 2)})
    writer.end(150, "ValueError", "error", Outcome.FAILED)
    writer.close()
    assert file.getvalue().decode() == (
        '{"streamgauge":"capture","version":1,"dialect":"generic","framing":null,"request":{"transport":"inprocess",'
        '"operation":"invoke_agent","agent_name":"a","server_port":8080,"timeout_s":1.5,"attributes":{"k":[1,"x"]}},'
        '"epoch_ns":1100}\n'
        '{"at":30,"asked":10,"data":{"text":"\\u00e9"},"type":"' + __name__ + '.Message"}\n'
        '{"at":40,"data":{"b":1}}\n'
        '{"at":40,"aside":"user_message","data":{"mid_turn":false}}\n'
        '{"at":45,"note":{"seen":[1,2]}}\n'
        '{"at":50,"end":{"error":"ValueError","how":"error","outcome":"failed"}}\n'
    )
    capture = read(io.BytesIO(file.getvalue()))
    assert capture.types == [f"{__name__}.Message", "", ""]
    assert capture.notes == [Note(45, {"seen": [1, 2]}, 3)]
    assert capture.ending == Ending(50, "error", "ValueError", "failed")


def test_framed_lines() -> None:
    data = written(Event(1, b"\xff\n"), Event(2, "x\n"), Event(3, bytearray(b"y")), framing="sse")
    header, *events = lines(data)
    assert header["framing"] == "sse"
    assert events == [
        {"at": 0, "bytes": base64.b64encode(b"\xff\n").decode()},
        {"at": 1, "text": "x\n"},
        {"at": 2, "bytes": "eQ=="},
    ]


@pytest.mark.parametrize(
    ("events", "options", "times"),
    [
        ([Event(70, 1), Event(90, 2, 80)], {}, [(0, None), (20, 10)]),
        ([Event(70, 1, 50)], {}, [(20, 0)]),
        ([Event(70, 1, 50)], {"opened_at": 40}, [(30, 10)]),
    ],
)
def test_time_begins_with_the_opening(
    events: list[Event], options: dict[str, int], times: list[tuple[int, int | None]]
) -> None:
    assert [(event.at, event.asked) for event in reread(*events, **options).events] == times


def test_the_wall_clock_is_unknown_without_an_anchor() -> None:
    assert reread(Event(70, 1)).epoch_ns == 0
    assert reread(Event(70, 1), anchor=10**18).epoch_ns == 10**18 + 70


def test_types_of_what_json_does_not_have() -> None:
    capture = reread(
        Event(0, (1, 2)), Event(0, {1, 2}), Event(0, decimal.Decimal("1.5")), Event(0, b"x"), Event(0, "s")
    )
    assert capture.types == ["tuple", "set", "decimal.Decimal", "", ""]
    assert [event.data for event in capture.events] == [[1, 2], [1, 2], "1.5", b"x", "s"]


def test_a_type_can_be_told() -> None:
    file = io.BytesIO()
    with CaptureWriter(file, REQUEST) as writer:
        writer.write(Event(0, {}), type_name="a.B")
    assert read(io.BytesIO(file.getvalue())).types == ["a.B"]


def test_after_the_end_only_notes_are_written() -> None:
    file = io.BytesIO()
    with CaptureWriter(file, REQUEST, opened_at=0) as writer:
        writer.end(1, None, "closed")
        writer.end(2, "ValueError", "error")
        writer.write(Event(3, "late"))
        writer.note(4, "still running")
    capture = read(io.BytesIO(file.getvalue()))
    assert capture.ending == Ending(1, "closed")
    assert capture.events == []
    assert capture.notes == [Note(4, "still running", 0)]


def test_nothing_is_written_after_closing() -> None:
    file = io.BytesIO()
    writer = CaptureWriter(file, REQUEST)
    writer.close()
    writer.close()
    writer.write(Event(0, 1))
    writer.note(0, 1)
    writer.end(0, None, "closed")
    assert len(lines(file.getvalue())) == 1
    assert read(io.BytesIO(file.getvalue())).events == []


def test_paths_and_text_files(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    with CaptureWriter(path, REQUEST) as writer:
        writer.write(Event(0, "é"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = io.StringIO()
    with CaptureWriter(text, REQUEST) as writer:
        writer.write(Event(0, "é"))
    assert text.getvalue().encode() == path.read_bytes()
    with path.open(encoding="utf-8") as file:
        assert read(file) == read(path) == read(str(path)) == read(io.StringIO(text.getvalue()))
        assert not file.closed
    assert [event.data for event in read(path).events] == ["é"]


def test_several_threads_write_whole_lines() -> None:
    class Shy(io.BytesIO):
        """Notices when two threads write at once."""

        inside = 0
        overlaps = 0

        def write(self, data: Any) -> int:
            self.inside += 1
            for _ in range(2_000):
                self.overlaps += self.inside > 1
            self.inside -= 1
            return super().write(data)

    file = Shy()
    writer = CaptureWriter(file, REQUEST, opened_at=0)

    def work(name: int) -> None:
        for number in range(200):
            writer.write(Event(number, {"thread": name, "number": number}))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    writer.close()
    assert file.overlaps == 0
    seen = [(event.data["thread"], event.data["number"]) for event in read(io.BytesIO(file.getvalue())).events]
    assert sorted(seen) == [(name, number) for name in range(4) for number in range(200)]


def test_an_object_whose_form_comes_back_to_the_writer() -> None:
    file = io.BytesIO()
    writer = CaptureWriter(file, REQUEST, opened_at=0)

    class Meddler:
        def to_dict(self) -> dict[str, int]:
            writer.write(Event(0, Aside("meddling")))
            return {"a": 1}

    writer.write(Event(1, Meddler()))
    writer.close()
    assert [event.data for event in read(io.BytesIO(file.getvalue())).events] == [Aside("meddling"), {"a": 1}]


# Limits -------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.text(), max_size=20), st.integers(200, 2_000))
def test_the_size_is_bounded(texts: list[str], limit: int) -> None:
    events = [Event(index, text) for index, text in enumerate(texts)]
    data = written(*events, max_bytes=limit)
    whole = written(*events)
    capture = read(io.BytesIO(data))
    assert len(data) <= max(limit, len(written()) + len(b'{"truncated":true}\n'))
    assert capture.events == events[: len(capture.events)]
    if capture.truncated:
        assert data.endswith(b'\n{"truncated":true}\n')
        assert len(whole) + len(b'{"truncated":true}\n') > limit
    else:
        assert data == whole


def test_after_truncation_nothing_is_written() -> None:
    file = io.BytesIO()
    writer = CaptureWriter(file, REQUEST, max_bytes=400)
    writer.write(Event(0, "x" * 400))
    assert writer.truncated
    writer.write(Event(1, "x"))
    writer.end(2, None, "exhausted")
    writer.close()
    capture = read(io.BytesIO(file.getvalue()))
    assert (capture.events, capture.ending, capture.truncated) == ([], None, True)


def test_what_was_not_written_to_its_end_is_left_out() -> None:
    data = written(Event(0, "whole"), Event(1, "cut off"))
    capture = read(io.BytesIO(data[:-5]))
    assert [event.data for event in capture.events] == ["whole"]
    assert capture.truncated


# The JSON form ------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


class Word(str):
    __slots__ = ()


class Slotted:
    __slots__ = ("_private", "a", "unset")

    def __init__(self) -> None:
        self.a = 1
        self._private = 2


class More(Slotted):
    __slots__ = "b"

    def __init__(self) -> None:
        super().__init__()
        self.b = Slotted()


class Plain:
    def __init__(self) -> None:
        self.a = [Color.RED]
        self._private = 1


class Model:
    def model_dump(self, *, warnings: bool = True) -> dict[str, Any]:
        assert not warnings
        return {"a": Color.RED}


class Duck:
    def model_dump(self) -> dict[str, Any]:
        return {"a": 1}


class NoMapping:
    def __init__(self) -> None:
        self.a = 1

    def model_dump(self) -> int:
        return 5

    def to_dict(self) -> int:
        return 6


class ToDict:
    def to_dict(self) -> dict[str, Any]:
        return {"a": {2}}


@dataclasses.dataclass(frozen=True)
class Both:
    a: int | None = None
    b: Color = Color.RED

    def to_dict(self) -> dict[str, Any]:
        return {"less": True}


@dataclasses.dataclass(slots=True)
class Unset:
    a: int = dataclasses.field(init=False)
    b: int = 1


class Broken:
    def __init__(self) -> None:
        self.a = 1

    def to_dict(self) -> dict[str, Any]:
        raise RuntimeError

    def __repr__(self) -> str:
        return "broken"


class Unspeakable:
    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError


class Liar:
    @property
    def __class__(self) -> Any:
        raise RuntimeError

    def __repr__(self) -> str:
        return "liar"


Pair = collections.namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("obj", "form"),
    [
        (Color.RED, "red"),
        (Outcome.FAILED, "failed"),
        (Word("w"), "w"),
        (True, True),
        (1 << 64, 1 << 64),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"text", "text"),
        (b"\xff", "/w=="),
        (memoryview(b"m"), "m"),
        ((1, "a"), [1, "a"]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({2, 1}), [1, 2]),
        (collections.deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({Color.RED: 1, 2: 3, b"k": 4, None: 5}, {"red": 1, "2": 3, "k": 4, "None": 5}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Pair(1, {2}), {"x": 1, "y": [2]}),
        (Message("t"), {"text": "t"}),
        (Both(), {"a": None, "b": "red"}),
        (Unset(), {"b": 1}),
        (Model(), {"a": "red"}),
        (Duck(), {"a": 1}),
        (ToDict(), {"a": [2]}),
        (NoMapping(), {"a": 1}),
        (Slotted(), {"a": 1}),
        (More(), {"a": 1, "b": {"a": 1}}),
        (Plain(), {"a": ["red"]}),
        (types.SimpleNamespace(a=1), {"a": 1}),
        (ValueError("no"), {"error": "ValueError", "message": "no"}),
        (Plain, f"{__name__}.Plain"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (pathlib.PurePosixPath("/a"), "/a"),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.timedelta(seconds=1.5), 1.5),
        (Broken(), "broken"),
        (Unspeakable(), "<Unspeakable>"),
    ],
)
def test_forms(obj: Any, form: Any) -> None:
    assert jsonable(obj) == form
    assert json.loads(json.dumps(jsonable(obj))) == form
    assert jsonable({"inside": [obj]}) == {"inside": [form]}


def test_an_object_that_denies_its_class() -> None:
    assert jsonable(Liar()) == "liar"


def test_an_iterator_is_left_alone() -> None:
    iterator = iter([1, 2])
    assert jsonable(iterator).startswith("<list_iterator")
    assert list(iterator) == [1, 2]


def test_a_cycle_ends() -> None:
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = [cycle]
    assert jsonable(cycle) == {"a": 1, "self": ["<cycle>"]}
    plain = Plain()
    plain.a = [plain]  # type: ignore[list-item]
    assert jsonable(plain) == {"a": ["<cycle>"]}


def test_what_is_shared_is_no_cycle() -> None:
    shared = {"x": 1}
    assert jsonable([shared, shared]) == [{"x": 1}, {"x": 1}]


def test_depth_is_bounded() -> None:
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    form = jsonable(deep)
    text = json.dumps(form)
    assert text == "[" * 64 + '"<deep>"' + "]" * 64


def test_the_number_of_values_is_bounded() -> None:
    many: Any = "x"
    for _ in range(50):  # 2 to the 50th values
        many = [many, many]
    assert len(json.dumps(jsonable(many))) < 2_000_000
    assert len(jsonable(range(10**12))) == 100_001
    assert jsonable(dict.fromkeys(range(200_000)))["<more>"] == "<more>"


def test_a_repr_is_bounded() -> None:
    class Long:
        __slots__ = ()

        def __repr__(self) -> str:
            return "x" * 1_000_000

    assert len(jsonable(Long())) == 1_000
    assert jsonable(Long()).endswith("x…")
    assert len(jsonable(10**100_000)) == 1_000
    assert len(jsonable({Long(): 1}).popitem()[0]) == 1_000


@settings(deadline=None)
@given(st.text(st.characters()))
def test_any_text_is_kept(text: str) -> None:
    assert json.loads(json.dumps(jsonable({text: text}))) == {text: text}


# Redaction ----------------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "Proxy-Authorization",
        "api_key",
        "apiKey",
        "X-Api-Key",
        "OPENAI_API_KEY",
        "x-goog-api-key",
        "cookie",
        "Set-Cookie",
        "cookies",
        "access_token",
        "refreshToken",
        "id_token",
        "X-Auth-Token",
        "x-amz-security-token",
        "X-Vault-Token",
        "PRIVATE-TOKEN",
        "csrf_token",
        "password",
        "client_secret",
        "secret",
        "aws_secret_access_key",
        "private_key",
        "credentials",
        "token",
    ],
)
def test_values_of_names_like_a_credential_are_removed(name: str) -> None:
    form = {"event": [{"headers": {name: SECRET, "accept": "x"}}]}
    assert redact_secrets(form) == {"event": [{"headers": {name: REDACTED, "accept": "x"}}]}
    if name != "token":  # on its own it may be output, and then is no dict of strings
        assert redact_secrets({name: {"value": SECRET}}) == {name: REDACTED}
        assert redact_secrets([[name, SECRET], ["accept", "x"]]) == [[name, REDACTED], ["accept", "x"]]
        assert redact_secrets({"name": name, "value": SECRET}) == {"name": name, "value": REDACTED}
        assert redact_secrets({"key": name, "value": SECRET}) == {"key": name, "value": REDACTED}


@pytest.mark.parametrize(
    "form",
    [
        {"input_tokens": 3, "max_tokens": 5, "cache_read_tokens": 0, "token_count": 1, "total_tokens": 9},
        {"token": {"id": 5, "text": " a"}, "tokens": ["a", "b"], "type": "token", "content": "Hel"},
        {"session_id": "user-42", "call_id": "call_1", "next_page_token": "abc", "key": "value", "author": "x"},
        {"api_key": None, "password": "", "cookie": False},
        ["token", "x"],
        ["the password is on the desk", 'what is an "api_key"?', "bearer of bad news", "sk-1"],
        {"name": "search", "value": "x"},
        {"name": 5, "key": None},
        "plain text, é\ud800",
        b"plain bytes \xff",
        None,
        1.5,
    ],
)
def test_what_is_no_credential_is_kept(form: Any) -> None:
    assert redact_secrets(form) == form


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"api_key": "SECRET", "b": "c"}', '{"api_key": "[redacted]", "b": "c"}'),
        ('{"a": "{\\"Cookie\\":\\"SECRET\\", \\"b\\": 1}"}', '{"a": "{\\"Cookie\\":\\"[redacted]\\", \\"b\\": 1}"}'),
        ('{"a": "{\\"password\\": \\"SECRET"}, {"b": "c"}', '{"a": "{\\"password\\": \\"[redacted]"}, {"b": "c"}'),
        ('{"password": "SEC\\"RET", "b": "c"}', '{"password": "[redacted]", "b": "c"}'),
        ('{"password": "SECRET\\\\", "b": "c"}', '{"password": "[redacted]", "b": "c"}'),
        ('{"password": "SECRET', '{"password": "[redacted]'),
        ('{"password": "", "b": "c"}', '{"password": "", "b": "c"}'),
        ('{"access_token":"SECRET","api-key":"SECRET"}', '{"access_token":"[redacted]","api-key":"[redacted]"}'),
        ("Authorization: Bearer SECRETSECRETSECRET\r\n", "Authorization: Bearer [redacted]\r\n"),
        ("key sk-SECRET_SECRET-SECRET!", "key [redacted]!"),
    ],
)
def test_secrets_within_a_text(text: str, clean: str) -> None:
    assert redact_secrets({"x": [text]}) == {"x": [clean]}
    assert redact_secrets(text.encode()) == clean.encode()


def test_redaction_takes_linear_time() -> None:
    """Each of these is a page of near misses: the test's timeout is the assertion."""
    for piece in ('"api_key"', '"api_key": "', '\\"', "\\", "bearer ", '"password" : ', "sk-", 'password\\\\\\"'):
        assert isinstance(redact_secrets(piece * 200_000), str)
    assert isinstance(redact_secrets('"api_key": "' + "\\" * 2_000_000), str)


def test_by_default_no_secret_is_written() -> None:
    event = Event(0, {"headers": {"Authorization": SECRET}, "arguments": json.dumps({"api_key": SECRET})})
    framed = Event(0, f'data: {{"api_key": "{SECRET}"}}\n\n'.encode())
    aside = Event(0, Aside("model_call", {"cookie": SECRET}))
    request = Request(attributes={"password": SECRET})
    file = io.BytesIO()
    with CaptureWriter(file, request) as writer:
        for each in (event, framed, aside):
            writer.write(each)
        writer.note(0, {"secret": SECRET})
    capture = read(io.BytesIO(file.getvalue()))
    assert SECRET not in repr(capture)
    assert capture.events[1].data == b'data: {"api_key": "[redacted]"}\n\n'
    assert SECRET.encode() in written(event, redact=None)


def test_a_hook_gets_the_json_form_and_its_answer_is_written() -> None:
    seen = []

    def hook(form: Any) -> Any:
        seen.append(form)
        return {"kept": {1}} if isinstance(form, dict) else form[:1]

    events = [Event(0, Message("t")), Event(0, b"bytes"), Event(0, "text"), Event(0, Aside("a", {"b": 1}))]
    capture = reread(*events, framing="sse", redact=hook)
    assert seen == [{"text": "t"}, b"bytes", "text", {"b": 1}]
    assert [event.data for event in capture.events] == [{"kept": [1]}, b"b", "t", Aside("a", {"kept": [1]})]
    assert capture.types[0] == f"{__name__}.Message"


@pytest.mark.parametrize(
    ("answer", "data"), [(b"b", b"b"), ("s", "s"), ({"a": 1}, {"a": 1}), (None, None), ((1,), [1])]
)
def test_a_hook_may_answer_anything(answer: Any, data: Any) -> None:
    events = [Event(0, b"x"), Event(0, "x"), Event(0, ["x"])]
    capture = reread(*events, framing="sse", redact=lambda form: answer)
    assert [event.data for event in capture.events] == [data, data, data]


def test_any_data_is_written() -> None:
    for data in (Liar(), Unspeakable(), Broken(), Aside(5, {"a": Liar()}), float("nan"), 10**9999):  # type: ignore[arg-type]
        capture = reread(Event(0, data))
        assert len(capture.events) == 1
        assert not capture.truncated


def test_what_a_hook_cannot_redact_is_not_written() -> None:
    def hook(form: Any) -> Any:
        raise KeyError(form)

    file = io.BytesIO()
    writer = CaptureWriter(file, REQUEST, framing="sse", redact=hook)
    for data in ({"a": SECRET}, SECRET, SECRET.encode(), Aside("x", {"a": SECRET})):
        writer.write(Event(0, data))
    writer.close()
    assert SECRET.encode() not in file.getvalue()
    assert base64.b64encode(SECRET.encode()) not in file.getvalue()
    assert writer.redaction_errors == 4
    assert len(read(io.BytesIO(file.getvalue())).events) == 4


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: it is empty"),
        ("\n\n", "line 1: it is empty"),
        ("hello\n", "line 1: not JSON"),
        ("hello", "line 1: not JSON"),
        ("[]\n", "line 1: not a JSON object"),
        ("{}\n", "line 1: the first line is no capture header"),
        ('{"at":0,"data":1}\n', "line 1: the first line is no capture header"),
        (HEADER.replace(":1,", ":2,"), "line 1: version 2 of the capture format"),
        (HEADER.replace(":1,", ":true,"), "line 1: version True of the capture format"),
        (HEADER.replace("null", "5"), 'line 1: "framing" is neither'),
        (HEADER.replace('"zag"', "null"), 'line 1: "dialect" is missing'),
        (HEADER.replace("{}", "[]"), 'line 1: "request" is no object'),
        (HEADER.replace("{}", '{"model":5}'), 'line 1: "request": "model" is no str'),
        (HEADER.replace("{}", '{"server_port":"80"}'), 'line 1: "request": "server_port" is no int'),
        (HEADER.replace("{}", '{"attributes":[]}'), 'line 1: "request": "attributes" is no dict'),
        (HEADER.replace(":0}", ":0.5}"), 'line 1: "epoch_ns" is missing or no integer'),
        (HEADER + '\n{"at":0,"data":1}\n{"at"\n', "line 4: not JSON"),
        (HEADER + "[" * 100_000 + "\n", "line 2: not JSON"),
        (HEADER + "1" * 5_000 + "\n", "line 2: not JSON"),
        (HEADER + '{"data":1}\n', 'line 2: "at" is missing or no integer'),
        (HEADER + '{"at":true,"data":1}\n', 'line 2: "at" is missing or no integer'),
        (HEADER + '{"at":0,"asked":"1","data":1}\n', 'line 2: "asked" is missing or no integer'),
        (HEADER + '{"at":0}\n', 'line 2: it has none of "data"'),
        (HEADER + '{"at":0,"data":1,"type":5}\n', 'line 2: "type" is no string'),
        (HEADER + '{"at":0,"text":5}\n', 'line 2: "text" is no string'),
        (HEADER + '{"at":0,"bytes":"!"}\n', 'line 2: "bytes" is not base64'),
        (HEADER + '{"at":0,"bytes":"é"}\n', 'line 2: "bytes" is not base64'),
        (HEADER + '{"at":0,"bytes":5}\n', 'line 2: "bytes" is not base64'),
        (HEADER + '{"at":0,"aside":5}\n', 'line 2: "aside" is no string'),
        (HEADER + '{"at":0,"aside":"a","data":5}\n', 'line 2: "aside" is no string'),
        (HEADER + '{"at":0,"end":5}\n', 'line 2: "end" is no object'),
        (HEADER + '{"at":0,"end":{}}\n', 'line 2: "how" is missing'),
        (HEADER + '{"at":0,"end":{"how":"error","error":5}}\n', 'line 2: "error" is neither'),
        (HEADER + '{"at":0,"end":{"how":"error","outcome":"fine"}}\n', "line 2: \"outcome\" is 'fine', not one of"),
        (HEADER + '{"at":0,"end":{"how":"error","outcome":[]}}\n', 'line 2: "outcome" is []'),
        (HEADER + '{"at":0,"end":{"how":"error"}}\n{"at":1,"data":1}\n', "line 3: nothing may come after the end"),
        ('{"py_type":"dict","t_ms":0,"event":{}}\n', "line 1: the older form of a capture does not name its dialect"),
    ],
)
def test_bad_input_names_the_file_and_the_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaptureError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"py_type":"dict","t_ms":0,"event":{}}\n{"py_type":"dict"}\n', 'line 2: it has not all of "py_type"'),
        ('{"py_type":5,"t_ms":0,"event":{}}\n', 'line 1: "py_type" is no string'),
        ('{"py_type":"dict","t_ms":"0","event":{}}\n', 'line 1: "t_ms" is no number'),
        ('{"py_type":"dict","t_ms":true,"event":{}}\n', 'line 1: "t_ms" is no number'),
        ('{"py_type":"dict","t_ms":Infinity,"event":{}}\n', 'line 1: "t_ms" is no number'),
    ],
)
def test_bad_input_of_the_older_form(text: str, message: str) -> None:
    with pytest.raises(CaptureError) as caught:
        read(io.StringIO(text), dialect="zag")
    assert str(caught.value).startswith(f"capture, {message}")


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_bytes_give_a_capture_or_an_error_of_it(data: st.DataObject) -> None:
    good = written(Event(0, {"a": 1}), Event(1, b"x"), Event(2, Aside("b")), framing="sse")
    place = data.draw(st.integers(0, len(good)))
    junk = data.draw(st.binary(max_size=10))
    damaged = good[:place] + junk + good[place + data.draw(st.integers(0, 5)) :]
    events, message = [], "capture, line "
    try:
        events = read(io.BytesIO(damaged), dialect="zag").events
    except CaptureError as error:
        message = str(error)
    assert message.startswith("capture, line ")
    assert len(events) <= 4


def test_unknown_keys_are_ignored() -> None:
    text = HEADER.replace("{}", '{"later":1}') + '{"at":0,"data":1,"later":2}\n{"at":1,"end":{"how":"melted","x":1}}\n'
    capture = read(io.StringIO(text))
    assert capture.events == [Event(0, 1)]
    assert capture.ending == Ending(1, "melted")


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        CaptureWriter(tmp_path / "none" / "a", REQUEST)


def test_a_request_takes_whole_seconds() -> None:
    assert read(io.StringIO(HEADER.replace("{}", '{"timeout_s":4}'))).request.timeout_s == 4.0


# The older form -----------------------------------------------------------------------------------------------------


def older(*rows: tuple[str, float, Any]) -> Capture:
    text = "".join(json.dumps({"py_type": kind, "t_ms": at, "event": event}) + "\n" for kind, at, event in rows)
    return read(io.StringIO(text), dialect="zag")


def test_the_older_form() -> None:
    capture = older(
        ("capture.note", 0, {"source": "a script"}),
        ("zag.types.InitEvent", 1.5, {"type": "init"}),
        ("dict", 2, {"type": "x"}),
        ("capture.note", 2.1, {"after_turn": 0}),
        ("str", 3, "text"),
        ("capture.note", 4, {"end": "generator exhausted"}),
        ("capture.note", 5, {"child_alive": True}),
    )
    assert capture == Capture(
        request=Request(dialect="zag"),
        framing=None,
        epoch_ns=0,
        events=[Event(1_500_000, {"type": "init"}), Event(2_000_000, {"type": "x"}), Event(3_000_000, "text")],
        ending=Ending(4_000_000, "exhausted"),
        types=["zag.types.InitEvent", "", ""],
        notes=[
            Note(0, {"source": "a script"}, 0),
            Note(2_100_000, {"after_turn": 0}, 2),
            Note(4_000_000, {"end": "generator exhausted"}, 3),
            Note(5_000_000, {"child_alive": True}, 3),
        ],
    )


@pytest.mark.parametrize(
    ("note", "how", "error"),
    [
        ({"end": "exhausted", "llm_calls": 1}, "exhausted", None),
        ({"end": "HUNG: no event for the rest of 3s; cancelled by the capture script"}, "cancelled", "CancelledError"),
        ({"events_iterator": "ended without an exception"}, "exhausted", None),
        ({"action": "aclose after break", "took_ms": 0.1}, "closed", None),
        ({"action": "generator.close() after break"}, "closed", None),
        ({"action": "aclose inside dawp run", "raised": None}, "closed", None),
    ],
)
def test_notes_that_tell_the_ending(note: dict[str, Any], how: str, error: str | None) -> None:
    capture = older(("capture.note", 1, note), ("capture.note", 2, {"action": "aclose, again"}))
    assert capture.ending == Ending(1_000_000, how, error)


@pytest.mark.parametrize(
    "note", [{"action": "close_input"}, {"agent_state": "x"}, {"end": None}, "text", {"raised": None}]
)
def test_notes_that_do_not(note: Any) -> None:
    assert older(("capture.note", 1, note)).ending is None


def test_what_was_raised() -> None:
    capture = older(
        ("capture.note", 1, {"events_iterator": "ended without an exception"}),
        ("zag.types.ZagError", 2, {"raised": True, "str": "exit 2", "attrs": {"exit_code": 2}}),
    )
    assert capture.ending == Ending(2_000_000, "error", "ZagError")
    assert capture.events == []
    assert capture.notes[1].data == {"raised": "zag.types.ZagError", "str": "exit 2", "attrs": {"exit_code": 2}}
    cancelled = older(("asyncio.exceptions.CancelledError", 2, {"raised": True, "str": "", "attrs": {}}))
    assert cancelled.ending == Ending(2_000_000, "cancelled", "CancelledError")


# The repository's captures ------------------------------------------------------------------------------------------

CAPTURES = sorted(FOLDER.glob("*.ndjson"))


def test_there_are_captures_of_every_system() -> None:
    assert {read(path).request.dialect for path in CAPTURES} == BUILT_IN.keys() - {"generic"}


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_captures_are_sound(path: Path) -> None:
    capture = read(path)
    assert capture.request.dialect in BUILT_IN
    assert capture.ending is not None
    assert not capture.truncated
    times = [event.at for event in capture.events]
    assert times == sorted(times)
    assert all(0 <= at <= capture.ending.at for at in times)
    assert len(capture.types) == len(capture.events)
    if capture.framing == "sse":
        framing = SSEFraming()
        dispatched = [event for each in capture.events for event in framing.feed(each.data)]
        assert len(dispatched) == len(capture.events)
        assert framing.pending_bytes == b""


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_captures_are_written_as_they_are_read(path: Path) -> None:
    capture = read(path)
    file = io.BytesIO()
    writer = CaptureWriter(
        file, capture.request, framing=capture.framing, opened_at=0, anchor=capture.epoch_ns, redact=redact_secrets
    )
    for event, type_name in zip(capture.events, capture.types, strict=True):
        writer.write(event, type_name=type_name)
    assert capture.ending is not None
    writer.end(capture.ending.at, capture.ending.error, capture.ending.how, capture.ending.outcome)
    writer.close()
    # Nothing in them looks like a secret either.
    assert read(io.BytesIO(file.getvalue())) == dataclasses.replace(capture, notes=[])


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_the_wall_clock_is_the_events_own(path: Path) -> None:
    capture = read(path)
    own = [
        (event.at, event.data["timestamp"])
        for event in capture.events
        if isinstance(event.data, dict) and "timestamp" in event.data
    ]
    if own:
        at, stamp = own[0]
        if isinstance(stamp, str):
            moment = datetime.datetime.fromisoformat(stamp)
            stamp = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
        assert capture.epoch_ns + at == int(stamp * 1_000_000_000)
    elif capture.framing is None:
        assert capture.epoch_ns == 0
    else:
        assert 1_795_222_548 <= capture.epoch_ns / 1e9 < 1_795_222_549


def test_messages_to_the_agent_are_asides() -> None:
    capture = read(FOLDER / "zag-session-three-turns.ndjson")
    asides = [(event.at, event.data) for event in capture.events if isinstance(event.data, Aside)]
    aside = Aside("user_message", {"mid_turn": False})
    assert asides == [(482_900_000, aside), (543_400_000, aside)]


# The importing script -----------------------------------------------------------------------------------------------


def script() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("import_captures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_importing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "source", tmp_path / "a" / "target"
    source.mkdir()
    rows = {
        "zag-x": [
            ("z.Result", 1, {"type": "result"}),
            ("capture.note", 2, {"sent": "more"}),
            ("z.T", 3, {"type": "t"}),
        ],
        "ziran-llm-x": [("str", 1, "text")],
        "shipit-x": [("str", 1, 'event: a\ndata: {"timestamp": 1795222548.5}\n\n')],
        "aiecs-x": [("dict", 1, {}), ("dict", 2, {"timestamp": "2026-11-21T01:05:26.5"})],
    }
    for name, its in rows.items():
        text = "".join(json.dumps({"py_type": kind, "t_ms": at, "event": event}) + "\n" for kind, at, event in its)
        (source / f"{name}.ndjson").write_text(text)
    assert script().main([str(source), str(target)]) == 0
    assert capsys.readouterr().out == "4 captures\n"
    zag, llm, shipit, aiecs = (read(target / f"{name}.ndjson") for name in rows)
    assert [event.data for event in zag.events][1] == Aside("user_message", {"mid_turn": True})
    assert zag.notes == [Note(2_000_000, {"sent": "more"}, 1)]
    assert zag.ending == Ending(3_000_000, "exhausted")
    assert llm.request == Request(dialect="ziran-llm", operation="chat")
    assert (llm.framing, llm.epoch_ns) == (None, 0)
    assert (shipit.framing, shipit.epoch_ns) == ("sse", 1_795_222_548_499_000_000)
    assert aiecs.epoch_ns + 2_000_000 == 1_795_223_126_500_000_000


def test_importing_what_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other-x.ndjson").write_text("{}\n")
    assert script().main([str(tmp_path), os.fspath(tmp_path / "target")]) == 1
    assert "no dialect is known" in capsys.readouterr().err
    (tmp_path / "other-x.ndjson").rename(tmp_path / "zag-x.ndjson")
    assert script().main([str(tmp_path), os.fspath(tmp_path / "target")]) == 1
    assert "zag-x.ndjson, line 1: " in capsys.readouterr().err
