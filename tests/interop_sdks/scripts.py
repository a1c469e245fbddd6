"""What the services answer: by the files of `tests/wire`, and what is for these tests alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from interop_sdks.server import Answer, Fault

__all__ = ["A2A", "AG_UI", "JSON_CHAT", "agent_card", "event", "refused", "wire"]

WIRE = Path(__file__).parent.parent / "wire"
WORDS = ("The ", "sky ", "is ", "blue", ".")


def wire(name: str, fault: Fault = "", keep: int | None = None) -> Answer:
    """The answer in the file of that name, of which the first `keep` pieces are sent before the fault."""
    answer = Answer.from_wire(WIRE / f"{name}.http.json")
    return dataclasses.replace(answer, pieces=answer.pieces[:keep], fault=fault)


def event(data: Any, kind: str = "") -> str:
    """One event of an event stream."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"event: {kind}\ndata: {text}\n\n" if kind else f"data: {text}\n\n"


def refused(status: int, **headers: str) -> Answer:
    """An error of the service, to be tried again at once."""
    error = {"type": "overloaded_error", "message": "try again"}
    return Answer.of_json({"type": "error", "error": error}, status, **{"retry-after-ms": "1", **headers})


JSON_CHAT = Answer.of_json(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": '{"colour":"blue"}', "refusal": None},
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }
)  # fmt: skip
"""An answer whose text is JSON, for what parses it."""

AG_UI = Answer(
    [
        event(each)
        for each in (
            {"type": "RUN_STARTED", "threadId": "t1", "runId": "r1"},
            {"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"},
            *({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": word} for word in WORDS),
            {"type": "TEXT_MESSAGE_END", "messageId": "m1"},
            {"type": "RUN_FINISHED", "threadId": "t1", "runId": "r1"},
        )
    ]
)


def _a2a() -> list[Any]:
    place = {"taskId": "task1", "contextId": "ctx1"}
    return [
        {"task": {"id": "task1", "contextId": "ctx1", "status": {"state": "TASK_STATE_WORKING"}}},
        *(
            {"artifactUpdate": {**place, "artifact": {"artifactId": "a1", "parts": [{"text": w}]}, "append": i > 0}}
            for i, w in enumerate(WORDS)
        ),
        {"statusUpdate": {**place, "status": {"state": "TASK_STATE_COMPLETED"}}},
    ]


A2A = Answer([event({"jsonrpc": "2.0", "id": "1", "result": result}) for result in _a2a()])


def agent_card(url: str) -> Answer:
    """Of the agent at `url`, that answers with `A2A`."""
    return Answer.of_json(
        {
            "name": "helper", "description": "It helps.", "version": "1.0", "skills": [],
            "capabilities": {"streaming": True}, "defaultInputModes": ["text"], "defaultOutputModes": ["text"],
            "supportedInterfaces": [{"url": f"{url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        }
    )  # fmt: skip
