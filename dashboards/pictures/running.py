"""The stack without containers: agent, proxy, load and Prometheus as processes here, on free ports of loopback.

They are told by the files that docker-compose.yml has for them, with other addresses in them.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

__all__ = ["PATIENCE_S", "prometheus_config", "running", "until"]

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "dashboards"
PATIENCE_S = 60.0


def until(what: Callable[[], Any], told: str) -> Any:
    """What `what` gives, once that is true.

    Raises: TimeoutError
    """
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"not after {PATIENCE_S:.0f} s: {told}")
        time.sleep(0.1)
    return found


def prometheus_config(proxy: str, scrape_s: float) -> dict[str, Any]:
    """The stack's, for a proxy elsewhere, without what watches the stack's other parts.

    Args:
        proxy: host and port of its admin port.
    """
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text("utf-8"))
    (job,) = (each for each in config["scrape_configs"] if each["job_name"] == "streamgauge")
    job["static_configs"] = [{"targets": [proxy]}]
    config["scrape_configs"] = [job]
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{scrape_s * 1000:.0f}ms")
    config["rule_files"] = [str(FOLDER / "prometheus" / name) for name in config["rule_files"]]
    del config["alerting"]
    return config


@contextmanager
def running(folder: Path, scrape_s: float, streams: int) -> Iterator[str]:
    """All of it, from start to end.

    Args:
        folder: an empty one, for settings and data.

    Yields: Prometheus' URL, once it has scraped the proxy.
    Raises: FileNotFoundError where there is no Prometheus.
    """
    command = shutil.which("prometheus", path=f"{ROOT / '.tools/usr/bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if command is None:
        raise FileNotFoundError("there is no prometheus: scripts/get_tools gets it")
    with ExitStack() as stack:
        collector = stack.enter_context(_collector())

        def started(name: str, *arguments: str) -> subprocess.Popen[str]:
            log = stack.enter_context((folder / f"{name}.log").open("w"))
            environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "STREAMGAUGE_"))}
            process = subprocess.Popen(  # noqa: S603 (our own commands)
                arguments, cwd=folder, text=True,
                env={**environ, "PYTHONUNBUFFERED": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
            stack.callback(_ended, process)
            return process

        def address(process: subprocess.Popen[str], pattern: str) -> str:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(pattern, line)
            if found is None:
                raise RuntimeError(f"{process.args!r} said {line!r}; its log is in {folder}")
            return found[1]

        agent = address(
            started("agent", sys.executable, str(FOLDER / "stack" / "agent.py"), "--port", "0"), r"(http://\S+)"
        )
        settings = folder / "streamgauge.toml"
        settings.write_text(
            (FOLDER / "stack" / "streamgauge.toml").read_text("utf-8").replace("http://agent:8000", agent)
        )
        proxy = started(
            "proxy", sys.executable, "-m", "streamgauge", "proxy", f"--config={settings}", "--port=0", "--admin-port=0",
            "--set", "traces_exporter=otlp", "--set", "metrics_exporter=prometheus", "--workers=2",
        )  # fmt: skip
        line = address(proxy, r"(http://.*)")
        callers, admin = re.findall(r"http://([\d.]+:\d+)", line)[:2]
        started(
            "load", sys.executable, str(FOLDER / "stack" / "load.py"), "--proxy", f"http://{callers}",
            "--agent", agent, "--streams", str(streams), "--rare-every", "20",
        )  # fmt: skip
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(prometheus_config(admin, scrape_s)))
        with socket.create_server(("127.0.0.1", 0)) as free:
            listen = f"127.0.0.1:{free.getsockname()[1]}"
        started(
            "prometheus", command, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={listen}", "--enable-feature=exemplar-storage", "--log.level=warn",
        )  # fmt: skip
        until(lambda: _scraped(f"http://{listen}"), "a scrape of the proxy")
        yield f"http://{listen}"


@contextmanager
def _collector() -> Iterator[str]:
    """Takes all spans, and keeps none: exemplars are of spans that are sampled."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _scraped(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query=up==1", timeout=5) as answer:  # noqa: S310 (ours)
            return b'"value"' in answer.read()
    except (urllib.error.URLError, ConnectionError):
        return False


def _ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
