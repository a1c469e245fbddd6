"""Drop-ins for zag: a `ZagBuilder`, and the `StreamingSession` that it starts.

In goes one of these objects, also of a subclass of the user's own; out comes its twin. A call of `stream`,
`stream_resume` or `stream_continue` is a run. A session is one stream for as long as it lives, and each turn in it is a
run: the first begins when the session is started, a later one when its message is sent. `exec` and `run` give no stream
and are not watched.

Source: zag-agent 0.18.0, `builder.py`, `process.py`.
"""

from __future__ import annotations

import functools
import inspect
import json
import threading
import weakref
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any, Final, cast

from streamgauge.clients._twin import original, twin
from streamgauge.transports.inprocess import Gauge
from streamgauge.wire import Outcome

__all__ = ["wrap"]

_DIALECT: Final = "zag"
_VENDORS: Final = {"claude": "anthropic", "codex": "openai", "gemini": "gcp.gemini"}
"""zag's word for a provider: the conventions' word."""
_QUEUE: Final = "queue"
"""What a message does that is sent in mid-turn, as Claude has it: the one provider of zag 0.18 that takes any."""
_USER_MESSAGES: Final = frozenset({"user_message", "user"})
"""Types of input lines that start a turn: zag's own, and Claude's, which zag passes on."""


def wrap(obj: Any, gauge: Gauge) -> Any | None:
    """The twin of a builder or of a session; None for all else."""
    if original(obj) is not obj:
        return obj  # a twin already
    from zag.builder import ZagBuilder
    from zag.process import StreamingSession

    if isinstance(obj, ZagBuilder):
        names = ("stream", "stream_resume", "stream_continue")
        methods = {name: _streaming(obj, name, gauge) for name in names}
        return twin(obj, {**methods, "exec_streaming": _starting(obj, gauge)})
    if isinstance(obj, StreamingSession):
        return _session(obj, gauge, _open(gauge, {}), _QUEUE)
    return None


def _open(gauge: Gauge, facts: dict[str, Any]) -> Any:
    tap = gauge.open(dialect=_DIALECT, **{"agent_name": "zag", **facts})
    tap.aside("started")
    return tap


def _facts(builder: Any) -> dict[str, Any]:
    """What the builder knows, asked at each call: its setters change it."""
    provider = _text(builder, "_provider")
    facts = {
        "agent_name": provider,  # as zag's own `AgentOutput.agent` has it
        "provider_name": _VENDORS.get(provider, provider),
        "model": _text(builder, "_model"),
        "conversation_id": _text(builder, "_session_id"),
    }
    return {name: value for name, value in facts.items() if value}


def _text(holder: Any, name: str) -> str:
    value = getattr(holder, name, None)
    return value if isinstance(value, str) else ""


# Runs -------------------------------------------------------------------------------------------------------------


def _streaming(builder: Any, name: str, gauge: Gauge) -> Callable[..., Any]:
    method = getattr(type(builder), name)
    resumes = "session_id" in inspect.signature(method).parameters

    @functools.wraps(method)
    def streaming(self: Any, *args: Any, **kwargs: Any) -> Any:
        source = method(self, *args, **kwargs)
        facts = _facts(self)
        if resumes:
            resumed = args[0] if args else kwargs.get("session_id")
            if isinstance(resumed, str):
                facts["conversation_id"] = resumed
        return gauge.stream(source, cast("Any", _Run(_open(gauge, facts))))

    return streaming


class _Watched:
    """A tap, as a wrapped stream sees it. What the stream's end is to the tap is for the subclass to say."""

    __slots__ = ("_tap",)

    def __init__(self, tap: Any) -> None:
        self._tap = tap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tap, name)

    def end(self, error: BaseException | None = None, *, outcome: Outcome | None = None) -> None:
        self._told(self._tap.end, error, outcome)

    def end_at(self, at: int, error: BaseException | None = None, *, outcome: Outcome | None = None) -> None:
        self._told(functools.partial(self._tap.end_at, at), error, outcome)

    def _told(self, end: Callable[..., None], error: BaseException | None, outcome: Outcome | None) -> None:
        """The stream has ended; `end` ends the tap."""
        raise NotImplementedError


class _Run(_Watched):
    """The tap of one run: it is complete for him too who stops reading at `turn_complete`."""

    __slots__ = ()

    def _told(self, end: Callable[..., None], error: BaseException | None, outcome: Outcome | None) -> None:
        self._tap.aside("over")
        end(error, outcome=outcome)


# Sessions ---------------------------------------------------------------------------------------------------------


