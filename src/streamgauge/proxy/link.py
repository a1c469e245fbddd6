"""What the supervisor and a worker say to each other, over a pair of sockets that only they have.

A message is its length, four bytes, and JSON; the first one, to the worker, is the `Config`. When one of them dies, the
other one's end says so.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from streamgauge.proxy.config import Config

__all__ = ["Link"]

_LENGTH = struct.Struct("!I")


class Link:
    """One end. Messages may be sent by any thread, and are received by one."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any]) -> bool:
        """Whether it went out; it does not where the other one has gone."""
        return self._send(json.dumps(message, separators=(",", ":")).encode())

    def send_config(self, config: Config) -> bool:
        return self._send(pickle.dumps(config))

    def receive_config(self) -> Config | None:
        """From the supervisor, which has started this process; from nobody else."""
        data = self._receive()
        found = None if data is None else pickle.loads(data)  # noqa: S301
        assert found is None or isinstance(found, Config)
        return found

    def messages(self) -> Iterator[dict[str, Any]]:
        """Until the other one has gone.

        Raises: TimeoutError where it says nothing for as long as `silent_after` allows.
        """
        while (data := self._receive()) is not None:
            yield json.loads(data)

    def silent_after(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()

    def _send(self, data: bytes) -> bool:
        try:
            with self._sending:
                self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            return False
        return True

    def _receive(self) -> bytes | None:
        head = self._exactly(_LENGTH.size)
        return None if head is None else self._exactly(_LENGTH.unpack(head)[0])

    def _exactly(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self._socket.recv(min(size - len(data), 1_048_576))
            except TimeoutError:
                raise
            except OSError:
                return None
            if not piece:
                return None
            data += piece
        return bytes(data)
