"""`streamgauge exec`: a command as if it were not watched.

Before the command is started nothing is loaded that can wait: what exports is loaded while it runs.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamgauge import semconv, settings
from streamgauge.errors import UsageError
from streamgauge.settings import Settings
from streamgauge.stdio import by_command, of_lines
from streamgauge.transports import stdio
from streamgauge.transports.stdio import Ended, Told
from streamgauge.wire import Outcome

if TYPE_CHECKING:
    from streamgauge.pipeline import Pipeline

__all__ = ["add"]

_clock = time.monotonic_ns
FLUSH_S = 2.0
"""For exporters at the end, where nobody has said how long: a program that waits for the command waits for this."""
_SWITCH_S = 0.000_01
"""For how long a thread that loads or reads keeps the interpreter from the one that relays, which asks for it twice a
piece: the bytes per second of a flood hang on it."""
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


def add(commands: Any, **options: Any) -> None:
    parser = commands.add_parser(
        "exec",
        help="measure an agent's process: what it prints, and what it is told",
        usage="streamgauge exec [OPTION ...] -- COMMAND [ARGUMENT ...]",
        description="""\
Run a command as if this were not here, and tell what it did: a span for the
process, one for each turn, model call and tool in it. What it reads and writes
is passed byte for byte, its exit code and signals are kept, and its standard
error is its own. TRACEPARENT is the parent, and is given on to the command.

It exports to OTLP where OTEL_EXPORTER_OTLP_ENDPOINT is set. Where there is
nothing to export to, to capture or to sum up, the command just takes its place.""",
        epilog="""\
how lines are read: by --dialect; else by the dialect that knows the command
line (`streamgauge dialects` lists them); else they are counted and timed as
messages. Standard input is passed through here only if the dialect reads it,
and it is no terminal; else the command has it to itself.

examples:
  streamgauge exec -- claude -p "Fix the tests" --output-format stream-json
  streamgauge exec --dialect zag --summary -- zag exec -o stream-json "Hi"
  streamgauge exec --capture turn.ndjson -- codex exec --json "Hi"

