"""Drop-in for AIECS agents: any instance of `BaseAIAgent`, also of a class of the user's own.

`execute_task_streaming` is watched: each call of it is one run. `process_message_streaming`, and the recovery built on
streams, go through the twin's own `execute_task_streaming` and are seen there.

The events say little of model calls: no tokens, no retries, no end. So the twin has another `llm_client`, itself a twin
of the user's, which tells of each call that the agent makes while it streams. The agent looks its client up for each
call, which is what makes this work, whether it was initialised before or after it was wrapped.

Source: aiecs 2.2.0, domain/agent/base_agent.py (`_stream_llm`, `_call_llm`, `_iter_user_stream_tokens`), llm/clients/*.
"""

from __future__ import annotations

import functools
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from streamgauge.clients._twin import original, twin
from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]

# What AIECS's model clients call their provider, where the conventions call it otherwise.
_PROVIDERS = {
    "anthropicvertex": "anthropic",
    "googleai": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "vertexmaas": "gcp.vertex_ai",
    "xai": "x_ai",
}


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of an agent; None for all else."""
    from aiecs.domain.agent import BaseAIAgent, LLMAgent

    if not isinstance(obj, BaseAIAgent):
        return None
    agent = original(obj)  # one that is wrapped already is wrapped anew, not twice
    kind = type(agent)
    watch = _Watch(gauge, hidden_thoughts=isinstance(agent, LLMAgent))
    methods: dict[str, Any] = {
        "execute_task_streaming": _execute(kind.execute_task_streaming, watch),
        "process_message_streaming": _process(kind.process_message_streaming, watch),
    }
    for name in ("llm_client", "_llm_client"):  # an agent has one, or the other, or both: `_resolved_llm_client`
        if not hasattr(kind, name):
            methods[name] = _client_property(name, watch)
    return twin(agent, methods)


class _Watch:
    """What the twin's methods share."""

    def __init__(self, gauge: Gauge, *, hidden_thoughts: bool) -> None:
        self.gauge = gauge
        self.hidden_thoughts = hidden_thoughts
        """The agent's stream has no events for the model's reasoning: LLMAgent's."""
        self.taps: WeakSet[Any] = WeakSet()
        """The agent's own runs: a model call in another one is not to be told there."""
        self.messages: WeakValueDictionary[int, _Around] = WeakValueDictionary()
        """Runs that `process_message_streaming` has opened, and whose events are still to come, by their taps' ids."""
        self.calls = count(1)
        self.client: tuple[Any, Any] | None = None
        """(the user's model client, its twin)"""

    def open(self, agent: Any, context: Any = None) -> Any:
        try:
            facts = _facts(agent, context)
        except Exception:  # a class of the user's own may keep anything under these names, and its stream must not fail
            facts = {}
        tap = self.gauge.open(dialect="aiecs", **facts)
        self.taps.add(tap)
        client = getattr(agent, "llm_client", None) or getattr(agent, "_llm_client", None)
        if client is not None and original(client) is not client:
            tap.aside("model.told")
        return tap

    def current(self) -> Any | None:
        """The run of this agent that is being read."""
        tap = self.gauge.current()
        return tap if tap is not None and tap in self.taps else None

    def claimed(self) -> Any | None:
        """The run that is open already for the stream that now begins: its message's."""
        tap = self.gauge.current()
        around = self.messages.pop(id(tap), None)
        if around is None:
            return None
        around.inside = True
        return tap

    def twin_of(self, client: Any) -> Any:
        if self.client is None or self.client[0] is not client:
            self.client = client, _client_twin(client, self)
        return self.client[1]


# The agent's streams --------------------------------------------------------------------------------------------


def _execute(method: Callable[..., Any], watch: _Watch) -> Callable[..., Any]:
    @functools.wraps(method)
    def execute_task_streaming(self: Any, *args: Any, **kwargs: Any) -> Any:
        tap = watch.claimed() or watch.open(self, kwargs.get("context", args[1] if len(args) > 1 else None))
        try:
            source = method(self, *args, **kwargs)
        except BaseException as error:
            tap.end(error)
            raise
        return watch.gauge.stream(source, tap)

    return execute_task_streaming


def _process(method: Callable[..., Any], watch: _Watch) -> Callable[..., Any]:
    """The caller's end of a message is the run's end at once: the agent leaves its inner stream to be collected, which
    is later."""

    @functools.wraps(method)
    def process_message_streaming(self: Any, *args: Any, **kwargs: Any) -> Any:
        tap = watch.open(self)
        around: Any = _Around(tap)
        watch.messages[id(tap)] = around
        try:
            source = method(self, *args, **kwargs)
        except BaseException as error:
            tap.end(error)
            raise
        return watch.gauge.stream(source, around)

    return process_message_streaming


class _Around:
    """A run's tap, for a stream around the stream that the tap reads: it ends with this one, but reads nothing of it,
    unless there is nothing inside to read."""

    def __init__(self, tap: Any) -> None:
        self._tap = tap
        self.inside = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tap, name)

    def read(self, data: Any, at: int) -> Any:
        return () if self.inside else self._tap.read(data, at)

    def record(self, signals: Any, asked: int, at: int) -> None:
        if not self.inside:
            self._tap.record(signals, asked, at)

    def feed(self, data: Any, asked: int, at: int) -> None:
        if not self.inside:
            self._tap.feed(data, asked, at)


def _facts(agent: Any, context: Any) -> dict[str, Any]:
    config = agent.get_config()
    provider = _text(getattr(agent, "llm_client", None), "provider_name").lower()
    session = context.get("session_id") if isinstance(context, Mapping) else None
    return {
        "agent_name": _text(agent, "name") or _text(agent, "agent_id"),
        "model": _text(config, "llm_model"),
        "provider_name": _PROVIDERS.get(provider, provider),
        "conversation_id": session if isinstance(session, str) else "",
    }


