"""A service on loopback that answers by script: each piece is one write, and it may fail in the middle.

    with Server() as server:
        server.answers(Answer(["data: 1\\n\\n", "data: 2\\n\\n"]))
        httpx.get(server.url + "/v1/any")

A script is what `tests/wire/*.http.json` holds: `Answer.from_wire` reads one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

__all__ = ["Answer", "Fault", "Heard", "Server"]

Fault = Literal["", "cut", "reset", "stall", "short", "silent", "hang_up"]
"""After the last piece:
- cut: the connection is closed with no end of the chunked coding
- reset: the same, by RST
- stall: nothing more, until the caller hangs up
- short: the body is shorter than its Content-Length, and the connection is closed
Instead of an answer:
- silent: nothing, until the caller hangs up
- hang_up: the connection is closed
"""
WAIT_S = 10.0


@dataclass
class Answer:
    """One scripted answer."""

    pieces: Sequence[str | bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})
    fault: Fault = ""
    gate: threading.Semaphore | None = None
    """Each piece but the first waits for it."""
    chunked: bool = True

    @classmethod
    def from_wire(cls, file: Path) -> Answer:
        """The answer in a file of `tests/wire`."""
        told = json.loads(file.read_text())["response"]
        pieces = told.get("pieces") or [base64.b64decode(piece) for piece in told["pieces_base64"]]
        return cls(pieces, told["status"], told["headers"])

    @classmethod
    def of_json(cls, body: Any, status: int = 200, **headers: str) -> Answer:
        """A plain JSON answer."""
        return cls([json.dumps(body)], status, {"content-type": "application/json", **headers}, chunked=False)


@dataclass(frozen=True)
class Heard:
    """One request, as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """In order, names in lower case."""
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for each, value in self.headers if each == name), None)


class Server:
    """It answers each request with the next answer; the last one is for all that follow."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.hung_up = threading.Semaphore(0)
        """Released when a caller is seen to have hung up: while a piece is written, or while the answer stalls."""
        self._script: list[Answer] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        outer = self

        class Handler(_Handler):
            server_script = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()
        self._thread.join(WAIT_S)

    def answers(self, *script: Answer) -> None:
        """Answer by this script from now on, and forget what was heard."""
        with self._lock:
            self._script = list(script)
            self.heard.clear()

    def next(self, heard: Heard) -> Answer:
        with self._lock:
            self.heard.append(heard)
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_script: Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server_script._open.add(self.connection)

    def finish(self) -> None:
        self.server_script._open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the caller has gone
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        script = self.server_script
        body = self._body()
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        answer = script.next(Heard(self.command, self.path, headers, body))
        if answer.fault == "silent":
            self._wait_for_hang_up()
            return
        if answer.fault == "hang_up":
            self.close_connection = True
            return
        pieces = [piece.encode() if isinstance(piece, str) else piece for piece in answer.pieces]
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.fault == "short":
            self.send_header("content-length", str(sum(map(len, pieces)) + 10))
        elif answer.chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(sum(map(len, pieces))))
        self.end_headers()
        chunked = answer.chunked and answer.fault != "short"
        try:
            for index, piece in enumerate(pieces):
                if index and answer.gate is not None and not answer.gate.acquire(timeout=WAIT_S):
                    raise AssertionError("nobody opened the gate")
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        except ConnectionError:
            script.hung_up.release()
            raise
        self._end(answer.fault, chunked)

    do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = _answer

    def _end(self, fault: Fault, chunked: bool) -> None:
        if fault == "":
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
            return
        self.close_connection = True
        if fault == "stall":
            self._wait_for_hang_up()
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _wait_for_hang_up(self) -> None:
        self.close_connection = True
        self.connection.settimeout(WAIT_S)
        with contextlib.suppress(ConnectionError):
            if self.connection.recv(1):
                raise AssertionError("a caller that waits for an answer sends nothing more")
        self.server_script.hung_up.release()
