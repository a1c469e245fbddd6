"""An agent of our own: `python -m bench.ws.upstream PORT`. It pushes frames, each by itself, at a pace; or, where the
pace is 0, as many as are taken. It also takes OTLP exports."""

from __future__ import annotations

import gc
import re
import sys
import time
from typing import Any

from bench.http.upstream import Upstream, _Connection
from bench.ws import wire

_MODEL = re.compile(rb"model=p(\d+)n(\d+)")
_BATCH = 100


class Agent(Upstream):
    def _turn(self, due: list[_Connection]) -> None:
        clock, piece, tick = time.monotonic_ns, wire.PIECE, self._tick
        for connection in due:
            if connection.closed or connection.left <= 0:
                continue
            connection.left -= 1
            self._write(connection, piece % clock())
            self._wheel[(tick + connection.pace) % len(self._wheel)].append(connection)

    def _answer(self, connection: _Connection, data: bytes, end: int) -> None:
        model = _MODEL.search(data, 0, end)
        if model is None:
            super()._answer(connection, data, end)
            return
        self._write(connection, wire.accepted(data[:end]) + wire.BEGIN)
        connection.pace, connection.left = int(model[1]), int(model[2])
        if not connection.pace:
            self._flood(connection)
        else:
            # One behind the other in the period, however many begin together.
            wait = 1 + len(self._connections) % connection.pace
            self._wheel[(self._tick + wait) % len(self._wheel)].append(connection)

    def _flood(self, connection: _Connection) -> None:
        while not connection.unsent and not connection.closed:
            self._write(connection, wire.PIECE % time.monotonic_ns() * _BATCH)

    def _flush(self, connection: _Connection) -> None:
        super()._flush(connection)
        if not connection.pace and connection.left:
            self._flood(connection)


def main(arguments: list[Any]) -> None:
    gc.disable()
    Agent(int(arguments[0])).run()


if __name__ == "__main__":
    main(sys.argv[1:])
