"""The scripted agent and the load, as the stack starts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from livestack.processes import ROOT, Process

STACK = ROOT / "dashboards" / "stack"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """Its URL."""
    process = Process.python(STACK / "agent.py", "--port", "0", cwd=tmp_path, name="agent")
    yield process.said(r"http://\S+")[0]
    process.end()
    assert len(process.log) == 1, process.log


def _asked(agent: str, path: str, script: str = "", **body: object) -> httpx.Response:
    return httpx.post(f"{agent}{path}", headers={"x-script": script}, json=body, trust_env=False)


def test_an_agent_does_what_it_is_told(agent: str) -> None:
    assert httpx.get(f"{agent}/healthz", trust_env=False).status_code == 200
    whole = _asked(agent, "/v1/chat/completions", "first=0 chunks=3 pace=0 tool=search", model="gpt-5")
    assert whole.text.count('"content":') == 3
    assert '"name":"search"' in whole.text
    assert whole.text.endswith("data: [DONE]\n\n")
    assert _asked(agent, "/v1/messages", "status=429").status_code == 429
    with pytest.raises(httpx.RemoteProtocolError):
        _asked(agent, "/v1/messages", "first=0 pace=0 end=cut")


def test_an_agent_does_worse_after_a_fault_and_well_again(agent: str) -> None:
    path, script = "/v1/messages", "first=0 chunks=4 pace=0"
    assert _asked(agent, "/fault", kind="error_inside_200", one_in=2).json() == {"kind": "error_inside_200"}
    ends = ["overloaded_error" in _asked(agent, path, script).text for _ in range(4)]
    assert ends == [False, True, False, True]
    assert _asked(agent, "/fault", kind="none").is_success
    assert "message_stop" in _asked(agent, path, script).text


@pytest.mark.parametrize(
    ("path", "script", "body"),
    [
        ("/v1/messages", "speed=3", {}),
        ("/v1/messages", "first=soon", {}),
        ("/fault", "", {"kind": "flood"}),
        ("/fault", "", {"kind": "stall", "one_in": 0}),
        ("/fault", "", {"size": 1}),
    ],
)
def test_an_agent_says_what_it_does_not_know(agent: str, path: str, script: str, body: dict[str, object]) -> None:
    answer = _asked(agent, path, script, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert "message_stop" in _asked(agent, "/v1/messages", "first=0 chunks=2 pace=0").text


def test_a_load_prints_what_it_was_asked_to(agent: str, tmp_path: Path) -> None:
    given = ("--proxy", agent, "--agent", agent, "--streams", "6", "--seconds", "2", "--totals")
    load = Process.python(STACK / "load.py", *given, cwd=tmp_path, name="load")
    totals = json.loads(load.said(r"\{.*\}")[0])
    load.end()
    assert len(load.log) == 1
    assert sum(totals["streams"].values()) >= 2
    assert totals["chunks"] >= 10
    assert totals["unreached"] == 0
