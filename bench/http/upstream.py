"""A model API of our own: `python -m bench.http.upstream PORT`. It also takes OTLP exports, and forgets them.

One thread over epoll, and not asyncio: a piece costs a time, a `send` and little else. Nearly all of that is the
kernel's, 5 µs, so that with the generator beside it a core paces more than 2,000 streams of 50 pieces/s.
"""

from __future__ import annotations

import gc
import random
import re
import select
import socket
import sys
import time
from typing import Any

from bench.http import wire

_MODEL = re.compile(rb'"model":\s*"(?:openai/)?p(\d+)n(\d+)"')
_STREAM = re.compile(rb'"stream":\s*true')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_WHEEL = 1024
"""Slots of a millisecond each: the longest pace."""


class _Connection:
    __slots__ = ("closed", "left", "pace", "received", "send", "socket", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.send = sock.send
        self.received = b""
        self.unsent = b""
        self.closed = False
        self.pace = 0
        self.left = 0


class Upstream:
    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._connections: dict[int, _Connection] = {}
        self._wheel: list[list[_Connection]] = [[] for _ in range(_WHEEL)]
        self._tick = 0

    def run(self) -> None:
        clock = time.monotonic_ns
        poll = self._epoll.poll
        self._tick = clock() // 1_000_000
        while True:
            now = clock() // 1_000_000
            while self._tick < now:
                self._tick += 1
                slot = self._tick % _WHEEL
                due = self._wheel[slot]
                if due:
                    self._wheel[slot] = []
                    self._turn(due)
            for number, events in poll(0.001):
                connection = self._connections.get(number)
                if connection is None:
                    self._accept()
                    continue
                if events & select.EPOLLOUT:
                    self._flush(connection)
                if events & ~select.EPOLLOUT:
                    self._receive(connection)

    def _turn(self, due: list[_Connection]) -> None:
        clock, wheel, tick, piece = time.monotonic_ns, self._wheel, self._tick, wire.PIECE
        for connection in due:
            if connection.closed:
                continue
            connection.left -= 1
            if connection.left <= 0:
                self._write(connection, wire.LAST % clock())
                continue
            data = piece % clock()
            if connection.unsent:
                connection.unsent += data
            else:
                try:
                    sent = connection.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._close(connection)
                    continue
                if sent < len(data):
                    self._later(connection, data[sent:])
            wheel[(tick + connection.pace) % _WHEEL].append(connection)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = _Connection(sock)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        data = connection.received + data if connection.received else data
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4:
            length = _LENGTH.search(data, 0, end)
            if len(data) - end >= (int(length[1]) if length else 0):
                connection.received = b""
                self._answer(connection, data, end)
                return
        connection.received = data

    def _answer(self, connection: _Connection, data: bytes, end: int) -> None:
        if data.startswith(b"POST /v1/traces"):
            self._write(connection, wire.EMPTY)
        elif _STREAM.search(data, end) and (model := _MODEL.search(data, end)):
            connection.pace, connection.left = int(model[1]), int(model[2]) - 1
            if connection.left <= 0:
                self._write(connection, wire.HEAD + wire.LAST % time.monotonic_ns())
                return
            self._write(connection, wire.HEAD + wire.PIECE % time.monotonic_ns())
            # At random in its period, however many streams begin together; a short one keeps its pace.
            wait = random.randint(1, connection.pace) if connection.left > 100 else connection.pace
            self._wheel[(self._tick + wait) % _WHEEL].append(connection)
        else:
            self._write(connection, wire.JSON)

    def _write(self, connection: _Connection, data: bytes) -> None:
        if connection.closed:
            return
        if connection.unsent:
            connection.unsent += data
            return
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            self._later(connection, data[sent:])

    def _later(self, connection: _Connection, data: bytes) -> None:
        connection.unsent = data
        self._epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: _Connection) -> None:
        data, connection.unsent = connection.unsent, b""
        self._epoll.modify(connection.socket.fileno(), select.EPOLLIN)
        self._write(connection, data)

    def _close(self, connection: _Connection) -> None:
        if not connection.closed:
            connection.closed = True
            self._connections.pop(connection.socket.fileno(), None)
            connection.socket.close()


def main(arguments: list[Any]) -> None:
    gc.disable()
    Upstream(int(arguments[0])).run()


if __name__ == "__main__":
    main(sys.argv[1:])
