"""The generator: `python -m bench.http.load SPECIFICATION`, which prints what it found. One thread, epoll.

The specification is JSON: `mode` and `port`, whose CPU is to be read (`pids`, by name) and what the mode takes.

- `paced`: `streams` open streams of `pace` ms, for `seconds` after `settle`.
- `closed`: `connections` that each ask again when they have their answer (`model`, `stream`).
- `first`: one request after the other, the time to the first byte of the body; `streams` go on beside it.
- `held`: more and more paced streams, until their pieces are late.
- `open`: `streams` are opened, then what is resident is read.

CPU is read from the processes' own clocks, which count in nanoseconds.
"""

from __future__ import annotations

import gc
import json
import random
import select
import socket
import sys
import time
from typing import Any

from bench.http import wire
from bench.http.resident import resident_kib

_clock = time.monotonic_ns
_ENDLESS = 100_000_000


class Stalled(Exception):
    """Nothing came for five seconds."""


class Cpu:
    """Seconds of CPU that processes took since the last look."""

    def __init__(self, pids: dict[str, list[int]]) -> None:
        self._pids = pids
        self._last: dict[str, float] = {}
        self.taken()

    def taken(self) -> dict[str, float]:
        # The kernel's number for the CPU clock of another process, as clock_getcpuclockid(3) makes it.
        now = {name: sum(time.clock_gettime((~pid << 3) | 2) for pid in pids) for name, pids in self._pids.items()}
        now["generator"] = time.process_time()
        last, self._last = self._last, now
        return {name: found - last.get(name, 0.0) for name, found in now.items()}


class Load:
    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._receive: dict[int, Any] = {}
        self._buffer = bytearray(1_048_576)
        self._lazy: list[socket.socket] = []
        self._turn = 0
        self._due = 0
        self.reads = self.pieces = self.lost = 0
        self.transits: list[int] = []

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = sock.fileno()
        self._sockets[number] = sock
        self._receive[number] = sock.recv_into
        self._epoll.register(number, select.EPOLLIN)
        return sock

    # Streams that go on ---------------------------------------------------------------------------------------

    def open(self, count: int, pace: int, one_in: int = 1) -> None:
        """
        Args:
            one_in: only one of so many is read as soon as something comes, and measured. The others are read each
                100 ms: the proxy sends as much, and the generator keeps up with four times as many.
        """
        asked = wire.request(self._port, f"p{pace}n{_ENDLESS}", stream=True)
        for opened in range(count):
            sock = self.connect()
            sock.sendall(asked)
            if opened % one_in:
                self._epoll.unregister(sock.fileno())
                self._lazy.append(sock)
            if opened % 4 == 3:
                self.read_until(_clock() + 500_000)

    def _read_lazy(self, share: float) -> None:
        lazy, buffer, count = self._lazy, self._buffer, int(len(self._lazy) * share) + 1
        pieces = 0
        for sock in lazy[self._turn : self._turn + count]:
            try:
                size = sock.recv_into(buffer)
            except BlockingIOError:
                continue
            if not size:
                raise Stalled("a connection was closed")
            pieces += buffer.count(wire.MARK, 0, size)
        self._turn = self._turn + count if self._turn + count < len(lazy) else 0
        self.pieces += pieces

    def read_until(self, end: int) -> None:
        """Take what comes."""
        clock, poll, receive, buffer = _clock, self._epoll.poll, self._receive, self._buffer
        mark, add = wire.MARK, self.transits.append
        reads = pieces = 0
        while True:
            left = end - clock()
            if left <= 0:
                break
            if self._lazy and end - left > self._due:
                self._due = end - left + 2_000_000
                self._read_lazy(0.02)
                left = min(2_000_000, left)
            for number, _ in poll(min(0.05, left / 1e9)):
                try:
                    size = receive[number](buffer)
                except BlockingIOError:
                    continue
                except OSError:
                    size = 0
                now = clock()
                if not size:
                    self._forget(number)
                    continue
                reads += 1
                found = buffer.count(mark, 0, size)
                if not found:
                    continue
                pieces += found
                at = 0
                for _ in range(found):  # nearly always one
                    at = buffer.index(mark, at, size) + 2
                    if at + 19 <= size:
                        add(now - int(buffer[at : at + 19]))
        self.reads += reads
        self.pieces += pieces

    def _forget(self, number: int) -> None:
        self.lost += 1
        self._receive.pop(number)
        self._sockets.pop(number).close()

    def clear(self) -> None:
        self.reads = self.pieces = 0
        self.transits.clear()

    # One answer after the other -------------------------------------------------------------------------------

    def closed(self, connections: int, asked: bytes, end_mark: bytes, seconds: float, cpu: Cpu) -> dict[str, Any]:
        clock, poll, receive, buffer = _clock, self._epoll.poll, self._receive, self._buffer
        for _ in range(connections):
            self.connect().sendall(asked)
        send = {number: sock.send for number, sock in self._sockets.items()}
        done = reads = 0
        began, end = clock(), clock() + int(0.4 * 1e9)
        settled = False
        while True:
            if clock() > end:
                if settled:
                    break
                settled = True
                done = reads = 0
                cpu.taken()
                began = clock()
                end = began + int(seconds * 1e9)
            ready = poll(5)
            if not ready:
                raise Stalled
            for number, _ in ready:
                size = receive[number](buffer)
                if not size:
                    raise Stalled(f"a connection was closed after {done} answers")
                reads += 1
                if buffer.endswith(end_mark, 0, size):
                    done += 1
                    send[number](asked)
        taken = cpu.taken()
        return {"answers": done, "reads": reads, "seconds": (clock() - began) / 1e9, "cpu_s": taken}

    # The first byte -------------------------------------------------------------------------------------------

    def first(self, seconds: float) -> list[int]:
        """Nanoseconds from a request to the first piece of its answer, one request at a time."""
        asked = wire.request(self._port, "p1n2", stream=True)
        prober = Load(self._port)
        sock = prober.connect()
        number = sock.fileno()
        # In the same loop as the streams that go on, if there are any: their reads are taken in between.
        self._epoll.register(number, select.EPOLLIN)
        buffer = bytearray(65_536)
        found: list[int] = []
        end = _clock() + int(seconds * 1e9)
        while _clock() < end:
            self.read_until(_clock() + random.randint(500_000, 3_000_000))
            sent = _clock()
            sock.send(asked)
            first = True
            while True:
                ready = self._epoll.poll(5)
                if not ready:
                    raise Stalled
                over = False
                for which, _ in ready:
                    if which != number:
                        self._receive[which](self._buffer)
                        continue
                    size = sock.recv_into(buffer)
                    now = _clock()
                    if not size:
                        raise Stalled("the connection was closed")
                    if first and buffer.find(wire.MARK, 0, size) >= 0:
                        found.append(now - sent)
                        first = False
                    over = buffer.endswith(wire.STREAM_END, 0, size)
                if over:
                    break
        return found


