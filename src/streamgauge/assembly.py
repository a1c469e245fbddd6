"""What users call: `wrap` and `run`."""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from streamgauge import clients, recorder, semconv
from streamgauge.endings import classify, error_type_of, is_late, message_of
from streamgauge.errors import UnwrappableError, UsageError
from streamgauge.pipeline import current_pipeline, known_dialect
from streamgauge.recorder import Stream
from streamgauge.signals import RUN, Closed, Opened
from streamgauge.transports.inprocess import Gauge, is_stream, is_wrapped, leave
from streamgauge.wire import Outcome, Request

__all__ = ["Run", "run", "wrap"]

T = TypeVar("T")

_clock = time.monotonic_ns


def wrap(
    obj: T,
    *,
    dialect: str | None = None,
    agent_name: str = "",
    model: str = "",
    provider_name: str = "",
    conversation_id: str = "",
    server_address: str = "",
    timeout_s: float = 0.0,
    operation: str = "",
    attributes: dict[str, Any] | None = None,
) -> T:
    """Make a stream, or an agent whose streams, tell what they do.

    Args:
        obj: an iterator, generator or iterable, sync or async; a context manager that gives one; a function that
            returns one; or a known agent or client object (of ziran, zag, jaf, shipit_agent or aiecs), which becomes
            a drop-in of the same type; or a process of asyncio's, which stays the same object.
        dialect: how its events are read; by default `generic`, or the known object's own.
        agent_name, model, provider_name, conversation_id, server_address: what is known of it, for spans and labels.
        timeout_s: the caller's own deadline: being given up at or after it is `timed_out`.
        operation: `invoke_agent` (default) or `chat`, where the stream is one model call's.
        attributes: more attributes for the run's span.
    Returns: what passes for `obj`: `isinstance`, all attributes, methods, objects, order and exceptions are the
        same. `obj` itself is left as it is; a stream must be read through what is returned.
    Raises: UnknownDialectError; UnwrappableError where nothing of `obj` streams; UsageError for a dialect from outside
        that cannot be loaded, and for what a process has not.
    """
    if is_wrapped(obj):
        return obj
    if dialect is not None:
        known_dialect(dialect)
    if _is_process(obj):
        process = _wrap_process(
            obj, dialect, timeout_s, operation, agent_name=agent_name, model=model, provider_name=provider_name,
            conversation_id=conversation_id, server_address=server_address, attributes=attributes or {},
        )  # fmt: skip
        return cast("T", process)
    named = agent_name or model or provider_name or conversation_id
    if named or server_address or timeout_s or operation or attributes:
        options = (
            ("dialect", dialect), ("agent_name", agent_name), ("model", model), ("provider_name", provider_name),
            ("conversation_id", conversation_id), ("server_address", server_address), ("timeout_s", timeout_s),
            ("operation", operation), ("attributes", attributes),
        )  # fmt: skip
        gauge: Gauge = _LateGauge({name: value for name, value in options if value})
    else:
        gauge = _plain_gauge(dialect)
    found = clients.wrap(obj, gauge)
    if found is None:
        found = _wrap_any(obj, gauge)
    return cast("T", found)


def _is_process(obj: Any) -> bool:
    asyncio = sys.modules.get("asyncio.subprocess")  # importing it costs 25 ms, and who has a process has done so
    return asyncio is not None and isinstance(obj, asyncio.Process)


def _wrap_process(process: Any, dialect: str | None, timeout_s: float, operation: str, **fields: Any) -> Any:
    from streamgauge import stdio

    if timeout_s or operation:
        raise UsageError("a process has many runs: timeout_s and operation are not for it")
    given: Any = {name: value for name, value in fields.items() if value}
    return stdio.wrap(process, dialect=dialect or stdio.GENERIC, **given)


class _LateGauge(Gauge):
    """A gauge that asks for the pipeline when a stream is opened: `wrap` may come before `setup`."""

    __slots__ = ()

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(
            lambda request, opens_run, at: current_pipeline().open(request, opens_run, at=at),
            lambda: current_pipeline().current_tap(),
            recorder.ambient(),
            options,
            _watch,
        )


def _watch(transport: str, **fields: Any) -> Any:
    # Imported only for clients that speak so.
    if transport == "httpx":
        from streamgauge import httpwatch

        return httpwatch.watch(transport, eager=False, inherits=True, **fields)
    from streamgauge import duplex

    return duplex.watch(transport, eager=False, inherits=True, **fields)


@functools.lru_cache(maxsize=64)
def _plain_gauge(dialect: str | None) -> Gauge:
    """The gauge of a `wrap` that says no more than this: most say no more, for each stream anew."""
    return _LateGauge({} if dialect is None else {"dialect": dialect})


