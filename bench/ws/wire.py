"""What goes over the wire: a caller's handshake and its one message, and the events that an agent pushes.

A session's pace and length are in its path's query: `?model=p20n500` is 500 frames, one each 20 ms. Each carries the
time at which it was sent, as the pieces of `bench.http.wire` do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"\r\nsec-websocket-key:\s*([A-Za-z0-9+/=]+)", re.IGNORECASE)


def text(data: str) -> bytes:
    """A text frame of a server's; 19 digits stand for `%019d`."""
    body = data.encode()
    size = len(body) + (19 - len("%019d") if b"%019d" in body else 0)
    return (bytes((0x81, size)) if size < 126 else bytes((0x81, 126)) + size.to_bytes(2, "big")) + body


_IDS = {"response_id": "resp_CxQ7vN2mT9pL4kR8sW1zY", "item_id": "item_CxQ7vN2mT9pL4kR8sW1zY"}

BEGIN = text(
    json.dumps({"type": "response.created", "event_id": "event_1", "response": {"id": _IDS["response_id"]}})
)  # fmt: skip
PIECE = text(
    json.dumps(
        {
            "type": "response.output_text.delta",
            "event_id": "event_CxQ7vN2mT9pL4kR8sW1zY",
            **_IDS,
            "output_index": 0,
            "content_index": 0,
            "delta": "@%019d",
        },
        separators=(",", ":"),
    )
)
"""To be filled in with a time, by `%`. Its other bytes have no per cent sign."""
_ASK = json.dumps({"type": "response.create", "response": {"modalities": ["text"]}}).encode()


def accepted(head: bytes) -> bytes:
    """The answer to a handshake."""
    found = _KEY.search(head)
    key = base64.b64encode(hashlib.sha1((found[1] if found else b"") + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % key
    )


def request(port: int, model: str) -> bytes:
    """A handshake, as the websockets library sends it without compression, and the message that begins a turn."""
    mask = b"\x37\xfa\x21\x3d"
    body = bytes(byte ^ mask[number % 4] for number, byte in enumerate(_ASK))
    head = (
        f"GET /v1/realtime?model={model} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Authorization: Bearer sk-bench\r\nUser-Agent: Python/3.11 websockets/17.4\r\n\r\n"
    )
    return head.encode() + bytes((0x81, 0x80 | len(body))) + mask + body
