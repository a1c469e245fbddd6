"""The table of A2A's answers, from a2a-sdk 1.3.0: `types/a2a_pb2.pyi` for 1.0, `compat/v0_3/types.py` for 0.3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.dialects import by_path, find
from streamgauge.dialects.a2a import A2a
from streamgauge.wire import Granularity

from .agent_streams import JUNK, as_object, check_any, check_wire, sse, told, wire_files, words

KINDS = {"task", "message", "status-update", "artifact-update"}
STATES = {
    "submitted", "working", "input-required", "completed", "canceled", "failed", "rejected", "auth-required",
    "unknown",
}  # fmt: skip


def rpc(result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": "1", "result": result}


def message(text: str, role: str = "agent") -> dict[str, Any]:
    return {"kind": "message", "role": role, "messageId": "m", "parts": [{"kind": "text", "text": text}]}


def status(state: str, final: bool = False, **more: Any) -> dict[str, Any]:
    told_ = {"state": state, **more}
    return {"kind": "status-update", "taskId": "t", "contextId": "c", "status": told_, "final": final}


def artifact(text: str, id_: str = "a1") -> dict[str, Any]:
    return {"artifactId": id_, "parts": [{"kind": "text", "text": text}]}


def art(text: str, id_: str = "a1", **more: Any) -> dict[str, Any]:
    return {"kind": "artifact-update", "taskId": "t", "contextId": "c", "artifact": artifact(text, id_), **more}


def v1(state: str, **more: Any) -> dict[str, Any]:
    return rpc({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": f"TASK_STATE_{state}", **more}}})


TASK = {
    "kind": "task", "id": "t", "contextId": "c", "status": {"state": "submitted"}, "history": [message("Hi", "user")],
}  # fmt: skip

ROWS: dict[str, tuple[list[Any], list[str]]] = {
    "task": (
        [rpc(TASK)],
        ["@1 note c"],
    ),
    "task: its artifacts": (
        [rpc({**TASK, "artifacts": [artifact("Hi"), artifact("Ho", "a2")]}), rpc(art("Hi you"))],
        ["@1 note c", "@1 text Hi", "@1 text Ho", "@2 text you"],
    ),
    "task: completed": (
        [rpc({**TASK, "status": {"state": "completed", "message": message("done")}})],
        ["@1 note c", "@1 text done", "@1 -"],
    ),
    "task: failed": (
        [rpc({**TASK, "status": {"state": "failed", "message": message("no model")}})],
        ["@1 note c", "@1 - failed failed: no model"],
    ),
    "task: of 1.0": (
        [rpc({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}})],
        ["@1 note c"],
    ),
    "message": (
        [rpc(message("Hello"))],
        ["@1 text Hello", "@1 -"],
    ),
    "message: of 1.0": (
        [{"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "a"}, {"url": "u"}, {"text": "b"}]}}],
        ["@1 text a", "@1 text b", "@1 -"],
    ),
    "message: the caller's own": (
        [{"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a"}]}}],
        ["@1 -"],
    ),
    "status-update": (
        [rpc(status("submitted")), rpc(status("working", message=message("Searching")))],
        ["@1 note c"],
    ),
    "status-update: completed": (
        [rpc(status("completed", True, message=message("Done")))],
        ["@1 note c", "@1 text Done", "@1 -"],
    ),
    "status-update: completed, and more comes": (
        [rpc(status("completed", False)), rpc(art("Hi")), rpc(status("completed", True)), rpc(art("x"))],
        ["@1 note c", "@2 text Hi", "@3 -"],
    ),
    "status-update: failed, and the last says less": (
        [rpc(status("failed", False, message=message("no model"))), rpc(status("working", True))],
        ["@1 note c", "@1 - failed failed: no model"],
    ),
    "status-update: failed": (
        [rpc(status("failed", True, message=message("no model")))],
        ["@1 note c", "@1 - failed failed: no model"],
    ),
    "status-update: rejected": (
        [rpc(status("rejected", True))],
        ["@1 note c", "@1 - failed rejected"],
    ),
    "status-update: canceled": (
        [rpc(status("canceled", True))],
        ["@1 note c", "@1 - cancelled"],
    ),
    "status-update: final, and nothing else": (
        [rpc(status("working", True))],
        ["@1 note c", "@1 -"],
    ),
    "status-update: input-required": (
        [rpc(status("input-required", True, message=message("Which city?")))],
        ["@1 note c", "@1 text Which city?", "@1 note person.asked", "@1 -"],
    ),
    "status-update: auth-required, and on": (
        [
            rpc(status("auth-required", False)),
            rpc(status("auth-required", False)),
            rpc(status("working", False)),
            rpc(status("completed", True)),
        ],
        ["@1 note c", "@1 note person.asked", "@3 note person.answered", "@4 -"],
    ),
    "status-update: of 1.0": (
        [v1("WORKING"), v1("COMPLETED")],
        ["@1 note c", "@2 -"],
    ),
    "status-update: of 1.0, failed": (
        [v1("FAILED", message={"role": "ROLE_AGENT", "parts": [{"text": "no model"}]})],
        ["@1 note c", "@1 - failed failed: no model"],
    ),
    "status-update: of 1.0, input-required": (
        [v1("INPUT_REQUIRED"), v1("WORKING")],
        ["@1 note c", "@1 note person.asked", "@2 note person.answered"],
    ),
    "status-update: of 1.0, numbered": (
        [{"statusUpdate": {"status": {"state": 5}}}],
        ["@1 - cancelled"],
    ),
    "status-update: no state": (
        [{"statusUpdate": {"status": {"state": 77}}}, {"statusUpdate": {}}, v1("UNSPECIFIED")],
        ["@3 note c"],
    ),
    "artifact-update": (
        [rpc(art("Hel")), rpc(art("lo", append=True, lastChunk=True))],
        ["@1 note c", "@1 text Hel", "@2 text lo"],
    ),
    "artifact-update: the whole of it again": (
        [rpc(art("Hel")), rpc(art("Hello")), rpc(art("Hello")), rpc(art("Bye"))],
        ["@1 note c", "@1 text Hel", "@2 text lo", "@4 text Bye"],
    ),
    "artifact-update: of two artifacts": (
        [rpc(art("a")), rpc(art("b", id_="a2")), rpc(art("ab"))],
        ["@1 note c", "@1 text a", "@2 text b", "@3 text b"],
    ),
    "artifact-update: no text": (
        [rpc({**art(""), "artifact": {"artifactId": "a", "parts": [{"kind": "data", "data": {}}]}})],
        ["@1 note c"],
    ),
    "artifact-update: of 1.0": (
        [
            rpc(
                {
                    "artifactUpdate": {
                        "taskId": "t",
                        "contextId": "c",
                        "artifact": {"artifactId": "a", "parts": [{"text": "x"}]},
                    }
                }
            )
        ],
        ["@1 note c", "@1 text x"],
    ),
    "error": (
        [{"jsonrpc": "2.0", "id": "1", "error": {"code": -32001, "message": "Task not found"}}, rpc(art("x"))],
        ["@1 - failed -32001: Task not found"],
    ),
    "error: of plain HTTP": (
        [{"error": {"code": 404, "status": "NOT_FOUND", "message": "gone", "details": [{"reason": "TASK_NOT_FOUND"}]}}],
        ["@1 - failed TASK_NOT_FOUND: gone"],
    ),
    "error: only a text": (
        [{"error": "it broke"}],
        ["@1 - failed: it broke"],
    ),
    "the 0.3 client's pairs": (
        [(TASK, None), (TASK, art("Hi")), (TASK, status("completed", True))],
        ["@1 note c", "@2 text Hi", "@3 -"],
    ),
    "the conversation, once": (
        [rpc(TASK), rpc(status("working"))],
        ["@1 note c"],
    ),
    "an unknown kind": (
        [rpc({"kind": "something-new"}), rpc(5)],
        [],
    ),
    "no event": (
        [None, 1, [], {}, {"result": None}, (1, 2, 3), {"kind": ["task"]}],
        [],
    ),
}


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_rows(events: list[Any], expected: list[str]) -> None:
    assert told(A2a(), events) == expected


@pytest.mark.parametrize(("events", "expected"), ROWS.values(), ids=ROWS)
def test_every_form_tells_the_same(events: list[Any], expected: list[str]) -> None:
    """In an event stream, and as objects."""
    if any(isinstance(data, tuple) for data in events):
        return
    assert told(A2a(), [sse(data) for data in events]) == expected
    if any("kind" in (data.get("result") or ()) for data in events if isinstance(data, dict) and "result" in data):
        assert told(A2a(), [as_object(snake(data)) for data in events]) == expected


def snake(data: Any) -> Any:
    """The names of a dict as the SDK's models have them."""
    if isinstance(data, list):
        return [snake(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): snake(each) for name, each in data.items()}