exit code: the command's; where a signal ended it, the same signal. 2 is a
mistake in what was given here, 126 a command that cannot be run, 127 one that
is not there.
""",
        **options,
    )
    parser.add_argument("--dialect", metavar="D", help="how its lines are read (default: by the command)")
    parser.add_argument("--capture", metavar="FILE", help="write what passes to FILE, for `streamgauge replay`")
    parser.add_argument("--summary", action="store_true", help="when it has ended, say on standard error what it did")
    parser.add_argument(
        "--no-stdin", action="store_true", help="standard input is the command's alone: what it is told is not watched"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, and its arguments")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise UsageError("there is no command to run; give one: streamgauge exec -- COMMAND [ARGUMENT ...]")
    closed = stdio.missing()
    found = _exporting(settings.load())
    if options.dialect is not None:
        of_lines(options.dialect)
    variables = stdio.environment()
    kept = (options.capture or found.capture_dir or options.summary) and not found.disabled
    if not (kept or found.exporters("traces") or found.exporters("metrics")):
        return _started(command, lambda: stdio.replace_us(command, variables))
    watched = Watched(command, options, found, variables, closed)
    code = _started(command, watched.start)
    if code:
        return code
    watched.finish()
    return 1  # pragma: no cover  (`finish` does not return)


def _started(command: Sequence[str], start: Callable[[], object]) -> int:
    """0, or what a shell says of a command that it cannot run."""
    try:
        start()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        print(f"streamgauge: {command[0]}: {reason.lower()}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    return 0


def _exporting(found: Settings) -> Settings:
    """Without a page of its own: a command is over before anybody has come to read one."""
    if found.disabled:
        return replace(found, traces_exporter="none", metrics_exporter="none")
    metrics = ",".join(name for name in found.exporters("metrics") if name != "prometheus")
    return replace(found, metrics_exporter=metrics or "none")


class Watched:
    """One command, and what is told of it."""

    def __init__(
        self,
        command: list[str],
        options: argparse.Namespace,
        found: Settings,
        variables: dict[str, str],
        closed: tuple[int, ...],
    ) -> None:
        self._command = command
        self._name = os.path.basename(command[0])
        self._dialect: str = options.dialect or ""
        self._settings = found
        self._summary = options.summary
        self._capture = _opened(options.capture) if options.capture else None
        self._told = Told()
        self._log = _Log()
        self._made: Any = None
        self._conversation: Any = None
        self._carrier = {
            name: variables[name.upper()] for name in ("traceparent", "tracestate") if variables.get(name.upper())
        }
        self._ids = _Ids(self._carrier.get("traceparent", ""))
        wiring = stdio.Wiring.of(closed, reads_caller=not options.no_stdin)
        if wiring.stdin_relayed:
            # Else it is chosen while the command runs already.
            self._dialect = self._dialect or by_command(command)
            wiring = stdio.Wiring.of(closed, reads_caller=of_lines(self._dialect).opens_runs)
        if found.exporters("traces"):
            if os.environ.get("OTEL_TRACES_SAMPLER"):
                self._set_up()  # only the sampler knows whether the trace is sampled
                conversation = self._open(_clock())
                variables |= {name.upper(): text for name, text in conversation.traceparent().items()}
            else:
                variables["TRACEPARENT"] = self._ids.traceparent
        self._relay = stdio.Relay(command, variables, wiring, self._told)

    def start(self) -> None:
        """Start the command; what tells of it is loaded meanwhile.

        Raises: OSError where it cannot be started.
        """
        sys.setswitchinterval(_SWITCH_S)
        self._relay.start(keeps_stderr=self._summary)
        threading.Thread(target=self._load, name="streamgauge-told", daemon=True).start()

    def _load(self) -> None:
        try:
            if self._conversation is None:
                self._set_up()
                self._open(self._relay.started_at)
            self._told.serve(self._conversation)
        except Exception as error:
            self._log.said.append(f"nothing is told of it: {error}")

    def _set_up(self) -> None:
        from streamgauge import pipeline, telemetry

        found, kind = self._settings, pipeline.Pipeline
        if self._capture is not None:
            found, kind = replace(found, capture_dir=os.curdir), _capturing(self._capture)
        made = kind(found, own_metrics=True)
        if found.exporters("traces") or found.exporters("metrics"):
            made.telemetry = telemetry.start(
                found,
                made.aggregates,
                lambda kind, reason, count: made.recorder.count(semconv.EXPORT_DROPPED, kind, reason, amount=count),
            )
            provider = made.telemetry.tracer_provider
            if hasattr(provider, "id_generator"):
                provider.id_generator = self._ids.before(provider.id_generator)
            made.trace_with(provider)
        pipeline.use(made)
        self._made = made

    def _open(self, at: int) -> Any:
        from streamgauge import duplex

        name = self._dialect or by_command(self._command)
        kind = of_lines(name)
        facts: dict[str, Any] = {} if kind.opens_runs else {"agent_name": self._name}
        watch = duplex.watch("stdio", dialect=name, pipeline=lambda: self._made, **facts)
        session = self._name if kind.opens_runs else ""
        self._conversation = watch("", self._carrier, at=at, name=session, command=self._command)
        return self._conversation

    def finish(self) -> None:
        """Wait for the command, tell how it ended, and end so."""
        relay = self._relay
        ended = relay.wait()
        until = time.monotonic() + self._flush_s
        outcome, error_type = stdio.judged(ended, told_to_end=relay.told_to_end, reader_left=relay.reader_left)
        try:
            self._told.aside("exited", ended.fact, relay.ended_at)
            self._told.end(_clock(), outcome, error_type)
            self._flush(until)
            if self._summary:
                self._sum_up(ended, outcome)
        except Exception:  # whatever it is, the command has ended as it has
            pass
        relay.dismiss()
        stdio.leave(ended)

    @property
    def _flush_s(self) -> float:
        given = self._settings.shutdown_timeout_s
        return given if os.environ.get("STREAMGAUGE_SHUTDOWN_TIMEOUT_S") else min(given, FLUSH_S)

    def _flush(self, until: float) -> None:
        if not self._told.settled(until - time.monotonic()) or self._made is None:
            return
        from streamgauge import pipeline

        made = self._made
        made.settings = replace(made.settings, shutdown_timeout_s=max(0.0, until - time.monotonic()))
        pipeline.shutdown()
        if self._capture is not None:
            self._capture.close()

    def _sum_up(self, ended: Ended, outcome: Outcome | None) -> None:
        from streamgauge.cli import _numbers, _text

        how = f"ended by {stdio.signal_name(ended.signal)}" if ended.signal else f"exited with {ended.code}"
        took = _numbers.seconds((self._relay.ended_at - self._relay.started_at) / 1e9)
        lines = [f"streamgauge: {self._name} {how} after {took}{f', {outcome}' if outcome else ''}"]
        rows = _numbers.rows(self._made) if self._made is not None else []
        if rows:
            table = [
                (
                    row.dialect,
                    ", ".join(f"{count} {one}" for one, count in row.outcomes.items() if count),
                    _numbers.seconds(row.first_token.quantile(0.5)),
                    _numbers.seconds(row.first_answer.quantile(0.5)),
                    str(row.chunks),
                    str(row.stalls),
                    str(row.retries),
                )
                for row in rows
            ]
            headings = ("dialect", "turns", "first token", "first answer", "chunks", "stalls", "retries")
            lines.append(_text.columns(headings, table, limit=0))
        lines += [f"streamgauge: {said}" for said in self._log.said]
        os.write(2, ("\n".join(lines) + "\n").encode())


def _capturing(file: Any) -> type[Pipeline]:
    """A pipeline that has its one capture where it was asked for."""
    from streamgauge.capture import CaptureWriter, redact_secrets
    from streamgauge.pipeline import Pipeline

    class Capturing(Pipeline):
        def new_capture(self, request: Any, at: int, anchor: int, framing: str | None) -> Any:
            return CaptureWriter(
                file, request, framing=framing, opened_at=at, anchor=anchor, redact=redact_secrets,
                max_bytes=self.settings.capture_max_bytes,
            )  # fmt: skip

    return Capturing


def _opened(path: str) -> Any:
    """A new file, for its owner alone: it holds content. Each line is in it at once, as we may be killed."""
    try:
        return open(path, "wb", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))
    except OSError as error:
        raise UsageError(f"--capture {path}: {(error.strerror or str(error)).lower()}") from error


class _Ids:
    """The ids of the session's span, before there is a span: the command is given them when it is started."""

    def __init__(self, traceparent: str) -> None:
        parent = _PARENT.fullmatch(traceparent.strip())
        self._trace = parent[1] if parent else os.urandom(16).hex()
        self._span = os.urandom(8).hex()
        # As the SDK's own default has it: what has a parent is sampled if that is.
        self.traceparent = f"00-{self._trace}-{self._span}-{parent[3] if parent else '01'}"

    def before(self, others: Any) -> Any:
        """A generator that gives these first."""
        spans, traces = [int(self._span, 16)], [int(self._trace, 16)]

        class First(type(others)):  # type: ignore[misc]  # of the SDK's own kind, which is not ours to import
            def generate_span_id(self) -> int:
                return spans.pop() if spans else int(others.generate_span_id())

            def generate_trace_id(self) -> int:
                return traces.pop() if traces else int(others.generate_trace_id())

        return First()


class _Log(logging.Handler):
    """Keeps what would be said on standard error, which is the command's."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.said) < 20 and record.name.startswith(("streamgauge", "opentelemetry")):
            self.said.append(record.getMessage())
