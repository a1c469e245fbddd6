"""Drop-ins for JAF: the functions `run_streaming` and `run`.

`run_streaming` hands out the finished answer in slices, so its drop-in also puts a proxy around the model provider of
that run: what it sees of the model calls (first token, usage, errors) is told beside the stream. `run` has no stream;
its drop-in listens to the trace events, after the listener that the user has set.

JAF copies a run's context for its trace events, and a run fails whose context cannot be copied. Where the user listens,
that is so already. Where he does not, streamgauge listens only as long as the context can be copied, and otherwise
takes the proxy.

Source: jaf 2.6.22, core/streaming.py, core/engine.py, core/agent_tool.py, providers/model.py.
"""

from __future__ import annotations

import copy
import functools
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, NamedTuple

from streamgauge.clients._twin import twin
from streamgauge.transports.inprocess import Gauge

__all__ = ["wrap"]


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The drop-in of `jaf.run_streaming` or of `jaf.run`; None for all else."""
    match (getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)):
        case ("jaf.core.streaming", "run_streaming"):
            return _run_streaming(obj, gauge)
        case ("jaf.core.engine", "run"):
            return _run(obj, gauge)
    return None


def _run_streaming(original: Callable[..., Any], gauge: Gauge) -> Callable[..., Any]:
    @functools.wraps(original)
    def run_streaming(*args: Any, **kwargs: Any) -> Any:
        state, config = _given(args, kwargs)
        tap = gauge.open(dialect="jaf", **_facts(state, config))
        args, kwargs = _configured(args, kwargs, _changed(config, model_provider=_watched(config, state, tap)))
        try:
            source = original(*args, **kwargs)
        except BaseException as error:
            tap.end(error)
            raise
        return gauge.stream(source, tap)

    return run_streaming


def _run(original: Callable[..., Any], gauge: Gauge) -> Callable[..., Any]:
    @functools.wraps(original)
    async def run(*args: Any, **kwargs: Any) -> Any:
        state, config = _given(args, kwargs)
        theirs = getattr(config, "on_event", None)
        if isinstance(theirs, _Listener):  # an agent that runs as a tool: the outer run hears of it
            return await original(*args, **kwargs)
        tap = gauge.open(dialect="jaf-run", **_facts(state, config))
        context = getattr(state, "context", None)
        if theirs or _copyable(context):
            changed = _changed(config, on_event=_Listener(tap, theirs or None, context))
        else:
            changed = _changed(config, model_provider=_watched(config, state, tap))
        args, kwargs = _configured(args, kwargs, changed)
        try:
            with _inside(gauge, tap):
                result = await original(*args, **kwargs)
        except BaseException as error:
            tap.end(error)
            raise
        tap.aside("run.closed", _ending(result))  # nothing new where the listener has heard it
        tap.end()
        return result

    return run


@contextmanager
def _inside(gauge: Gauge, tap: Any) -> Iterator[None]:
    """The run's span is the current one, so that what its tools do becomes its child."""
    place = _PLACE.get()
    with gauge.inside(tap):
        try:
            yield
        finally:
            _PLACE.set(place)


# What goes in ---------------------------------------------------------------------------------------------------


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The run's state and configuration; None for what was not given, as JAF itself will complain."""
    return _argument(args, kwargs, 0, "initial_state"), _argument(args, kwargs, 1, "config")


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], index: int, name: str) -> Any:
    return args[index] if len(args) > index else kwargs.get(name)