def _starting(builder: Any, gauge: Gauge) -> Callable[..., Any]:
    method = type(builder).exec_streaming

    @functools.wraps(method)
    async def exec_streaming(self: Any, *args: Any, **kwargs: Any) -> Any:
        tap = _open(gauge, _facts(self))
        try:
            session = await method(self, *args, **kwargs)
        except BaseException as error:
            tap.end(error)
            raise
        return _session(session, gauge, tap, _semantics(self))

    return exec_streaming


def _semantics(builder: Any) -> str:
    """What a send in mid-turn means. To start a session of a provider that was named, zag has just asked its executable
    what that can do; it keeps the answer, and nothing is run for it here."""
    provider = _text(builder, "_provider")
    try:
        from zag import capability_check

        for capability in capability_check._capability_cache.get(builder._bin, ()):
            if capability.provider == provider:
                return _text(capability.features.streaming_input, "semantics")
    except Exception:
        pass  # it is zag's own business how it keeps it
    return _QUEUE if provider in ("", "claude") else ""


class _Life(_Watched):
    """The tap of a session, as the session's own lifetime sees it: its end is that the session was dropped."""

    __slots__ = ("ending", "input_closed")

    def __init__(self, tap: Any) -> None:
        super().__init__(tap)
        self.input_closed = False
        self.ending: Outcome | None = Outcome.ABANDONED
        """How it ends if nothing more is seen of it. None where its output was read to the end: the dialect knows."""

    def _told(self, end: Callable[..., None], error: BaseException | None, outcome: Outcome | None) -> None:
        self._tap.aside("over")
        end(error, outcome=self.ending if error is None else None)


class _Reading(_Watched):
    """The tap of a session, as one call of `events` sees it: its end is not the session's."""

    __slots__ = ("_life", "_over", "_thread")

    def __init__(self, tap: Any, life: _Life) -> None:
        super().__init__(tap)
        self._life = life
        self._over = False
        self._thread = threading.get_ident()
        if life.ending is not None:
            life.ending = Outcome.ABANDONED

    def _told(self, end: Callable[..., None], error: BaseException | None, outcome: Outcome | None) -> None:
        # What the garbage collector finds is told from a thread, when the session may long be read anew.
        if self._over or self._thread != threading.get_ident():
            return
        self._over = True
        life, tap = self._life, self._tap
        if isinstance(error, CancelledError):
            life.ending = Outcome.CANCELLED
            tap.aside("left")
        elif isinstance(error, Exception):
            tap.aside("read_failed", {"error_type": type(error).__qualname__})
        elif error is not None or outcome is not None:
            tap.aside("left")
        else:
            life.ending = None
            tap.aside("stdout_ended")
            if not tap.sink.run_open:  # else `wait` may still tell how it ended
                end()


def _session(session: Any, gauge: Gauge, tap: Any, semantics: str) -> Any:
    kind: Any = type(session)
    life = _Life(tap)

    @functools.wraps(kind.events)
    def events(self: Any) -> Any:
        return gauge.stream(kind.events(self), cast("Any", _Reading(tap, life)))

    @functools.wraps(kind.send)
    async def send(self: Any, message: str) -> None:
        # `send_user_message` comes here too.
        told = not life.input_closed and _is_user_message(message)
        if told:
            # First: the answer may be read elsewhere before this returns.
            tap.aside("sent", {"semantics": semantics})
        try:
            await kind.send(self, message)
        except Exception as error:
            if told:
                tap.aside("send_failed", {"error_type": type(error).__qualname__})
            raise

    @functools.wraps(kind.close_input)
    def close_input(self: Any) -> None:
        kind.close_input(self)
        life.input_closed = True

    @functools.wraps(kind.terminate)
    def terminate(self: Any) -> None:
        kind.terminate(self)
        tap.aside("over")
        tap.end(outcome=Outcome.CANCELLED)

    @functools.wraps(kind.wait)
    async def wait(self: Any) -> None:
        try:
            await kind.wait(self)
        except Exception as error:
            life.end(error)
            raise
        life.end()

    double = twin(
        session,
        {"events": events, "send": send, "close_input": close_input, "terminate": terminate, "wait": wait},
    )
    # A stream that nobody reads, and that lives as long as the twin: a gauge knows when it may tell of a drop.
    guard = gauge.stream(iter(()), cast("Any", life))
    weakref.finalize(double, _let_go, guard).atexit = False  # what is open at exit is for the shutdown to say
    return double


def _let_go(guard: object) -> None:
    """The last reference to `guard` goes with this call."""


def _is_user_message(line: Any) -> bool:
    try:
        return json.loads(line).get("type") in _USER_MESSAGES
    except (AttributeError, TypeError, ValueError, RecursionError):
        return False
