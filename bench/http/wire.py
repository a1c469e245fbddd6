"""What goes over the wire: requests as an SDK sends them, answers as a model API gives them.

A stream's pace and length are in the model's name: `p20n500` is 500 pieces, one each 20 ms. Each piece carries the time
at which it was sent (`time.monotonic_ns()`, 19 digits behind `"@`), so that its transit is known whoever passed it on.
"""

from __future__ import annotations

import json

MARK = b'"@'
STREAM_END = b"0\r\n\r\n"
JSON_END = b'_end"}'
KEY = "sk-bench-3f9c1b7e5d2a4860c8e6f0a1b2d3c4e5"
"""What callers authenticate themselves with."""

_STAMP = "@%019d"


def _chunk(delta: dict[str, str], finish: str | None, **more: object) -> str:
    return json.dumps(
        {
            "id": "chatcmpl-BxQ7vN2mT9pL4kR8sW1zYc3Hd6Jf",
            "object": "chat.completion.chunk",
            "created": 1793000000,
            "model": "gpt-4o-mini-2024-07-18",
            "system_fingerprint": "fp_8bda4d3a2c",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
            **more,
        },
        separators=(",", ":"),
    )


def _framed(*datas: str) -> bytes:
    event = "".join(f"data: {data}\n\n" for data in datas).encode()
    # What is between here and the wire only fills in the 19 digits.
    size = len(event) + 19 - len("%019d") if b"%019d" in event else len(event)
    return b"%x\r\n%b\r\n" % (size, event)


_USAGE = {"prompt_tokens": 24, "completion_tokens": 500, "total_tokens": 524}

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"x-request-id: req_7b1f4e6c2d\r\nopenai-processing-ms: 214\r\nTransfer-Encoding: chunked\r\n\r\n"
)
PIECE = _framed(_chunk({"content": _STAMP}, None))
"""To be filled in with a time, by `%`."""
LAST = _framed(_chunk({"content": _STAMP}, "stop", usage=_USAGE), "[DONE]") + STREAM_END
"""The last piece, what is behind it, and the answer's end."""

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-BxQ7vN2mT9pL4kR8sW1zYc3Hd6Jf",
        "object": "chat.completion",
        "created": 1793000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello! How can I help you today?", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_8bda4d3a2c_end",
    },
    separators=(",", ":"),
).encode()
JSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_7b1f4e6c2d\r\n"
    b"openai-processing-ms: 214\r\nContent-Length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
)
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


def request(port: int, model: str, *, stream: bool) -> bytes:
    """As the openai SDK for Python sends it."""
    body = json.dumps(
        {
            "messages": [
                {"role": "system", "content": "You are a helpful assistant that answers in one short paragraph."},
                {"role": "user", "content": "Why is the sky blue, and why is it red in the evening?"},
            ],
            "model": model,
            "max_tokens": 512,
            "temperature": 0.2,
        }
        | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
        separators=(",", ":"),
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept-Encoding: identity\r\n"
        "Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
        "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
        "X-Stainless-Runtime-Version: 3.11.7\r\nX-Stainless-Async: false\r\nx-stainless-retry-count: 0\r\n"
        f"x-stainless-read-timeout: 600\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
