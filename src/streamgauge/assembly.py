"""What users call: `wrap` and `run`."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from streamgauge import clients, dialects, recorder, semconv
from streamgauge.errors import UnknownDialectError, UnwrappableError
from streamgauge.pipeline import current_pipeline
from streamgauge.recorder import Stream
from streamgauge.signals import RUN, Closed, Opened
from streamgauge.tap import classify, error_type_of
from streamgauge.transports.inprocess import Gauge, is_stream, is_wrapped
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
            a drop-in of the same type.
        dialect: how its events are read; by default `generic`, or the known object's own.
        agent_name, model, provider_name, conversation_id, server_address: what is known of it, for spans and labels.
        timeout_s: the caller's own deadline: being given up at or after it is `timed_out`.
        operation: `invoke_agent` (default) or `chat`, where the stream is one model call's.
        attributes: more attributes for the run's span.
    Returns: what passes for `obj`: `isinstance`, all attributes, methods, objects, order and exceptions are the
        same. `obj` itself is left as it is; a stream must be read through what is returned.
    Raises: UnknownDialectError; UnwrappableError where nothing of `obj` streams.
    """
    options = {
        name: value
        for name, value in (
            ("agent_name", agent_name), ("model", model), ("provider_name", provider_name),
            ("conversation_id", conversation_id), ("server_address", server_address), ("timeout_s", timeout_s),
            ("operation", operation), ("attributes", attributes),
        )
        if value
    }  # fmt: skip
    if is_wrapped(obj):
        return obj
    if dialect is not None and dialects.find(dialect) is None:
        raise UnknownDialectError(dialect, dialects.names())
    gauge = _LateGauge(options if dialect is None else {**options, "dialect": dialect})
    found = clients.wrap(obj, gauge)
    if found is None:
        found = _wrap_any(obj, gauge)
    return cast("T", found)


class _LateGauge(Gauge):
    """A gauge that asks for the pipeline when a stream is opened: `wrap` may come before `setup`."""

    __slots__ = ()

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(
            lambda request, opens_run: current_pipeline().open(request, opens_run),
            lambda: current_pipeline().current_tap(),
            recorder.ambient(),
            options,
        )


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
    def given(result: Any) -> Any:
        return gauge.stream(result, gauge.open(dialect="generic")) if is_stream(result) else result

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return given(await function(*args, **kwargs))

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return given(function(*args, **kwargs))

    return called


class Run:
    """A run that groups streams: a context manager, sync and async. Made by `run`."""

    __slots__ = ("_anchor", "_request", "_stream", "_token")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._stream: Stream | None = None
        self._token: Any = None
        self._anchor = 0

    def __enter__(self) -> Run:
        made = current_pipeline()
        try:
            at = _clock()
            self._anchor = time.time_ns() - at
            stream = made.recorder.stream(self._request, anchor=self._anchor, counted=False)
            stream.apply(
                (Opened(RUN, at, semconv.INVOKE_AGENT, self._request.agent_name, RUN, self._request.attributes),)
            )
            self._token = recorder.ambient().set(stream.context)
            self._stream = stream
        except Exception as error:
            made._report(self._request.dialect, "error", "sink", error)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            return
        # Left in another task or thread, the context is not ours to give back.
        if recorder.ambient().get(None) is stream.context:
            recorder.ambient().reset(self._token)
        try:
            at = _clock()
            outcome = Outcome.COMPLETED if error is None else classify(error)
            if outcome is Outcome.CANCELLED and 0 < stream.request.timeout_s * 1e9 <= at - stream.opened:
                outcome = Outcome.TIMED_OUT
            failed = error is not None and outcome is Outcome.FAILED
            stream.apply(
                (
                    Closed(
                        RUN, at, outcome, error_type_of(error) if failed and error else "", str(error) if failed else ""
                    ),
                )
            )
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