def _wrap_any(obj: Any, gauge: Gauge) -> Any:
    if is_stream(obj):
        return gauge.stream(obj, gauge.open(dialect="generic"))
    if not callable(obj) or isinstance(obj, type):
        raise UnwrappableError(
            f"nothing of {type(obj).__module__}.{type(obj).__qualname__} streams: give wrap() an "
            "iterator, a generator, a context manager or a function that gives one, or an agent of "
            "ziran, zag, jaf, shipit_agent or aiecs"
        )
    return _wrap_function(obj, gauge)


def _wrap_function(function: Callable[..., Any], gauge: Gauge) -> Callable[..., Any]:
    # The stream is opened when the function is called, though only what it gives, or raises, tells that there is one.
    def given(result: Any, at: int) -> Any:
        if inspect.iscoroutine(result):  # of a function that is not `async` itself: a decorator's, a partial's
            return awaited(result, at)
        return gauge.stream(result, gauge.open(dialect="generic", at=at)) if _gives(result) else result

    def failed(error: BaseException, at: int) -> None:
        gauge.open(dialect="generic", at=at).end(error)

    async def awaited(result: Any, at: int) -> Any:
        try:
            found = await result
        except BaseException as error:
            failed(error, at)
            raise
        return given(found, at)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def called_async(*args: Any, **kwargs: Any) -> Any:
            return await awaited(function(*args, **kwargs), _clock())

        return called_async

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        at = _clock()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            failed(error, at)
            raise
        return given(result, at)

    return called


def _gives(result: Any) -> bool:
    """Whether a function's result is a stream. It may also be a plain value: what is no iterator and has a length, or
    compares by what it holds (a list, a model of pydantic's), is one."""
    kind: Any = type(result)
    if any(hasattr(kind, name) for name in ("__next__", "__anext__", "__aiter__")):
        return True
    return is_stream(result) and not hasattr(kind, "__len__") and kind.__eq__ is object.__eq__


class Run:
    """A run that groups streams: a context manager, sync and async. Made by `run`."""

    __slots__ = ("_entered", "_request")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._entered: list[tuple[Stream, Any]] = []
        """(the recording, the token of its context) of each time that it is entered and not left: it may be at once in
        several tasks."""

    def __enter__(self) -> Run:
        made = current_pipeline()
        try:
            at = _clock()
            anchor = time.time_ns() - at
            stream = made.recorder.stream(self._request, at=at, anchor=anchor, counted=False)
            stream.apply(
                (Opened(RUN, at, semconv.INVOKE_AGENT, self._request.agent_name, RUN, self._request.attributes),)
            )
            self._entered.append((stream, recorder.ambient().set(stream.context)))
        except Exception as error:
            made._report(self._request.dialect, "error", "sink", error)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        current = recorder.ambient().get(None)
        entered = [each for each in self._entered if each[0].context is current] or self._entered
        if not entered:
            return
        stream, token = entered[-1]
        self._entered.remove((stream, token))
        leave(recorder.ambient(), token, stream.context)
        at = _clock()
        try:
            outcome = Outcome.COMPLETED if error is None else classify(error)
            if outcome in (Outcome.CANCELLED, Outcome.ABANDONED) and is_late(stream.request, at - stream.opened):
                outcome = Outcome.TIMED_OUT
            closed = Closed(RUN, at, outcome)
            if error is not None and outcome is Outcome.FAILED:
                closed = Closed(RUN, at, outcome, error_type_of(error), message_of(error))
            try:
                stream.apply((closed,))
            finally:
                stream.finish(at)
        except Exception as trouble:
            current_pipeline()._report(self._request.dialect, "error", "sink", trouble)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self.__exit__(kind, error, traceback)


def run(
    name: str,
    *,
    conversation_id: str = "",
    provider_name: str = "",
    model: str = "",
    timeout_s: float = 0.0,
    attributes: dict[str, Any] | None = None,
) -> Run:
    """Group streams into one run: `with streamgauge.run("support"):` (or `async with`). Runs nest.

    All streams opened inside, also in tasks started inside, are below its span, and have its conversation and
    deadline. A stream opened again after one that failed is recorded as a retry of it.

    Args:
        name: the agent's, for the span `invoke_agent {name}` and the label `gen_ai.agent.name`.
    """
    return Run(
        Request(
            dialect="generic",
            agent_name=name,
            conversation_id=conversation_id,
            provider_name=provider_name,
            model=model,
            timeout_s=timeout_s,
            attributes=attributes or {},
        )
    )