def percentile(values: list[int], share: float) -> float:
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


def summary(values: list[int]) -> dict[str, float]:
    return {"p50_us": percentile(values, 0.5) / 1e3, "p99_us": percentile(values, 0.99) / 1e3} if values else {}


def paced(load: Load, cpu: Cpu, spec: dict[str, Any]) -> dict[str, Any]:
    load.open(spec["streams"], spec["pace"], spec.get("one_in", 1))
    load.read_until(_clock() + int(spec["settle"] * 1e9))
    load.clear()
    cpu.taken()
    began = _clock()
    load.read_until(began + int(spec["seconds"] * 1e9))
    taken = cpu.taken()
    seconds = (_clock() - began) / 1e9
    return {
        "pieces": load.pieces,
        "reads": load.reads,
        "seconds": seconds,
        "wanted": spec["streams"] * 1000 / spec["pace"] * seconds,
        "lost": load.lost,
        "cpu_s": taken,
        **summary(load.transits),
    }


def held(load: Load, cpu: Cpu, spec: dict[str, Any]) -> dict[str, Any]:
    """More and more streams, by `step` each time, until the pieces are late or too few twice in a row."""
    streams, pace, failures, steps, best = 0, spec["pace"], 0, [], 0
    wanted = spec["streams"]
    while failures < 2 and wanted <= spec["most"]:
        load.open(wanted - streams, pace, spec["one_in"])
        streams = wanted
        load.read_until(_clock() + int(spec["settle"] * 1e9))
        load.clear()
        cpu.taken()
        began = _clock()
        load.read_until(began + int(spec["seconds"] * 1e9))
        taken = cpu.taken()
        seconds = (_clock() - began) / 1e9
        p99_ms = percentile(load.transits, 0.99) / 1e6 if load.transits else 1e9
        share = load.pieces / (streams * 1000 / pace * seconds)
        good = p99_ms < spec["p99_ms"] and share > 0.97 and not load.lost
        shares = {name: round(found / seconds, 2) for name, found in taken.items()}
        steps.append({"streams": streams, "p99_ms": round(p99_ms, 2), "arrived": round(share, 3), "cpu": shares})
        if good:
            best, failures = streams, 0
        else:
            failures += 1
        wanted = int(streams * spec["step"])
    return {"held": best, "steps": steps}


def main(arguments: list[str]) -> None:
    gc.disable()
    spec = json.loads(arguments[0])
    load = Load(spec["port"])
    cpu = Cpu(spec["pids"])
    match spec["mode"]:
        case "paced":
            result = paced(load, cpu, spec)
        case "closed":
            asked = wire.request(spec["port"], spec["model"], stream=spec["stream"])
            mark = wire.STREAM_END if spec["stream"] else wire.JSON_END
            result = load.closed(spec["connections"], asked, mark, spec["seconds"], cpu)
        case "first":
            if spec["streams"]:
                load.open(spec["streams"], spec["pace"])
            load.read_until(_clock() + 500_000_000)
            found = load.first(spec["seconds"])
            result = {"samples": len(found), **summary(found)}
        case "held":
            result = held(load, cpu, spec)
        case "open":
            before = resident_kib(spec["pids"]["proxy"])
            load.open(spec["streams"], spec["pace"])
            load.read_until(_clock() + int(spec["settle"] * 1e9))
            after = resident_kib(spec["pids"]["proxy"])
            result = {"kib": (after - before) / spec["streams"], "lost": load.lost, "before_kib": before}
        case other:
            raise SystemExit(f"there is no mode {other}")
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
