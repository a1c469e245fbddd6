"""A program that serves the scripted streams itself, with the ASGI middleware: `python served.py`.

It has what a proxy does not emit: the server's side of the metrics. Started with dashboards/stack on the path.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import uvicorn
from streams import Script, answer

import streamgauge
import streamgauge.asgi


async def application(scope: Any, receive: Any, send: Any) -> None:
    raw, more = b"", True
    while more:
        message = await receive()
        raw, more = raw + message.get("body", b""), message.get("more_body", False)
    headers = dict(scope["headers"])
    script = Script.read(headers.get(b"x-script", b"").decode())
    pieces = answer(script, scope["path"], json.loads(raw))
    assert pieces is not None
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]},
    )
    for wait_s, data in pieces:
        await asyncio.sleep(wait_s)
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    made = streamgauge.setup(metrics_exporter="prometheus", metrics_host="127.0.0.1", metrics_port=0)
    assert made.telemetry is not None
    assert made.telemetry.metrics_address is not None
    app = streamgauge.asgi.Middleware(application, provider_name="own", agent_name="helper")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        print(f"served: {port}, metrics {made.telemetry.metrics_address[1]}", flush=True)
        config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
