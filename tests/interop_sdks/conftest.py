"""The real SDKs, against scripted services on loopback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from interop_sdks.proxy import Proxy
from interop_sdks.server import Server

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of the packages are theirs; ours are errors here too."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default", "error:::streamgauge"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as found:
        yield found


@pytest.fixture(scope="session")
def proxy_command() -> list[str]:
    """How the proxy is started."""
    return [sys.executable, "-m", "streamgauge", "proxy"]


@pytest.fixture(scope="session")
def proxied(server: Server, proxy_command: list[str]) -> Iterator[Proxy]:
    """A proxy in front of the service."""
    with Proxy(proxy_command, server.url) as found:
        yield found
