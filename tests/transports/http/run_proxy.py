"""Run the proxy by hand, unwatched: `python tests/transports/http/run_proxy.py --route /=http://127.0.0.1:9000`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

from streamgauge.transports.http import Route, serve


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--route", action="append", required=True, metavar="PREFIX=URL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--grace", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--http2", action="store_true", help="to the upstreams")
    options = parser.parse_args()
    routes = [Route(*route.split("=", 1), http2=options.http2) for route in options.route]
    server = await serve(routes, host=options.host, port=options.port)
    print(f"listening on http://{options.host}:{server.sockets[0].getsockname()[1]}", flush=True)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
    await server.close(options.grace)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