ANSWERS: dict[str, tuple[Any, list[str]]] = {
    "a message": (rpc(message("Hi")), ["@1 -"]),
    "a task that goes on": (rpc(TASK), ["@1 note c", "@1 -"]),
    "a task that is complete": (
        rpc({**TASK, "status": {"state": "completed"}, "artifacts": [artifact("Hi")]}),
        ["@1 note c", "@1 -"],
    ),
    "a task that failed": (
        rpc({**TASK, "status": {"state": "failed", "message": message("no model")}}),
        ["@1 note c", "@1 - failed failed: no model"],
    ),
    "a task that waits": (
        rpc({**TASK, "status": {"state": "input-required"}}),
        ["@1 note c", "@1 note person.asked", "@1 -"],
    ),
    "of 1.0": (
        {"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_CANCELED"}}},
        ["@1 note c", "@1 - cancelled"],
    ),
    "a task alone": ({"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}, ["@1 note c", "@1 -"]),
    "a message alone": ({"role": "ROLE_AGENT", "contextId": "c", "parts": []}, ["@1 note c", "@1 -"]),
    "of another method": (rpc({"tasks": []}), ["@1 -"]),
    "an error": ({"error": {"code": -32601, "message": "no"}}, ["@1 - failed -32601: no"]),
    "a batch": ([rpc(TASK), rpc(TASK)], ["@1 -"]),
    "a batch with an error": ([rpc(TASK), {"error": {"code": -32600}}], ["@1 - failed -32600"]),
    "no object": (5, []),
}


@pytest.mark.parametrize(("body", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_a_plain_answer_has_no_chunks(body: Any, expected: list[str]) -> None:
    dialect = A2a()
    assert told(dialect, [json.dumps(body).encode()]) == expected
    assert bool(list(dialect.finish(2))) is False


def test_every_kind_of_the_source_has_words() -> None:
    assert set(A2a.events) == KINDS | {"error"}
    assert {row.partition(":")[0] for row in ROWS} >= set(A2a.events)


@pytest.mark.parametrize("state", sorted(STATES))
def test_every_state_is_read(state: str) -> None:
    """As 0.3 and as 1.0 spell it."""
    old = told(A2a(), [rpc({**status(state), "final": None})])
    new = told(A2a(), [v1(state.upper().replace("-", "_"))])
    assert old == new
    ends = {"completed", "canceled", "failed", "rejected"}
    assert (old[-1].startswith("@1 -")) == (state in ends)


class Buffer:
    """A protocol buffer, as far as it is looked at; `which` of its fields is set."""

    def __init__(self, which: str, **fields: Any) -> None:
        self._which = which
        vars(self).update(fields)

    def WhichOneof(self, name: str) -> str | None:
        if name != "payload" or self._which == "another":
            raise ValueError(name)
        return self._which or None


def test_protocol_buffers_and_other_messages() -> None:
    part = as_object({"context_id": "c", "artifact": {"artifact_id": "a", "parts": ({"text": "Hi"},)}})
    events = [Buffer("artifact_update", artifact_update=part), Buffer(""), Buffer("another")]
    assert told(A2a(), events) == ["@1 note c", "@1 text Hi"]


def test_the_sdks_own_objects() -> None:
    pb = pytest.importorskip("a2a.types.a2a_pb2")
    assert {name.removeprefix("TASK_STATE_").lower().replace("_", "-") for name in pb.TaskState.keys()} == (  # noqa: SIM118
        STATES - {"unknown"} | {"unspecified"}
    )
    part = pb.Artifact(artifact_id="a", parts=[pb.Part(text="Hi")])
    events = [
        pb.StreamResponse(task=pb.Task(id="t", context_id="c", status=pb.TaskStatus(state="TASK_STATE_SUBMITTED"))),
        pb.StreamResponse(artifact_update=pb.TaskArtifactUpdateEvent(context_id="c", artifact=part)),
        pb.StreamResponse(status_update=pb.TaskStatusUpdateEvent(status=pb.TaskStatus(state="TASK_STATE_COMPLETED"))),
    ]
    assert told(A2a(), events) == ["@1 note c", "@2 text Hi", "@3 -"]
    assert told(A2a(), [pb.Task(id="t"), pb.StreamResponse()]) == []
    old = pytest.importorskip("a2a.compat.v0_3.types")
    kinds = (old.Task, old.Message, old.TaskStatusUpdateEvent, old.TaskArtifactUpdateEvent)
    assert {kind.model_fields["kind"].default for kind in kinds} == KINDS
    assert {state.value for state in old.TaskState} == STATES
    answer = old.SendStreamingMessageResponse.model_validate(rpc(art("Hi")))
    assert told(A2a(), [answer, answer.root.result]) == ["@1 note c", "@1 text Hi"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([rpc(TASK)], []),
        ([v1("INPUT_REQUIRED")], ["@9 -"]),
        ([v1("INPUT_REQUIRED"), v1("WORKING")], []),
        ([rpc(status("failed"))], ["@1 - failed failed"]),
        ([rpc(status("completed", True))], []),
    ],
)
def test_the_stream_ends(events: list[Any], expected: list[str]) -> None:
    for end in (A2a.finish, A2a.untold):
        dialect = A2a()
        told(dialect, events)
        assert [words(signal) for signal in end(dialect, 9)] == expected
        assert list(end(dialect, 10)) == []


def test_what_it_says_of_itself() -> None:
    assert find("a2a") is A2a
    assert (A2a.terminal, A2a.granularity, A2a.framing) == (True, Granularity.MESSAGE, "sse")


@pytest.mark.parametrize(
    "path",
    ["/v1/message:stream", "/acme/message:send", "/v1/tasks/t1:subscribe", "/a2a", "/a2a/", "/a2a/agents/helper"],
)
def test_its_paths(path: str) -> None:
    assert by_path(path) == "a2a"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (
            "/a2a/agents/helper",
            {"id": 7, "method": "message/stream", "params": {"message": {"contextId": "c"}}},
            {"operation": "invoke_agent", "conversation_id": "c", "agent_name": "helper",
             "attributes": {"jsonrpc.request.id": "7"}},
        ),
        (
            "/v1/message:stream",
            {"message": {"context_id": "c"}},
            {"operation": "invoke_agent", "conversation_id": "c"},
        ),
        (
            "/a2a",
            {"id": "x", "method": "tasks/get", "params": {"id": "t"}},
            {"operation": "rpc", "conversation_id": "", "attributes": {"jsonrpc.request.id": "x"}},
        ),
        ("/a2a", {"method": "SendMessage", "params": [1]}, {"operation": "invoke_agent", "conversation_id": ""}),
        ("/a2a", None, {"operation": "invoke_agent", "conversation_id": ""}),
        ("/a2a", [1], {"operation": "invoke_agent", "conversation_id": ""}),
    ],
)  # fmt: skip
def test_what_a_request_tells(path: str, body: Any, expected: dict[str, Any]) -> None:
    assert A2a.asked(path, body) == expected


