"""The pipeline of a process: how the parts are put together, and what it exports with."""

from __future__ import annotations

import atexit
import functools
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from streamgauge import dialects, recorder, semconv
from streamgauge import framing as framings
from streamgauge._version import __version__
from streamgauge.aggregates import Aggregates
from streamgauge.answer import Answer
from streamgauge.dialogue import Dialogue
from streamgauge.errors import FramingError, SettingsError, UnknownDialectError, UsageError
from streamgauge.observers import Observer, Observers
from streamgauge.recorder import Content, Recorder
from streamgauge.settings import Settings, load
from streamgauge.tap import Tap
from streamgauge.transports._dropped import settle
from streamgauge.wire import Outcome, Request

__all__ = ["HTTP", "Pipeline", "current_pipeline", "known_dialect", "observe", "setup", "shutdown", "use"]

_clock = time.monotonic_ns
log = logging.getLogger("streamgauge")

HTTP = "http"
"""The framing of an HTTP answer: what its head says."""
_CAUSES = {"slow": "reading it took too long", "size": "it is too large"}
_CONVERSING = frozenset({"stdio", "websocket"})
_LOG_AGAIN_NS = 60_000_000_000  # the same trouble is logged once a minute; the metric has every case


class Pipeline:
    """What one process records with: settings, recorder, aggregates, observers, and (after `setup`) exporters."""

    def __init__(
        self,
        settings: Settings,
        *,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        redact: Callable[[str, str], str] | None = None,
        redact_capture: Callable[[Any], Any] | None = None,
        own_metrics: bool = False,
    ) -> None:
        """
        Args:
            tracer_provider, meter_provider: by default the global ones.
            redact: see `Content`; given (attribute, text).
            redact_capture: see `capture.CaptureWriter`; given each event's JSON form.
            own_metrics: metrics are exported from the aggregates, so no meter is to have them too.
        """
        self.settings = settings
        self.telemetry: Any = None
        self._redact = redact
        self._redact_capture = redact_capture
        self._logged: dict[tuple[str, ...], int] = {}
        self._files = itertools.count(1)
        profile = semconv.PROFILES[settings.profile]
        self.aggregates = Aggregates(profile.metrics, label_cap=settings.label_cap)
        self._profile = profile
        mirror = None
        if not own_metrics and not settings.disabled:
            from streamgauge.telemetry.meters import Mirror

            mirror = Mirror(meter_provider, self.aggregates, profile, time.monotonic_ns)
        self.recorder = Recorder(
            self._tracer(tracer_provider),
            self.aggregates,
            profile=profile,
            stall_after_s=settings.stall_after_s,
            intended_ends_are_errors=settings.intended_ends_are_errors,
            exemplars=settings.exemplar_filter,
            content=Content(settings.spans_have_content, settings.content_max_bytes, self._redacting(redact)),
            mirror=mirror,
            meter_chunks=settings.chunk_meter,
        )
        self.observers = Observers(lambda reason: self.recorder.count(semconv.TAP_ERRORS, reason))

    def _redacting(self, redact: Callable[[str, str], str] | None) -> Callable[[str, str], str] | None:
        """`redact`, which may fail: what it does not know how to redact is left out."""
        if redact is None:
            return None

        def redacted(name: str, text: str) -> str:
            try:
                return str(redact(name, text) or "")
            except Exception as error:
                self._report("any", "error", "redaction", error)
                return ""

        return redacted

    def _tracer(self, provider: Any) -> Any:
        from opentelemetry import trace

        if self.settings.disabled:
            provider = trace.NoOpTracerProvider()
        return trace.get_tracer("streamgauge", __version__, provider, self._profile.schema_url)

    def trace_with(self, provider: Any, *, for_good: bool = False) -> None:
        """Make spans with `provider` from now on.

        Args:
            for_good: nobody sets another one later, as in a process that is ours alone. Where there is none, there are
                no spans, and nothing is put together for them: a tenth of what a stream costs.
        """
        from opentelemetry import trace

        if for_good and isinstance(provider, trace.ProxyTracerProvider):
            provider = trace.NoOpTracerProvider()
        self.recorder.tracer = self._tracer(provider)

    def open(
        self,
        request: Request,
        opens_run: bool = True,
        *,
        at: int | None = None,
        anchor: int | None = None,
        framing: str | None = None,
        carrier: Mapping[str, str] | None = None,
    ) -> Tap:
        """Open a stream, now (or, for replay, at a time of the past).

        Args:
            framing: how its bytes are framed, by the name of a framing, or `http` where the answer's head says so; None
                for a stream of objects.
            carrier: headers that carry the trace context of its parent; by default that is the current one.
        Raises: as `known_dialect`; FramingError for a framing that is not known.
        """
        kind = known_dialect(request.dialect)
        framed = None
        if framing is not None and framing != HTTP:
            framed = framings.find(framing)
            if framed is None:
                known = ", ".join((*framings.FRAMINGS, HTTP))
                raise FramingError(f"there is no framing {framing!r}; known are {known}")
        if at is None:
            at = _clock()
        if anchor is None:
            anchor = time.time_ns() - _clock()
        if kind.provider_name and not request.provider_name:
            request = request.updated(provider_name=kind.provider_name)
        trouble: Exception | None = None
        try:
            decoder = kind()
            decoder.anchor = anchor
        except Exception as error:
            decoder, trouble = dialects.Dialect(), error
        stream = self.recorder.stream(
            request,
            at=at,
            anchor=anchor,
            granularity=str(kind.granularity),
            inward=not kind.only_waits_between_chunks,
            parent=None if carrier is None else recorder.parent_of(carrier),
        )
        reader: Any = decoder
        if kind.opens_runs or request.transport in _CONVERSING:
            reader = Dialogue(decoder)
        elif framing == HTTP:
            reader = Answer(decoder)
        tap = Tap(
            stream.request,
            reader,
            stream,
            report=functools.partial(self._report, request.dialect),
            framing=framed() if framed is not None else None,
            capture=self.new_capture(request, at, anchor, framing) if self.settings.capture_dir else None,
            observe=self.observers.offer if self.observers else None,
        )
        session = request.attributes.get(semconv.STREAMGAUGE_SESSION_NAME, kind.name) if kind.opens_runs else None
        tap.open(at, opens_run=opens_run, session=session)
        if trouble is not None:
            tap.unread(trouble)
        return tap

    def new_capture(self, request: Request, at: int, anchor: int, framing: str | None) -> Any:
        """A stream's capture, or None: in a file of its own, where a subclass does not have it elsewhere."""
        from streamgauge.capture import CaptureWriter, redact_secrets

        folder = self.settings.capture_dir
        try:
            os.makedirs(folder, exist_ok=True)
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime((at + anchor) / 1e9))
            name = f"{request.dialect}-{stamp}-{os.getpid()}-{next(self._files)}.ndjson"
            return CaptureWriter(
                os.path.join(folder, name),
                request,
                framing=framing,
                opened_at=at,
                anchor=anchor,
                redact=self._redact_capture or redact_secrets,
                max_bytes=self.settings.capture_max_bytes,
            )
        except Exception as error:
            self._report(request.dialect, "error", "capture", error)
            return None

    def _report(self, dialect: str, what: str, reason: str, error: BaseException | None) -> None:
        """Trouble beside a stream: one metric, one log line. Nothing of it reaches the stream."""
        try:
            self.recorder.count(semconv.TAP_BLIND if what == "blind" else semconv.TAP_ERRORS, reason)
        except Exception:  # a host's meter, or log handler, that fails must not reach the stream either
            pass
        try:
            kind = type(error).__qualname__ if error is not None else ""
            now = _clock()
            last = self._logged.get((dialect, what, reason, kind), -_LOG_AGAIN_NS)
            if now - last < _LOG_AGAIN_NS:
                return
            self._logged[dialect, what, reason, kind] = now
            effect = "is no longer decoded (it goes on, unchanged)" if what == "blind" else "goes on, unchanged"
            cause = _CAUSES.get(reason, f"its {reason} failed")
            if reason == "size":
                effect = "had a message that was not decoded (it went on, unchanged)"
            log.warning("A stream of dialect %s %s: %s.", dialect, effect, cause, exc_info=error)
        except Exception:
            pass

    def current_tap(self) -> Tap | None:
        stream = recorder.current()
        return None if stream is None else cast("Tap | None", stream.tap)

    def close_streams(self) -> None:
        """Close what is open, as `shutdown`."""
        at = _clock()
        for stream in list(self.recorder.streams):
            try:
                if stream.tap is not None:
                    stream.tap.end(outcome=Outcome.SHUTDOWN)
                else:
                    stream.finish(at, Outcome.SHUTDOWN)
            except Exception as error:
                self._report(stream.request.dialect, "error", "sink", error)


