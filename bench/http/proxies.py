"""What is measured: each proxy as its users run it, pinned to one core; the upstream on the other."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from bench.http import wire
from bench.http.resident import family

PROXY_CORE, LOAD_CORE = 0, 1
PEERS = Path(".tools/peers")
LITELLM = os.environ.get("BENCH_LITELLM", ".venv-litellm/bin/litellm")

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit; {user}
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""
_HAPROXY = """
global
    nbthread 1
    maxconn 9000
    log /dev/null local0 emerg
defaults
    mode http
    timeout connect 10s
    timeout client 600s
    timeout server 600s
    option http-no-delay
    http-reuse always
frontend callers
    bind 127.0.0.1:{port} backlog 4096
    default_backend model
backend model
    server model 127.0.0.1:{upstream}
"""
_LITELLM = """
model_list:
  - model_name: "*"
    litellm_params:
      model: "openai/*"
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: sk-bench
"""


class NotHereError(Exception):
    """A candidate that is not installed."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


@dataclass
class Running:
    """A process, with those that it started."""

    name: str
    port: int
    process: subprocess.Popen[bytes] | None = None
    admin_port: int = 0
    log: Path | None = None
    pids: list[int] = field(default_factory=list)

    def wait(self, within_s: float) -> None:
        assert self.process is not None
        end = time.monotonic() + within_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    said = self.log.read_text(errors="replace")[-2000:] if self.log else ""
                    self.stop()
                    raise NotHereError(f"{self.name} did not start: {said}") from None
                time.sleep(0.05)
        self.pids = family(self.process.pid)

    def still(self, stopped: bool) -> None:
        """Keep it from running, as those that are dear when idle must be while others are measured; or let it again."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP if stopped else signal.SIGCONT)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.still(False)
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in family(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10) as answer:
            return answer.read().decode()


def start_upstream(folder: Path) -> Running:
    running = Running("upstream", free_port(), log=folder / "upstream.log")
    command = [sys.executable, "-m", "bench.http.upstream", str(running.port)]
    _start(running, pinned(LOAD_CORE, command), 10, {})
    return running


def direct(upstream: Running) -> Running:
    return Running("direct", upstream.port)


def start(name: str, upstream: Running, folder: Path) -> Running:
    """
    Args:
        name: one of nginx, haproxy, streamgauge, streamgauge+spans, litellm.
    Raises: NotHereError
    """
    running = Running(name, free_port(), log=folder / f"{name}.log")
    where = {"folder": str(folder), "port": running.port, "upstream": upstream.port}
    environment: dict[str, str] = {}
    within_s = 15.0
    match name:
        case "nginx":
            # A worker of root's would be somebody who may not write to the folder.
            config = _written(
                folder, "nginx.conf", _NGINX.format(**where, user="user root;" if not os.getuid() else "")
            )
            command = [_peer("nginx"), "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(config)]
            environment = _libraries()
        case "haproxy":
            command = [_peer("haproxy"), "-db", "-f", str(_written(folder, "haproxy.cfg", _HAPROXY.format(**where)))]
            environment = _libraries()
        case "streamgauge" | "streamgauge+spans":
            running.admin_port = free_port()
            command = [
                *_streamgauge(), "proxy", "--upstream", f"http://127.0.0.1:{upstream.port}",
                "--port", str(running.port), "--admin-host", "127.0.0.1", "--admin-port", str(running.admin_port),
                "--grace", "0.1", "--limit", "max_streams=16000", "--limit", "max_connections=16000",
            ]  # fmt: skip
            if name != "streamgauge":
                environment = {
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{upstream.port}/v1/traces",
                    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                }
        case "litellm":
            if not Path(LITELLM).exists():
                raise NotHereError(f"there is no {LITELLM}; name litellm's proxy by BENCH_LITELLM")
            config = _written(folder, "litellm.yaml", _LITELLM.format(**where))
            command = [
                LITELLM, "--config", str(config), "--host", "127.0.0.1", "--port", str(running.port),
                "--num_workers", "1", "--telemetry", "False",
            ]  # fmt: skip
            environment = {
                "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
                "LITELLM_MASTER_KEY": wire.KEY,  # it starts with none only if told that this is dangerous
            }  # fmt: skip
            within_s = 120.0
        case _:
            raise NotHereError(f"nobody knows {name}")
    _start(running, pinned(PROXY_CORE, command), within_s, environment)
    return running


def _start(running: Running, command: list[str], within_s: float, environment: dict[str, str]) -> None:
    assert running.log is not None
    with running.log.open("wb") as log:
        running.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
        )
    running.wait(within_s)


def _streamgauge() -> list[str]:
    """The command of this environment; `BENCH_STREAMGAUGE` names another, as under a profiler."""
    return os.environ.get("BENCH_STREAMGAUGE", f"{sys.executable} -m streamgauge").split()


def _written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _peer(name: str) -> str:
    here = PEERS / "usr" / "sbin" / name
    found = str(here.resolve()) if here.exists() else shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if not found:
        raise NotHereError(f"there is no {name}: bench/http/get_peers")
    return found


def _libraries() -> dict[str, str]:
    folders = [str(path.resolve()) for path in PEERS.glob("usr/lib/*-linux-gnu")]
    return {"LD_LIBRARY_PATH": ":".join(folders)} if folders else {}


def version(name: str) -> str:
    """What a candidate says that it is."""
    match name:
        case "nginx" | "haproxy":
            shown = subprocess.run(
                [_peer(name), "-v"], capture_output=True, text=True, env=os.environ | _libraries(), check=True
            )
            return (shown.stdout + shown.stderr).splitlines()[0].strip()
        case "litellm":
            python = Path(LITELLM).parent / "python"
            asked = "from importlib.metadata import version; print('litellm', version('litellm'))"
            return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
        case _:
            return name