def test_it_forgets_artifacts_that_are_too_many() -> None:
    dialect = A2a()
    told(dialect, [rpc(art("x", f"a{number}")) for number in range(2000)])
    assert len(dialect._artifacts) == 1024


@pytest.mark.parametrize("path", wire_files("a2a"), ids=lambda path: path.stem)
def test_the_wire(path: Path) -> None:
    check_wire(path, A2a)


PARTS = st.lists(
    st.builds(lambda text: {"kind": "text", "text": text}, st.sampled_from(["", "x", "xy"])) | JUNK, max_size=2
)
LIKELY = st.builds(
    lambda kind, state, final, parts, more: rpc(
        {
            "kind": kind, "contextId": "c", "status": {"state": state, "message": {"parts": parts}}, "final": final,
            "artifact": {"artifactId": "a", "parts": parts}, "append": final, "parts": parts, **more,
        }
    ),
    st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(STATES)), st.booleans() | st.none(), PARTS,
    st.dictionaries(
        st.sampled_from(["status", "artifact", "artifacts", "parts", "role", "contextId"]), JUNK, max_size=1
    ),
)  # fmt: skip


@given(st.lists(LIKELY | JUNK | st.binary(max_size=5) | st.builds(sse, LIKELY | JUNK), max_size=30))
def test_anything(events: list[Any]) -> None:
    check_any(A2a(), events)