def known_dialect(name: str) -> type[dialects.Dialect]:
    """The dialect of that name.

    Raises: UnknownDialectError; UsageError where what an entry point names cannot be imported, or is no dialect.
    """
    kind = dialects.used(name)
    if kind is not None:
        return kind
    try:
        kind = dialects.find(name)
    except Exception as error:
        raise UsageError(f"the dialect {name!r} cannot be loaded: {type(error).__qualname__}: {error}") from error
    if kind is None:
        raise UnknownDialectError(name, dialects.names())
    if not (isinstance(kind, type) and issubclass(kind, dialects.Dialect)):
        raise UsageError(f"what is registered as the dialect {name!r} is no subclass of streamgauge.Dialect: {kind!r}")
    return kind


# The pipeline of this process -------------------------------------------------------------------------------------

_lock = threading.Lock()
_pipeline: Pipeline | None = None


def current_pipeline() -> Pipeline:
    """The pipeline of this process; made at first use, with the host's own global providers."""
    global _pipeline
    if _pipeline is None:
        with _lock:
            if _pipeline is None:
                # Here, and not at import: exit handlers run in reverse order, and ours must come before the SDK's.
                atexit.register(shutdown)
                try:
                    settings = load()
                except SettingsError as error:  # the streams of a program that called no `setup` must not fail by it
                    log.error("%s. Defaults are used instead.", error)
                    settings = Settings()
                _pipeline = Pipeline(settings)
    return _pipeline


