"""The generator: `python -m bench.ws.load SPECIFICATION`, as `bench.http.load`, whose clocks and reading it uses.

- `paced`: `streams` sessions in which a frame comes each `pace` ms, for `seconds` after `settle`.
- `flood`: `streams` sessions whose frames come as fast as they pass.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

from bench.http.load import Cpu, Load, paced
from bench.ws import wire

_clock = time.monotonic_ns
_ENDLESS = 100_000_000


class Sessions(Load):
    def open(self, count: int, pace: int, one_in: int = 1) -> None:
        asked = wire.request(self._port, f"p{pace}n{_ENDLESS}")
        for opened in range(count):
            self.connect().sendall(asked)
            if opened % 4 == 3:
                self.read_until(_clock() + 500_000)


def flood(load: Sessions, cpu: Cpu, spec: dict[str, Any]) -> dict[str, Any]:
    """Frames are counted, and nothing else: the generator must not be what is measured."""
    load.open(spec["streams"], 0)
    load.read_until(_clock() + int(spec["settle"] * 1e9))
    sockets, poll, buffer = load._receive, load._epoll.poll, load._buffer
    cpu.taken()
    began = _clock()
    end, size = began + int(spec["seconds"] * 1e9), 0
    while _clock() < end:
        for number, _ in poll(0.05):
            size += sockets[number](buffer)
    seconds = (_clock() - began) / 1e9
    return {"pieces": size / (len(wire.PIECE) + 19 - len("%019d")), "seconds": seconds, "cpu_s": cpu.taken()}


def main(arguments: list[str]) -> None:
    gc.disable()
    spec = json.loads(arguments[0])
    load, cpu = Sessions(spec["port"]), Cpu(spec["pids"])
    print(json.dumps({"paced": paced, "flood": flood}[spec["mode"]](load, cpu, spec)))


if __name__ == "__main__":
    main(sys.argv[1:])
