"""Drop-ins for shipit_agent: an `Agent`, a chat session, and the classes that drive agents.

In goes one of these objects, also of a subclass of the user's own; out comes its twin, whose streaming methods are
watched. Each call of one is a run. What is built on them (`stream_sse`, `run_live`, `narrate`, `packets_v2`,
`stream_packets`) is seen through them. A stream is read and closed in the caller's own thread, nowhere else: its agent
holds a lock of that thread while it is open.

Source: shipit-agent 2.2.1, `agent.py`, `agent_mixin.py`, `chat_session.py`, and the classes in `_DRIVERS`.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

from streamgauge.clients._twin import original, twin
from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]

_DIALECT = "shipit-agent"
_CANCEL = "cancel"  # the dialect's name for: the agent was told to stop

_DRIVERS = frozenset(
    {
        "AdaptiveAgent", "AgentTeam", "ComputerUseAgent", "DeepAgent", "GoalAgent", "PersistentAgent", "Pipeline",
        "ReflectiveAgent", "ShipAgent", "ShipCoordinator", "ShipCrew", "Supervisor",
    }
)  # fmt: skip
"""By name: most are in modules of their own that a program may never import."""

# Adapters that speak to one provider's API only.
_API_OF = {
    "AnthropicChatLLM": "anthropic",
    "BedrockChatLLM": "aws.bedrock",
    "BedrockGemmaChatLLM": "aws.bedrock",
    "GeminiChatLLM": "gcp.gemini",
    "GroqChatLLM": "groq",
    "OpenAIChatLLM": "openai",
    "VertexAIChatLLM": "gcp.vertex_ai",
}


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of an agent, of a chat session or of a class that drives agents; None for all else."""
    if original(obj) is not obj:
        return obj  # a twin already
    known = {kind.__name__ for kind in type(obj).__mro__ if kind.__module__.partition(".")[0] == "shipit_agent"}
    if "Agent" in known:
        return _agent(obj, gauge)

    def again(made: Any) -> Any:
        return wrap(made, gauge) or made

    if "AgentChatSession" in known:
        if original(obj.agent) is not obj.agent:
            return obj  # it streams from its agent's clones, which are watched
        return twin(obj, {"stream": _watched(obj, "stream", gauge, _of_session)}, again=again)
    if known & _DRIVERS:
        methods = {"stream": _watched(obj, "stream", gauge, _of_driver)}
        if "DeepAgent" in known:
            methods["chat"] = _giving_sessions(obj, "chat", gauge)
        return twin(obj, methods, again=again)
    return None


def _agent(obj: Any, gauge: Gauge) -> Any:
    opened = _Opened()

    def as_tool(self: Any, **kwargs: Any) -> Any:
        # Its events are in the stream of the agent that it is a tool of; seen here too they would count twice.
        return obj.as_tool(**kwargs)

    def cancel(self: Any) -> None:
        # All that the stream says of it is to end, so its tap is told. A run that still completes has completed.
        if getattr(obj, "_active_runtime", None) is not None:
            for tap in opened.taps():
                tap.aside(_CANCEL)
        obj.cancel()

    kind = type(obj)
    return twin(
        obj,
        {
            "stream": _watched(obj, "stream", gauge, _of_agent, opened),
            "astream": _watched(obj, "astream", gauge, _of_agent, opened),
            "stream_v2": _watched(obj, "stream_v2", gauge, _of_agent, opened),
            "chat_session": _giving_sessions(obj, "chat_session", gauge),
            "as_tool": functools.wraps(kind.as_tool)(as_tool),
            "cancel": functools.wraps(kind.cancel)(cancel),
        },
        again=lambda made: wrap(made, gauge) or made,
    )


def _giving_sessions(obj: Any, name: str, gauge: Gauge) -> Callable[..., Any]:
    method = getattr(obj, name)

    @functools.wraps(getattr(type(obj), name))
    def chat(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = method(*args, **kwargs)
        return wrap(session, gauge) or session

    return chat


class _Opened:
    """The taps of one agent's streams; those that nobody holds any more go by themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taps: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tap: Any) -> None:
        with self._lock:
            self._taps.add(tap)

    def taps(self) -> list[Any]:
        with self._lock:
            return [tap for tap in self._taps if not tap.ended]


def _watched(
    obj: Any, name: str, gauge: Gauge, known: Callable[[Any], dict[str, Any]], opened: _Opened | None = None
) -> Callable[..., Any]:
    # The object's own method, not the twin's: what it calls on `self` is then not seen a second time.
    method = getattr(obj, name)

    @functools.wraps(getattr(type(obj), name))
    def streaming(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            facts = known(obj)
        except Exception:  # a subclass may keep anything under these names, and its stream must not fail for it
            facts = {}
        tap = gauge.open(dialect=_DIALECT, **facts)
        try:
            source = method(*args, **kwargs)
        except BaseException as error:
            tap.end(error)
            raise
        if opened is not None:
            opened.add(tap)
        return gauge.stream(source, tap)

    return streaming


# What the objects know, asked at each call: they are the user's to change ------------------------------------------


def _of_agent(agent: Any) -> dict[str, Any]:
    llm = getattr(agent, "llm", None)
    return {
        "agent_name": _text(agent, "name"),
        "conversation_id": _text(agent, "session_id"),
        "model": _text(llm, "model"),
        "provider_name": next((_API_OF[kind.__name__] for kind in type(llm).__mro__ if kind.__name__ in _API_OF), ""),
    }


def _of_session(session: Any) -> dict[str, Any]:
    return {**_of_agent(session.agent), "conversation_id": _text(session, "session_id")}


def _of_driver(driver: Any) -> dict[str, Any]:
    agent = getattr(driver, "agent", None)  # a `ShipAgent`'s
    name = _text(driver, "name") or _text(agent, "name") or type(driver).__name__
    return {**_of_agent(driver if agent is None else agent), "agent_name": name}


def _text(holder: Any, name: str) -> str:
    value = getattr(holder, name, None)
    return value if isinstance(value, str) else ""
