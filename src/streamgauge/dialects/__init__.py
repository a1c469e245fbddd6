"""Dialects: one decoder for each agent system, chosen by name, never by guessing at content.

A dialect from outside registers itself by the entry-point group `streamgauge.dialects`: the entry point's name is the
dialect's, its object the `Dialect` subclass.
"""

from __future__ import annotations

import importlib
import re
from functools import cache, lru_cache

from streamgauge.dialects._dialect import NOTHING, Dialect, field, loaded, plain

__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "NOTHING",
    "PROGRAMS",
    "Dialect",
    "by_command",
    "by_path",
    "by_socket",
    "field",
    "find",
    "loaded",
    "names",
    "plain",
    "used",
]

ENTRY_POINT_GROUP = "streamgauge.dialects"

BUILT_IN = {
    "generic": "streamgauge.dialects.generic:Generic",
    "ziran": "streamgauge.dialects.ziran:Ziran",
    "ziran-llm": "streamgauge.dialects.ziran:ZiranLLM",
    "zag": "streamgauge.dialects.zag:Zag",
    "jaf": "streamgauge.dialects.jaf:Jaf",
    "jaf-run": "streamgauge.dialects.jaf_run:JafRun",
    "shipit-agent": "streamgauge.dialects.shipit_agent:ShipitAgent",
    "aiecs": "streamgauge.dialects.aiecs:Aiecs",
    "openai-chat": "streamgauge.dialects.openai_chat:OpenAIChat",
    "openai-responses": "streamgauge.dialects.openai_responses:OpenAIResponses",
    "cohere": "streamgauge.dialects.cohere:Cohere",
    "mistral": "streamgauge.dialects.mistral:Mistral",
    "anthropic": "streamgauge.dialects.anthropic:Anthropic",
    "gemini": "streamgauge.dialects.gemini:Gemini",
    "ollama": "streamgauge.dialects.ollama:Ollama",
    "bedrock": "streamgauge.dialects.bedrock:Bedrock",
    "ag-ui": "streamgauge.dialects.ag_ui:AgUi",
    "a2a": "streamgauge.dialects.a2a:A2a",
    "mcp": "streamgauge.dialects.mcp:Mcp",
    "vercel-ai": "streamgauge.dialects.vercel_ai:VercelAi",
    "langgraph": "streamgauge.dialects.langgraph:Langgraph",
    "jaf-http": "streamgauge.dialects.jaf_http:JafHttp",
    "ziran-sse": "streamgauge.dialects.ziran_sse:ZiranSse",
    "openai-realtime": "streamgauge.dialects.openai_realtime:OpenAIRealtime",
    "openai-responses-socket": "streamgauge.dialects.openai_responses_socket:OpenAIResponsesSocket",
    "gemini-live": "streamgauge.dialects.gemini_live:GeminiLive",
    "shipit-agent-socket": "streamgauge.dialects.shipit_agent_socket:ShipitAgentSocket",
    "ziran-socket": "streamgauge.dialects.ziran_socket:ZiranSocket",
    "jaf-socket": "streamgauge.dialects.jaf_socket:JafSocket",
    "ag-ui-socket": "streamgauge.dialects.ag_ui_socket:AgUiSocket",
    "claude-code": "streamgauge.dialects.claude_code:ClaudeCode",
    "codex": "streamgauge.dialects.codex:Codex",
    "gemini-cli": "streamgauge.dialects.gemini_cli:GeminiCli",
    "zag-wire": "streamgauge.dialects.zag_wire:ZagWire",
    "opencode": "streamgauge.dialects.opencode:Opencode",
    "copilot-cli": "streamgauge.dialects.copilot_cli:CopilotCli",
    "acp": "streamgauge.dialects.acp:Acp",
    "mcp-stdio": "streamgauge.dialects.mcp_stdio:McpStdio",
    "generic-messages": "streamgauge.dialects.generic_messages:GenericMessages",
}

PROGRAMS = {
    "claude-code": ("claude",),
    "codex": ("codex",),
    "gemini-cli": ("gemini",),
    "zag-wire": ("zag",),
    "opencode": ("opencode",),
    "copilot-cli": ("copilot",),
    "acp": ("acp",),
    "mcp-stdio": ("mcp", "modelcontextprotocol"),
}
"""Dialect: what, one of these, is in every command line that it claims, so that it need not be imported to know that it
does not. A process is not to wait for 40 dialects."""

_found: dict[str, type[Dialect]] = {}


def names() -> tuple[str, ...]:
    """All dialects that there are, built-in ones first."""
    from importlib import metadata  # 20 ms, and seldom needed

    outside = {point.name for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    return (*BUILT_IN, *sorted(outside - BUILT_IN.keys()))


def used(name: str) -> type[Dialect] | None:
    """The dialect of that name, if it was found before; else None."""
    return _found.get(name)


def find(name: str) -> type[Dialect] | None:
    """The dialect of that name; None where there is none."""
    dialect = _found.get(name)
    if dialect is None:
        if name in BUILT_IN:
            module, _, attribute = BUILT_IN[name].partition(":")
            dialect = getattr(importlib.import_module(module), attribute)
        else:
            from importlib import metadata

            for point in metadata.entry_points(group=ENTRY_POINT_GROUP, name=name):
                dialect = point.load()
                break
            else:
                return None
        if isinstance(dialect, type) and issubclass(dialect, Dialect):  # what is none is for the caller to refuse
            _found[name] = dialect
    return dialect


@cache
def _paths(of: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    found = []
    for name in names():
        try:
            kind = find(name)
        except Exception:  # noqa: S112 (somebody's that cannot be loaded: who asks for it by name is told)
            continue
        if isinstance(kind, type) and issubclass(kind, Dialect):
            found += [(re.compile(pattern), name) for pattern in getattr(kind, of)]
    return tuple(found)


@lru_cache(maxsize=1_024)  # an agent's paths are few
def by_path(path: str) -> str | None:
    """The name of the dialect whose answers a path gives, by the first that claims it; None where none does."""
    return next((name for pattern, name in _paths("paths") if pattern.search(path)), None)


def by_command(line: str) -> str | None:
    """The name of the dialect that claims a command line (as `shlex.join` gives it), by the first that does."""
    told = [name for name, parts in PROGRAMS.items() if any(part in line for part in parts)]
    for name in (*told, *(name for name in names() if name not in BUILT_IN)):
        try:
            kind = find(name)
            if kind is not None and any(re.search(pattern, line) for pattern in kind.commands):
                return name
        except Exception:  # noqa: S112 (somebody's that cannot be loaded: who asks for it by name is told)
            continue
    return None


def by_socket(path: str) -> str | None:
    """The same of a WebSocket connection's messages."""
    return next((name for pattern, name in _paths("sockets") if pattern.search(path)), None)
