"""What is measured: nginx with an upgrade, the plain relay, and ours, each pinned to one core."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.http import proxies
from bench.http.proxies import LOAD_CORE, PROXY_CORE, Running, free_port, pinned

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit; {user}
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def start_upstream(folder: Path) -> Running:
    running = Running("upstream", free_port(), log=folder / "upstream.log")
    command = [sys.executable, "-m", "bench.ws.upstream", str(running.port)]
    proxies._start(running, pinned(LOAD_CORE, command), 10, {})
    return running


def start(name: str, upstream: Running, folder: Path) -> Running:
    """
    Args:
        name: one of nginx, websockets, or what `bench.http.proxies` starts.
    Raises: NotHereError
    """
    running = Running(name, free_port(), log=folder / f"{name}.log")
    environment: dict[str, str] = {}
    match name:
        case "nginx":
            user = "user root;" if not os.getuid() else ""
            text = _NGINX.format(folder=folder, port=running.port, upstream=upstream.port, user=user)
            config = proxies._written(folder, "nginx.conf", text)
            command = [
                proxies._peer("nginx"), "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(config),
            ]  # fmt: skip
            environment = proxies._libraries()
        case "websockets":
            command = [sys.executable, "-m", "bench.ws.relay", str(running.port), str(upstream.port)]
        case _:
            return proxies.start(name, upstream, folder)
    proxies._start(running, pinned(PROXY_CORE, command), 15, environment)
    return running
