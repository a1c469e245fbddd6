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

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from streamgauge.clients._jaf_model_calls import watched
from streamgauge.clients._jaf_objects import argument, changed, configured, text
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
        args, kwargs = configured(args, kwargs, changed(config, model_provider=watched(config, state, tap)))
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
            ours = changed(config, on_event=_Listener(tap, theirs or None, context))
        else:
            ours = changed(config, model_provider=watched(config, state, tap))
        args, kwargs = configured(args, kwargs, ours)
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
    return argument(args, kwargs, 0, "initial_state"), argument(args, kwargs, 1, "config")


def _facts(state: Any, config: Any) -> dict[str, Any]:
    return {
        "agent_name": text(state, "current_agent_name"),
        "model": text(config, "model_override"),
        "conversation_id": text(config, "conversation_id"),
    }


def _ending(result: Any) -> dict[str, str]:
    outcome = getattr(result, "outcome", None)
    error = getattr(outcome, "error", None)
    return {
        "status": text(outcome, "status"),
        "error_type": text(error, "_tag"),
        "message": text(error, "detail") or text(error, "reason"),
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
        run_id = text(data, "run_id")
        if kind == "llm_call_start":
            self._speaker = run_id
            _PLACE.set(_Place(self, run_id, generating=True))
        elif kind == "llm_call_end":
            _PLACE.set(_Place(self, run_id))
        elif kind == "tool_call_start":
            _PLACE.set(_Place(self, run_id, text(data, "call_id")))
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
