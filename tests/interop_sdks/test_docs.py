"""The code in the documentation that needs the real packages: it runs as its reader would run it, against a scripted
service, and what it streams is watched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop_sdks.mcp_server import mcp_server
from interop_sdks.scripts import A2A, AG_UI, agent_card, wire
from interop_sdks.server import Answer, Heard, Server
from pages import SDKS, Block, blocks
from streamgauge.capture import read

BLOCKS = [block for block in blocks("python") if block.is_program and not block.imports.isdisjoint(SDKS)]
WATCHED = {
    "a2a": "a2a", "ag-ui": "ag-ui", "anthropic": "anthropic", "bedrock": "bedrock", "cohere": "cohere",
    "gemini": "gemini", "langchain": "openai-chat", "langgraph": "langgraph", "litellm": "openai-chat", "mcp": "mcp",
    "mistral": "mistral", "ollama": "ollama", "openai-agents": "openai-responses", "openai-chat": "openai-chat",
    "openai-responses": "openai-responses", "pydantic-ai": "openai-chat",
}  # fmt: skip
"""Page: the dialect that its programs' streams are of. Of the other pages, any but `generic`."""
ANSWERS = {
    r"/chat/completions$": wire("openai-chat-text"),
    r"/responses$": wire("openai-responses-text"),
    r"/v1/messages$": wire("anthropic-text"),
    r":streamGenerateContent$": wire("gemini-text"),
    r"/api/chat$": wire("ollama-text"),
    r"/v2/chat$": wire("cohere-text"),
    r"/conversations$": wire("mistral-conversation-tool"),
    r"/converse-stream$": wire("bedrock-text"),
    r"/runs/stream$": wire("langgraph-text"),
    r"/agent$": AG_UI,
    r"/a2a$": A2A,
}
SERVICE = re.compile(r"https?://[\w.-]+(:\d+)?")
TIMEOUT_S = 50


class Service(Server):
    """It answers by path."""

    def next(self, heard: Heard) -> Answer:
        path = heard.target.partition("?")[0]
        if path.endswith("/agent-card.json"):
            return agent_card(self.url)
        if b'"mistral-' in heard.body and path.endswith("/chat/completions"):  # the path is everybody's
            return wire("mistral-text")
        return next(answer for pattern, answer in ANSWERS.items() if re.search(pattern, path))


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as found:
        yield found


@pytest.fixture(scope="module")
def tools() -> Iterator[str]:
    with mcp_server() as found:
        yield found.removesuffix("/mcp")


def environment(url: str, captures: Path) -> dict[str, str]:
    """Each SDK's own variables."""
    keys = ("ANTHROPIC", "CO", "GEMINI", "LANGGRAPH", "MISTRAL", "OPENAI")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMGAUGE_"))}
    return {
        **ours,
        **{f"{name}_API_KEY": "k" for name in keys},
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_BASE_URL": url,
        "GOOGLE_GEMINI_BASE_URL": url,
        "OLLAMA_HOST": url,
        "CO_API_URL": url,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "STREAMGAUGE_CAPTURE_DIR": str(captures),
    }


def test_every_page_of_a_package_has_programs() -> None:
    assert set(WATCHED) <= {block.page.stem for block in BLOCKS}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_it_runs_and_is_watched(block: Block, service: Service, tools: str, tmp_path: Path) -> None:
    program = SERVICE.sub(tools if "mcp" in block.imports else service.url, block.text)
    if "mistralai" in block.imports:  # it has no variable for its server
        program = f"import mistralai.client.sdkconfiguration as its\nits.SERVERS['global'] = '{service.url}'\n{program}"
    captures = tmp_path / "captures"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment(service.url, captures), capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if block.output is not None:
        assert done.stdout.splitlines() == block.output.splitlines()
    watched = {read(file).request.dialect for file in captures.glob("*")}
    expected = WATCHED.get(block.page.stem)
    assert watched == {expected} if expected else watched and "generic" not in watched
