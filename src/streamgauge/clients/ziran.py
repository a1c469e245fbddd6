"""Drop-ins for ZIRAN: agent adapters, protocol handlers and model clients.

In goes an instance of `BaseAgentAdapter`, `BaseProtocolHandler` or `BaseLLMClient`, also of a subclass of the user's
own; out comes its twin, whose one streaming method is watched. Each call of that method is one run. What the base
classes make of `invoke`, `send` or `complete` is seen as the stream that it is given out as: the twin leaves those
alone.

Source: ziran 0.42.0, `domain/interfaces/adapter.py`, `infrastructure/adapters/*`, `infrastructure/llm/*`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from streamgauge.clients._twin import twin
from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# What ZIRAN and LiteLLM call a provider, where the conventions call it otherwise.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
# Adapters and handlers that speak to one provider's API only. By name: each needs a package of its own to be imported.
_API_OF = {
    "AnthropicAdapter": "anthropic",
    "BedrockAdapter": "aws.bedrock",
    "OpenAIProtocolHandler": "openai",
}


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of an adapter, a protocol handler or a model client; None for all else."""
    from ziran.domain.interfaces.adapter import BaseAgentAdapter
    from ziran.infrastructure.adapters.protocols import BaseProtocolHandler
    from ziran.infrastructure.llm.base import BaseLLMClient

    if isinstance(obj, BaseAgentAdapter):
        return twin(obj, {"stream": _watched(obj, "stream", gauge, "ziran", "invoke_agent", _of_adapter)})
    if isinstance(obj, BaseProtocolHandler):
        return twin(obj, {"stream_send": _watched(obj, "stream_send", gauge, "ziran", "invoke_agent", _of_handler)})
    if isinstance(obj, BaseLLMClient):
        return twin(obj, {"stream_complete": _watched(obj, "stream_complete", gauge, "ziran-llm", "chat", _of_client)})
    return None


def _watched(
    obj: Any,
    name: str,
    gauge: Gauge,
    dialect: str,
    operation: str,
    known: Callable[[Any, Mapping[str, Any]], dict[str, Any]],
) -> Callable[..., Any]:
    original = getattr(type(obj), name)

    @functools.wraps(original)
    def streaming(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            facts = known(self, kwargs)
        except Exception:  # a subclass may keep anything under these names, and its stream must not fail for it
            facts = {}
        tap = gauge.open(dialect=dialect, operation=operation, **facts)
        try:
            source = original(self, *args, **kwargs)
        except BaseException as error:
            tap.end(error)
            raise
        return gauge.stream(source, tap)

    return streaming


# What the objects know, asked at each call: an adapter makes its handler at the first one -----------------------


def _of_adapter(adapter: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    config = getattr(adapter, "_config", None)
    openai = getattr(config, "openai", None) if getattr(config, "protocol", None) == "openai" else None
    facts = {
        "model": _text(adapter, "model") or _text(adapter, "_model") or _text(openai, "model"),
        "provider_name": "openai" if openai is not None else _api_of(adapter),
        "agent_name": _agent_name(adapter),
        "conversation_id": _text(adapter, "_session_id") or _text(adapter, "_thread_id"),
        **_server(_text(config, "url")),
    }
    # The handler knows better: the user may have put in another than the configuration says.
    return facts | {
        name: fact for name, fact in _of_handler(getattr(adapter, "_handler", None), kwargs).items() if fact
    }


def _of_handler(handler: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    config = getattr(handler, "_config", None)
    openai = getattr(handler, "_openai_mode", None)  # the SSE handler's; False: it sends no model
    return {
        "model": "" if openai is False else _text(handler, "_model"),
        "provider_name": "openai" if openai else _api_of(handler),
        "agent_name": _text(getattr(handler, "_agent_card", None), "name"),
        **_server(_text(handler, "_ws_url") or _text(handler, "_stream_url") or _text(config, "url")),
    }


def _of_client(client: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    config = getattr(client, "config", None)
    given = kwargs.get("model")  # goes to LiteLLM in place of the configured one
    model = given if isinstance(given, str) and given else _text(config, "model")
    provider = _text(config, "provider")
    prefix, slash, _ = model.partition("/")
    if provider == "litellm" and slash:
        provider = prefix
    return {
        "model": model,
        "provider_name": _PROVIDERS.get(provider, provider),
        **_server(_text(config, "base_url")),
    }


def _api_of(obj: Any) -> str:
    return next((_API_OF[kind.__name__] for kind in type(obj).__mro__ if kind.__name__ in _API_OF), "")


def _agent_name(adapter: Any) -> str:
    """The name that the agent goes by: the adapter's own, or that of what it adapts."""
    adapted = (getattr(adapter, name, None) for name in ("agent", "crew", "graph"))
    return next((name for holder in (adapter, *adapted) if (name := _text(holder, "name"))), "")


def _server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if not parts.hostname:
        return {}
    return {"server_address": parts.hostname, "server_port": parts.port or _PORTS.get(parts.scheme, 0)}


def _text(holder: Any, name: str) -> str:
    value = getattr(holder, name, None)
    return value if isinstance(value, str) else ""
