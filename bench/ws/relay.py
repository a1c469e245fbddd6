"""A plain relay, as it is written with the high-level API of websockets: `python -m bench.ws.relay PORT UPSTREAM`.

Messages stay bytes, and nothing is compressed: this is its fastest form.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def _pump(source: Any, sink: Any) -> None:
    try:
        while True:
            await sink.send(await source.recv(decode=False), text=True)
    except ConnectionClosed:
        await sink.close()


async def main(port: int, upstream: int) -> None:
    async def relay(caller: ServerConnection) -> None:
        assert caller.request is not None
        where = f"ws://127.0.0.1:{upstream}{caller.request.path}"
        async with connect(where, compression=None, max_size=None, ping_interval=None, proxy=None) as agent:
            await asyncio.gather(_pump(caller, agent), _pump(agent, caller))

    async with serve(relay, "127.0.0.1", port, compression=None, max_size=None, ping_interval=None, backlog=4096):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
