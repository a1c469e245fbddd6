"""Drop-in for Anthropic's client: `Anthropic`, `AsyncAnthropic`, and the clients for Bedrock, Vertex,
Foundry, AWS and Google Cloud.

Each request that it sends is watched, with each of its retries as one of its own: messages by their dialect, all else
without meaning. What the SDK makes of an answer (streams, helpers, raw responses, parsed objects) is its own.

Source: anthropic 2.12.0 (on httpx2), 0.40.0 (on httpx).
"""

from __future__ import annotations

from typing import Any

from streamgauge.clients._http import named, sdk_client
from streamgauge.clients._twin import original
from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]

_PROVIDERS = {
    "BaseBedrockClient": "aws.bedrock",
    "BaseMantleClient": "aws.bedrock",
    "BaseVertexClient": "gcp.vertex_ai",
    "BaseGoogleCloudClient": "gcp.vertex_ai",
    "BaseFoundryClient": "azure.ai.inference",
}
_MAKERS = {"_middleware_chain": lambda client: client._build_middleware_chain()}


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of a client; None for all else."""
    if original(obj) is not obj:
        return obj  # a twin already
    from anthropic._base_client import AsyncAPIClient, SyncAPIClient

    if isinstance(obj, SyncAPIClient | AsyncAPIClient):
        makers = _MAKERS if hasattr(obj, "_build_middleware_chain") else {}
        return sdk_client(obj, gauge.watch(provider_name=named(obj, _PROVIDERS)), makers)
    return None
