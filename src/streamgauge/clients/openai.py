"""Drop-in for OpenAI's client: `OpenAI`, `AsyncOpenAI`, and their subclasses for Azure and Bedrock.

Each request that it sends is watched, with each of its retries as one of its own: chat completions and responses by
their dialects, all else without meaning. What the SDK makes of an answer (streams, helpers, raw responses, parsed
objects) is its own.

Source: openai 3.54.0 (on httpx2), 1.40.0 (on httpx).
"""

from __future__ import annotations

from typing import Any

from streamgauge.clients._http import named, sdk_client
from streamgauge.clients._twin import original
from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]

_PROVIDERS = {
    "AzureOpenAI": "azure.ai.openai",
    "AsyncAzureOpenAI": "azure.ai.openai",
    "BedrockOpenAI": "aws.bedrock",
    "AsyncBedrockOpenAI": "aws.bedrock",
}


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of a client; None for all else."""
    if original(obj) is not obj:
        return obj  # a twin already
    from openai import AsyncOpenAI, OpenAI

    if isinstance(obj, OpenAI | AsyncOpenAI):
        return sdk_client(obj, gauge.watch(provider_name=named(obj, _PROVIDERS)))
    return None
