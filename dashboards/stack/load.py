"""A steady load for the scripted agent, through the proxy: `python load.py --proxy URL --agent URL --streams N`.

So many streams are open at any time, in the mix of `plays.toml`, always in the same order. What came of each is seen
where it was read, and counted (`Totals`), so that what the telemetry says can be compared with it. It prints nothing
unless `--totals` asks for that. Nothing but the standard library is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import socket
import tomllib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["PLAYS", "Load", "Play", "Totals", "main", "read_plays"]

PLAYS = Path(__file__).with_name("plays.toml")

_GENERATED = re.compile(
    rb'"delta":\{"(?:content|reasoning_content)":"[^"]|"function":\{"arguments":"[^"]'
    rb'|"(?:text|thinking|input_json)_delta","(?:text|thinking|partial_json)":"[^"]'
    rb'|^data: \{"type":"(?:text|reasoning)_delta"|"event":\{"type":"text_delta"|"type":"chunk"'
    rb'|"AIMessageChunk","id":"[^"]*","content":"[^"]',
    re.MULTILINE,
)
_ENDS = {
    "completed": re.compile(
        rb'data: \[DONE\]|"type":"(?:message_stop|run_completed|complete)"|^event: end$', re.MULTILINE
    ),
    "failed": re.compile(rb'^data: \{"(?:error"|type":"(?:error|run_failed)")', re.MULTILINE),
    "cancelled": re.compile(rb'"type":"run_cancelled"'),
}
_FIRST = re.compile(r"\bfirst=([\d.]+)")
_RETRIES = {"model": b'"type":"llm_retry"', "tool": b'"type":"tool_retry"'}
_KEPT = 20_000
"""First tokens and rates that are kept: a load may go on for days."""
_WINDOW = 4_096
_HELD_S = 0.8
"""For how long a slow caller reads nothing."""
_BUSY_S = 0.5
"""For how long one that is told to come later (503), or finds nobody, stays away."""


@dataclass(frozen=True, slots=True)
class Play:
    """One stream that is asked for."""

    name: str
    path: str
    model: str
    script: str
    agent: str = ""
    times: int = 1
    rare: bool = False
    prefix: str = ""
    does: str = "read"
    after: int = 0
    cut: str = "truncated"
    during: str = "generation"


def read_plays(path: Path = PLAYS) -> list[Play]:
    return [Play(**play) for play in tomllib.loads(path.read_text())["play"]]


@dataclass(slots=True)
class Totals:
    """What the load has had."""

    streams: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By model and outcome."""
    retries: Counter[str] = field(default_factory=Counter)
    """By what was tried again: model, tool or request."""
    stalls: Counter[str] = field(default_factory=Counter)
    """By what the source was at."""
    meant_stalls: Counter[str] = field(default_factory=Counter)
    """Those of them that were asked for: the others are the machine's."""
    chunks: int = 0
    first_s: deque[tuple[str, float, float]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """With the path: seconds from the request to the first generated piece, as was asked for and as it came."""
    rates: deque[tuple[str, float]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """With the path: generated pieces per second, after the first."""
    unreached: int = 0
    """How often the proxy was not there, or lost the connection before an answer."""

    @property
    def outcomes(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, outcome), count in self.streams.items():
            found[outcome] += count
        return found

    def told(self) -> dict[str, Any]:
        streams = {f"{model} {outcome}": count for (model, outcome), count in sorted(self.streams.items())}
        return {
            "streams": streams, "retries": dict(self.retries), "stalls": dict(self.stalls), "chunks": self.chunks,
            "unreached": self.unreached,
        }  # fmt: skip


@dataclass(slots=True)
class _Seen:
    """One answer, as it was read."""

    asked: float
    status: int = 0
    left: bool = False
    body: bytes = b""
    first: float = 0.0
    last: float = 0.0
    pieces: int = 0
    silences: int = 0


class Load:
    """So many callers, each with one stream after the other."""

    def __init__(
        self,
        proxy: str,
        *,
        streams: int = 24,
        plays: Sequence[Play] | None = None,
        rare_every: int = 1,
        stall_after_s: float = 5.0,
    ) -> None:
        """
        Args:
            proxy: its URL.
            rare_every: rare plays are in one of so many rounds.
            stall_after_s: the proxy's limit.
        """
        parts = urlsplit(proxy)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams = streams
        self._plays = list(read_plays() if plays is None else plays)
        self._rare_every = rare_every
        self._stall_after_s = stall_after_s
        self._order = self._rounds()
        self._keys = 0
        self._open = 0
        self._going = asyncio.Event()
        self._going.set()
        self._idle = asyncio.Event()
        self.totals = Totals()
        self.rounds = 0
        """Begun."""

    def _rounds(self) -> Iterator[Play]:
        chance = random.Random(1)  # noqa: S311  (no secret)
        while True:
            self.rounds += 1
            rare = self.rounds % self._rare_every == 0
            turn = [play for play in self._plays for _ in range(play.times) if rare or not play.rare]
            yield from chance.sample(turn, len(turn))

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._streams):
                group.create_task(self._call_on())

    async def rest(self) -> None:
        """Ask for no more, and wait for the open streams to end."""
        self._going.clear()
        if self._open:
            await self._idle.wait()

    def resume(self) -> None:
        self._going.set()

    async def _call_on(self) -> None:
        while True:
            await self._going.wait()
            self._open += 1
            self._idle.clear()
            try:
                await self.play(next(self._order))
            except (OSError, EOFError):
                self.totals.unreached += 1
                await asyncio.sleep(_BUSY_S)  # it may be being started
            finally:
                self._open -= 1
                if not self._open:
                    self._idle.set()

    # One stream -------------------------------------------------------------------------------------------------

    async def play(self, play: Play) -> None:
        """
        Raises: OSError where the proxy is not there, EOFError where it gives no answer.
        """
        headers = ""
        if play.does == "again" or "refusals=" in play.script:
            self._keys += 1
            headers = f"Idempotency-Key: {id(self):x}-{self._keys}\r\n"
        if play.does == "again":
            self._count(play, await self._asked(play, "status=429", headers))
            self.totals.retries["request"] += 1
            headers += "x-stainless-retry-count: 1\r\n"
        script = play.script.replace("{stall}", f"{self._stall_after_s * 1.3:g}")
        seen = await self._asked(play, script, headers)
        refusals = re.search(r"refusals=(\d+)", play.script)
        if refusals is not None:
            self.totals.retries["request"] += int(refusals[1])
        self._count(play, seen)
        if seen.status == 503:
            await asyncio.sleep(_BUSY_S)

    async def _asked(self, play: Play, script: str, headers: str) -> _Seen:
        slow = play.does == "slowly"
        sock = socket.socket()
        if slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            (address, *_) = await loop.getaddrinfo(self._host, self._port, family=socket.AF_INET)
            await loop.sock_connect(sock, address[4])
            reader, writer = await asyncio.open_connection(sock=sock, limit=_WINDOW if slow else 2**18)
        except BaseException:
            sock.close()
            raise
        asked = {"model": play.model, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        body = json.dumps(asked | ({"assistant_id": play.agent} if play.agent else {}))
        head = f"POST {play.prefix}{play.path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nx-script: {script}\r\n{headers}\r\n"
        try:
            seen = _Seen(loop.time())
            writer.write(head.encode() + body.encode())
            await self._read(play, reader, seen)
            return seen
        finally:
            writer.transport.abort()

    async def _read(self, play: Play, reader: asyncio.StreamReader, seen: _Seen) -> None:
        clock = asyncio.get_running_loop().time
        answered = await reader.readuntil(b"\r\n\r\n")
        seen.status = int(answered.split(b" ", 2)[1])
        parts: list[bytes] = []
        read = seen.asked
        while not seen.left:
            try:
                data = await reader.read(2**16)
            except ConnectionError:
                break
            before, read = read, clock()
            seen.silences += read - before > self._stall_after_s
            if not data:
                break
            parts.append(data)
            found = len(_GENERATED.findall(data))
            if found:
                seen.first = seen.first or read
                seen.last = read
                seen.pieces += found
                seen.left = play.does == "leave" and seen.pieces >= play.after
                if play.does == "slowly" and seen.pieces == found:
                    await asyncio.sleep(_HELD_S)
                    read = clock()
        seen.body = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", b"".join(parts))

    def _count(self, play: Play, seen: _Seen) -> None:
        totals = self.totals
        totals.streams[play.model, self._outcome(play, seen)] += 1
        for target, mark in _RETRIES.items():
            totals.retries[target] += seen.body.count(mark)
        pieces = seen.pieces if seen.left else len(_GENERATED.findall(seen.body))
        totals.chunks += pieces
        if seen.silences:
            totals.stalls[play.during] += seen.silences
            totals.meant_stalls[play.during] += "{stall}" in play.script
        if seen.first:
            meant = _FIRST.search(play.script)
            totals.first_s.append((play.path, float(meant[1]) if meant else 0.0, seen.first - seen.asked))
        if seen.last > seen.first:
            totals.rates.append((play.path, (pieces - 1) / (seen.last - seen.first)))

    def _outcome(self, play: Play, seen: _Seen) -> str:
        if seen.left:
            return "abandoned"
        if seen.status != 200:
            return "failed"
        return next((outcome for outcome, mark in _ENDS.items() if mark.search(seen.body)), play.cut)


# The command ------------------------------------------------------------------------------------------------------


async def _reachable(url: str) -> None:
    """Wait until something listens there."""
    parts = urlsplit(url)
    while True:
        try:
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.5)


async def _main(given: argparse.Namespace) -> None:
    for url in (given.agent, given.proxy):
        await _reachable(url)
    load = Load(given.proxy, streams=given.streams, rare_every=given.rare_every, stall_after_s=given.stall_after)
    running = asyncio.ensure_future(load.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    if given.seconds:
        loop.call_later(given.seconds, running.cancel)
    await asyncio.wait((running,))
    if not running.cancelled():
        running.result()
    if given.totals:
        print(json.dumps(load.totals.told()), flush=True)  # noqa: T201  (what was asked for)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--proxy", default="http://127.0.0.1:8080", help="its URL")
    parser.add_argument("--agent", default="http://127.0.0.1:8000", help="the scripted agent's URL: it is waited for")
    parser.add_argument("--streams", type=int, default=24, help="how many are open at any time")
    parser.add_argument("--rare-every", type=int, default=10, help="faults and the like are in one of so many rounds")
    parser.add_argument("--stall-after", type=float, default=5.0, help="the proxy's stall_after_s")
    parser.add_argument("--seconds", type=float, default=0.0, help="for so long; by default until it is told to stop")
    parser.add_argument("--totals", action="store_true", help="print what came of the streams, at the end")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