def _configured(
    args: tuple[Any, ...], kwargs: dict[str, Any], config: Any, index: int = 1
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with another configuration where there is one."""
    if len(args) > index:
        return (*args[:index], config, *args[index + 1 :]), kwargs
    return args, kwargs | {"config": config} if "config" in kwargs else kwargs


def _changed(config: Any, **fields: Any) -> Any:
    """A copy of the configuration, with other fields; the user's own stays as it is."""
    try:
        changed = copy.copy(config)
        for name, value in fields.items():
            object.__setattr__(changed, name, value)  # RunConfig is frozen, and its copy is ours
    except Exception:  # no configuration after all: JAF is to complain of it, not we
        return config
    return changed


def _facts(state: Any, config: Any) -> dict[str, Any]:
    return {
        "agent_name": _text(state, "current_agent_name"),
        "model": _text(config, "model_override"),
        "conversation_id": _text(config, "conversation_id"),
    }


def _text(holder: Any, name: str) -> str:
    value = _field(holder, name)
    return value if isinstance(value, str) else ""


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _ending(result: Any) -> dict[str, str]:
    outcome = getattr(result, "outcome", None)
    error = getattr(outcome, "error", None)
    return {
        "status": _text(outcome, "status"),
        "error_type": _text(error, "_tag"),
        "message": _text(error, "detail") or _text(error, "reason"),
    }


# Trace events ---------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where in a run the code of this context is."""

    listener: _Listener
    run_id: str
    call_id: str = ""
    """Inside of this tool call."""
    generating: bool = False
    """Inside of a model call."""


_PLACE: ContextVar[_Place | None] = ContextVar("streamgauge_jaf_place", default=None)


class _Listener:
    """What JAF calls with each trace event: the user's own listener first, then the tap."""

    __slots__ = ("_context", "_speaker", "_tap", "_theirs", "silent")

    def __init__(self, tap: Any, theirs: Callable[[Any], Any] | None, context: Any) -> None:
        self._tap = tap
        self._theirs = theirs
        self._context = context
        self._speaker = ""
        self.silent = False

    def __bool__(self) -> bool:
        # JAF asks `if config.on_event` before it makes an event, and copies the context for that, except within a model
        # call. A tool may have put a connection into the context since: then JAF is to go on as without a listener.
        if self._theirs is None and not self.silent:
            place = _PLACE.get()
            if place is None or not place.generating or place.listener is not self:
                self.silent = not _copyable(self._context)
        return not self.silent

    def __call__(self, event: Any) -> Any:
        try:
            return self._theirs(event) if self._theirs is not None else None
        finally:
            self._placed(event)
            self._tap.push(event)

    def _placed(self, event: Any) -> None:
        """Keep and tell what an event does not say itself: which run speaks, which tool call runs an agent."""
        kind, data = getattr(event, "type", None), getattr(event, "data", None)
        place = _PLACE.get()
        if place is not None and place.listener is not self:
            place = None
        if kind == "assistant_message":
            if place is not None and place.run_id != self._speaker:
                self._speaker = place.run_id
                self._tap.aside("run.speaks", {"run_id": place.run_id})
            return
        run_id = _text(data, "run_id")
        if kind == "llm_call_start":
            self._speaker = run_id
            _PLACE.set(_Place(self, run_id, generating=True))
        elif kind == "llm_call_end":
            _PLACE.set(_Place(self, run_id))
        elif kind == "tool_call_start":
            _PLACE.set(_Place(self, run_id, _text(data, "call_id")))
        elif kind == "run_start" and place is not None and place.call_id:
            self._tap.aside("run.called", {"run_id": run_id, "by": place.run_id, "call_id": place.call_id})


@dataclass(slots=True)
class _Copied:
    context: Any


def _copyable(context: Any) -> bool:
    """Whether JAF can make trace events of a run with this context: it copies it, as a field of a dataclass."""
    try:
        asdict(_Copied(context))
    except Exception:  # whatever a user's class raises when it is copied
        return False
    return True


# Model calls ----------------------------------------------------------------------------------------------------


def _watched(config: Any, state: Any, tap: Any) -> Any:
    """The configuration's model provider, with its calls told to the tap; the provider itself where that cannot be."""
    provider: Any = getattr(config, "model_provider", None)
    if not callable(getattr(provider, "get_completion", None)):
        return provider
    numbers = count(1)
    run_id = _text(state, "run_id")

    async def get_completion(*args: Any, **kwargs: Any) -> Any:
        call = _Call(tap, str(next(numbers)), run_id, args, kwargs, stream=False)
        call.open()
        try:
            response = await provider.get_completion(*call.heard[0], **call.heard[1])
        except BaseException as error:
            call.failed(error)
            raise
        call.responded(response)
        return response

    def get_completion_stream(*args: Any, **kwargs: Any) -> Any:
        call = _Call(tap, str(next(numbers)), run_id, args, kwargs, stream=True)
        chunks = provider.get_completion_stream(*call.heard[0], **call.heard[1])
        return _told(chunks, call) if hasattr(chunks, "__aiter__") else chunks

    # As properties: what was set on the provider object itself is not to come first.
    own = {"get_completion": property(lambda _: get_completion)}
    if callable(getattr(provider, "get_completion_stream", None)):  # JAF streams wherever there is one
        own["get_completion_stream"] = property(lambda _: get_completion_stream)
    try:
        return twin(provider, own)
    except TypeError:  # a type without subclasses, or a module
        return provider


async def _told(chunks: Any, call: _Call) -> AsyncIterator[Any]:
    call.open()
    try:
        async for chunk in chunks:
            call.came(chunk)
            yield chunk
    except BaseException as error:
        call.failed(error)
        raise
    else:
        call.closed()
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


class _Call:
    """One call of the model provider, as the tap is told of it. It never raises."""

    __slots__ = ("_arguments", "_nested", "_number", "_said", "_stream", "_tap", "_tool_calls", "heard")

    def __init__(
        self, tap: Any, number: str, run_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, stream: bool
    ) -> None:
        """
        Args:
            run_id: the outermost run's.
            args, kwargs: `(state, agent, config)`, as the provider gets them.
        """
        self._tap = tap
        self._number = number
        self._stream = stream
        self._said: dict[str, Any] = {}
        """What the answer says of itself."""
        self._tool_calls: list[str] = []
        self._arguments = tuple(_argument(args, kwargs, i, name) for i, name in enumerate(("state", "agent", "config")))
        state, _, config = self._arguments
        self._nested = _text(state, "run_id") != run_id
        theirs = getattr(config, "on_event", None)
        self.heard = (args, kwargs)
        """The arguments, with a configuration in which we hear of retries: `run_streaming` drops those events."""
        if theirs:
            self.heard = _configured(args, kwargs, _changed(config, on_event=self._hearing(theirs)), 2)

    def _hearing(self, theirs: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def on_event(event: Any) -> Any:
            try:
                return theirs(event)
            finally:
                if getattr(event, "type", None) == "retry":
                    self._retried(getattr(event, "data", None))

        return on_event

    def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        self._tap.aside(name, {"call": self._number, **data})

    def open(self) -> None:
        state, agent, config = self._arguments
        self._tell(
            "model.opened",
            {
                "model": _text(config, "model_override") or _text(_field(agent, "model_config"), "name"),
                "agent": _text(agent, "name"),
                "stream": self._stream,
                "turn": _field(state, "turn_count"),
                "nested": self._nested,
            },
        )

    def came(self, chunk: Any) -> None:
        """A chunk of a stream."""
        try:
            delta = _text(chunk, "delta")
            if delta:
                self._tell("model.chunk", {"kind": "text", "text": delta})
            tool_call = _field(chunk, "tool_call_delta")
            if tool_call is not None:
                self._asks(int(_field(tool_call, "index") or 0), tool_call, "arguments_delta")
            if _text(chunk, "finish_reason"):
                self._said["finish_reason"] = chunk.finish_reason
            self._says(_field(chunk, "raw"))
        except Exception:  # a provider may send what it likes, and JAF decides what of it is an error
            pass

    def responded(self, response: Any) -> None:
        """The answer of a call that does not stream."""
        try:
            message = _field(response, "message")
            content = _text(message, "content")
            if content:
                self._tell("model.chunk", {"kind": "text", "text": content})
            for index, tool_call in enumerate(_field(message, "tool_calls") or ()):
                self._asks(index, tool_call, "arguments")
            self._says(response)
        except Exception:  # as above
            pass
        self.closed()

    def _asks(self, index: int, tool_call: Any, arguments: str) -> None:
        while len(self._tool_calls) <= index:
            self._tool_calls.append(f"call_{len(self._tool_calls)}")  # JAF's own name for one without an id
        self._tool_calls[index] = _text(tool_call, "id") or self._tool_calls[index]
        piece = _text(_field(tool_call, "function"), arguments)
        if piece:
            self._tell("model.chunk", {"kind": "tool_call", "text": piece})

    def _says(self, answer: Any) -> None:
        for name in ("model", "id", "usage"):
            value = _field(answer, name)
            if value:
                self._said[name] = value

    def _retried(self, data: Any) -> None:
        details = _field(data, "error_details")
        reason = str(_field(details, "status_code") or "") or _text(details, "error_type")
        told = {"attempt": _field(data, "attempt"), "delay_s": _field(data, "delay"), "reason": reason}
        self._tell("model.retried", told)

    def closed(self, **failure: str) -> None:
        told = {**self._said, "tool_calls": self._tool_calls, "nested": self._nested, **failure}
        self._tell("model.closed", told)

    def failed(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            kind = type(error)
            module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
            self.closed(outcome="failed", error_type=f"{module}{kind.__qualname__}", message=_message(error))
        else:
            self.closed(outcome="cancelled" if isinstance(error, CancelledError) else "abandoned")


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # an exception whose __str__ fails has no message
        return ""