def use(replacement: Pipeline | None) -> Pipeline | None:
    """Put `replacement` in the place of this process's pipeline; returns the old one. For tests and embedders."""
    global _pipeline
    with _lock:
        old, _pipeline = _pipeline, replacement
    return old


def setup(
    *,
    redact: Callable[[str, str], str] | None = None,
    redact_capture: Callable[[Any], Any] | None = None,
    **flags: Any,
) -> Pipeline:
    """Configure exporters and `/metrics` from settings, and record with them from now on.

    Args:
        redact: given (attribute, text), returns what to keep of a content attribute.
        redact_capture: given each captured event's JSON form, returns what to write.
        flags: fields of `Settings`; they win over the environment and the settings file.
    Raises: SettingsError, MissingExtraError
    """
    from streamgauge import telemetry

    settings = load(flags)
    atexit.register(shutdown)
    old = use(None)
    if old is not None and old.telemetry is not None:
        _shut(old)  # its port is wanted again
    made = Pipeline(settings, redact=redact, redact_capture=redact_capture, own_metrics=True)
    made.telemetry = telemetry.start(
        settings,
        made.aggregates,
        lambda kind, reason, count: made.recorder.count(semconv.EXPORT_DROPPED, kind, reason, amount=count),
    )
    made.trace_with(made.telemetry.tracer_provider)
    if old is not None:
        made.observers.adopt(old.observers)
    use(made)
    return made


def shutdown() -> None:
    """Close what is open, as `shutdown`, and flush and stop the exporters of `setup`, for at most `shutdown_timeout_s`.
    Called by itself when the interpreter exits. Streams opened later pass as before; `setup` has them
    exported again."""
    if _pipeline is not None:
        _shut(_pipeline)


def _shut(old: Pipeline) -> None:
    settle()
    old.close_streams()
    old.observers.stop(min(1.0, old.settings.shutdown_timeout_s))
    if old.telemetry is not None:
        old.telemetry.shutdown(old.settings.shutdown_timeout_s)


def observe(observer: Observer) -> Callable[[], None]:
    """Show every signal of the streams opened from now on to `observer`: called as `observer(signal, request)`, in
    order, on a thread of its own. It can slow down or break nothing; what it raises is counted.

    Returns: what removes it.
    """
    return current_pipeline().observers.add(observer)


def _after_fork() -> None:
    """A child has the parent's open streams, but they are the parent's to tell of."""
    global _lock
    _lock = threading.Lock()
    if _pipeline is not None:
        _pipeline.aggregates.forked()
        for stream in list(_pipeline.recorder.streams):
            stream.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
