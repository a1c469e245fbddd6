"""A real trace store: Arize Phoenix, of an environment of its own. It takes OTLP over HTTP and answers over REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from livestack.processes import ROOT, Process, free_port, until

__all__ = ["Phoenix"]


class Phoenix:
    def __init__(self, folder: Path) -> None:
        """Begun; it takes about ten seconds until it is `ready`."""
        folder.mkdir()
        program = ROOT / ".venv-phoenix" / "bin" / "phoenix"
        if not program.exists():
            pytest.fail("there is no .venv-phoenix: `make test-dashboards` makes it")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = Process(
            program, "serve", cwd=folder, name="phoenix",
            variables={
                "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(free_port()),
                "PHOENIX_WORKING_DIR": str(folder), "PHOENIX_TELEMETRY_ENABLED": "false",
            },
        )  # fmt: skip
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    @property
    def traces(self) -> str:
        """Where spans go."""
        return f"{self.url}/v1/traces"

    def ready(self) -> None:
        until(self._healthy, told="Phoenix answers")

    def _healthy(self) -> bool:
        assert self.process.alive(), self.process.log
        try:
            return self._client.get("/healthz").is_success
        except httpx.TransportError:
            return False

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """All that it has of a trace."""
        answer = self._client.get("/v1/projects/default/spans", params={"trace_id": trace_id})
        if answer.status_code == 404:  # the project is there with its first span
            return []
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return found

    def stop(self) -> None:
        self._client.close()
        self.process.end()