# The model client -----------------------------------------------------------------------------------------------


def _client_property(name: str, watch: _Watch) -> property:
    def get(self: Any) -> Any:
        try:
            client = self.__dict__[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None
        return None if client is None else watch.twin_of(client)

    def put(self: Any, client: Any) -> None:
        self.__dict__[name] = original(client)

    def remove(self: Any) -> None:
        if self.__dict__.pop(name, self) is self:
            raise AttributeError(name)

    return property(get, put, remove)


def _client_twin(client: Any, watch: _Watch) -> Any:
    """A model client that tells of its calls; the client itself where it cannot be told of."""
    kind = type(client)
    if not callable(getattr(kind, "stream_text", None)) or "stream_text" in getattr(client, "__dict__", {}):
        return client
    methods: dict[str, Any] = {"stream_text": _stream_text(kind.stream_text, watch)}
    if callable(getattr(kind, "generate_text", None)):
        methods["generate_text"] = _generate_text(kind.generate_text, watch)
    try:
        return twin(client, methods)
    except TypeError:  # no subclass can be made of it
        return client


def _stream_text(method: Callable[..., Any], watch: _Watch) -> Callable[..., Any]:
    @functools.wraps(method)
    def stream_text(self: Any, *args: Any, **kwargs: Any) -> Any:
        tap = watch.current()
        if tap is None:
            return method(self, *args, **kwargs)
        call = {"call": str(next(watch.calls)), "stream": True}
        tap.aside("model.opened", call | {"model": kwargs.get("model")})
        try:
            source = method(self, *args, **kwargs)
        except BaseException as error:
            tap.aside("model.closed", call | _failure(error))
            raise
        return _ModelStream(source, tap, call, self, watch.hidden_thoughts)

    return stream_text


def _generate_text(method: Callable[..., Any], watch: _Watch) -> Callable[..., Any]:
    @functools.wraps(method)
    async def generate_text(self: Any, *args: Any, **kwargs: Any) -> Any:
        tap = watch.current()
        if tap is None:
            return await method(self, *args, **kwargs)
        call = {"call": str(next(watch.calls)), "stream": False}
        tap.aside("model.opened", call | {"model": kwargs.get("model")})
        try:
            response = await method(self, *args, **kwargs)
        except BaseException as error:
            tap.aside("model.closed", call | _failure(error))
            raise
        tap.aside("model.closed", call | _told_by(response, self))
        return response

    return generate_text


class _ModelStream:
    """A model's stream, read one for one; all but the reading is the source's."""

    __slots__ = ("__weakref__", "_call", "_client", "_hidden", "_next", "_source", "_tap")

    def __init__(self, source: Any, tap: Any, call: dict[str, Any], client: Any, hidden: bool) -> None:
        self._source = source
        self._next = type(source).__anext__.__get__(source) if hasattr(source, "__anext__") else None
        self._tap = tap
        self._call = call
        self._client = client
        self._hidden = hidden

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # what isinstance asks
        return self._source.__class__

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_source"), name)

    def __aiter__(self) -> Any:
        if self._next is None:  # an iterable: a `TypeError` of the source's own where it is not even that
            iterator = aiter(self._source)
            self._next = type(iterator).__anext__.__get__(iterator)
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await self._next()  # type: ignore[misc]
        except StopAsyncIteration:
            self._tap.aside("model.closed", self._call)
            raise
        except BaseException as error:
            self._tap.aside("model.closed", self._call | _failure(error))
            raise
        kind = getattr(chunk, "type", None)  # a chunk, or plain text
        if kind == "usage":
            self._tap.aside("model.usage", self._call | {"usage": _usage(_mapping(chunk, "usage"), self._client)})
        elif self._hidden and kind == "thought":
            self._tap.aside("model.thought", {"content": _text(chunk, "content")})
        return chunk


def _told_by(response: Any, client: Any) -> dict[str, Any]:
    metadata = _mapping(response, "metadata")
    counts = {name: getattr(response, name, None) for name in _COUNTS}
    return {
        "model": getattr(response, "model", None),
        "id": metadata.get("response_id"),
        "finish_reason": metadata.get("finish_reason") or metadata.get("stop_reason"),
        "usage": _usage(counts, client),
    }


_COUNTS = ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_creation_tokens", "thinking_tokens")


def _usage(usage: Mapping[str, Any], client: Any) -> dict[str, Any]:
    """As OpenAI counts: cached tokens are part of the prompt's, and the model's thoughts of what it completed."""
    prompt, completion, read, written, thoughts = (
        value if (value := usage.get(name)).__class__ is int else None for name in _COUNTS
    )
    provider = _text(client, "provider_name").lower()
    if prompt is not None and provider.startswith("anthropic"):
        prompt += (read or 0) + (written or 0)
    if completion is not None and provider in ("googleai", "vertex"):
        completion += thoughts or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, CancelledError | GeneratorExit):
        return {"outcome": "cancelled" if isinstance(error, CancelledError) else "abandoned"}
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    try:
        message = str(error)
    except Exception:  # an exception whose __str__ fails has no message
        message = ""
    return {"outcome": "failed", "error_type": f"{module}{kind.__qualname__}", "message": message}


def _mapping(holder: Any, name: str) -> Mapping[str, Any]:
    value = getattr(holder, name, None)
    return value if isinstance(value, Mapping) else {}


def _text(holder: Any, name: str) -> str:
    value = getattr(holder, name, None)
    return value if isinstance(value, str) else ""
