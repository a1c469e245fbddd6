"""The four SLOs: which events each has, which of them are bad, and when its budget burns.

An event is counted once, and in one SLO of its kind. `streamgauge.streams` has one value for each stream, whatever
went on below its run; so has `time_to_first_chunk`, where its labels are those of a stream that ended (the model calls
within a run have it too). The label `job` tells the programs apart, `slo` the objectives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dashboards.generate.metrics import RUN_LABELS, bucket, count, label, name
from dashboards.generate.objectives import ENDS_WELL, FIRST_TOKEN, NO_STALL, SLOS, TOOLS, Objectives
from streamgauge import semconv

__all__ = [
    "FAILED",
    "NOT_GENERATED",
    "SERVICE",
    "Sli",
    "bound",
    "burns",
    "events_of",
    "own_ends",
    "slis",
    "tool_calls",
]

SERVICE: Final = "streamgauge"

_OUTCOME = label(semconv.STREAMGAUGE_OUTCOME)
_ERROR = label(semconv.ERROR_TYPE)
_OPERATION = label(semconv.GEN_AI_OPERATION_NAME)
_TRANSPORT = label(semconv.STREAMGAUGE_TRANSPORT)
_GRANULARITY = label(semconv.STREAMGAUGE_STREAM_GRANULARITY)

NOT_GENERATED: Final = f'{_OPERATION}!~"{semconv.EXECUTE_TOOL}|{semconv.RPC}"'
"""A call of a tool, or another request of an agent protocol, that is a stream of its own: it generates nothing."""
_NOT_A_TOOL: Final = f'{_OPERATION}!="{semconv.EXECUTE_TOOL}"'
"""A tool that is called over the wire is in the SLO of tools, and not in that of streams as well."""
FAILED: Final = f'{_ERROR}!=""'
_OTHERS_PROGRAM: Final = f'{_OUTCOME}="shutdown",{_TRANSPORT}=~"asgi|http"'
"""The program that ended was not the caller: it cut somebody else's stream. In process, and in a client, it was."""


def own_ends(objectives: Objectives) -> str:
    """Selects the streams that the caller neither ended nor spoilt, but for those that a shutdown has cut."""
    ends = f'{_NOT_A_TOOL},{_OUTCOME}!~"abandoned|cancelled|shutdown"'
    return ends + (f',{_ERROR}!~"{"|".join(objectives.caller_errors)}"' if objectives.caller_errors else "")


def bound(seconds: float) -> str:
    """Selects a bucket. Its bound is `2.0` on `/metrics`, and `2` where a collector has written it anew."""
    return f'le=~"{seconds:g}([.]0)?"' if seconds == int(seconds) else f'le="{seconds:g}"'


def events_of(objectives: Objectives, slo: str) -> str:
    """PromQL: the events of an SLO, as they are recorded over the shortest window."""
    return f'slo:sli_events:rate{objectives.base_window}{{slo="{slo}"}}'


@dataclass(frozen=True, slots=True)
class Sli:
    """What one SLO counts, by job."""

    slo: str
    events: str
    """PromQL: how many events a second."""
    bad: str
    """PromQL: how many of them were bad; absent where none ever was."""
    before: tuple[tuple[str, str], ...] = ()
    """What is recorded for these: names and PromQL."""


def slis(objectives: Objectives) -> tuple[Sli, ...]:
    """Over the shortest window, from which the others are put together."""
    window = objectives.duration(objectives.base_window)
    made = (
        _first_token(objectives, window),
        _no_stall(objectives, window),
        _ends_well(objectives, window),
        _tools(objectives, window),
    )
    assert tuple(sli.slo for sli in made) == SLOS
    return made


def _first_token(objectives: Objectives, window: str) -> Sli:
    """Only of streams whose chunks are tokens; a whole message's first token is as late as its last. One that never had
    a token is seen in `ends-well`."""
    tokens = f'{_GRANULARITY}="token"'
    in_time = f"{tokens},{bound(objectives.first_token_seconds)}"

    def first(of: Callable[[semconv.Metric], str], selector: str) -> str:
        return (
            f"sum by (job) (\n"
            f"  rate({of(semconv.FIRST_CHUNK)}{{{selector}}}[{window}])\n"
            f"  and on ({', '.join(RUN_LABELS)})\n"
            f"  present_over_time({name(semconv.STREAMS)}[{window}])\n"
            f"  or\n"
            f"  rate({of(semconv.SERVER_FIRST_TOKEN)}{{{selector}}}[{window}])\n"
            f")"
        )

    bad = f"clamp_min({events_of(objectives, FIRST_TOKEN)} - on (job) {first(bucket, in_time)}, 0)"
    return Sli(FIRST_TOKEN, first(count, tokens), bad)


def _no_stall(objectives: Objectives, window: str) -> Sli:
    """No metric tells how many streams stalled, only how many stalls there were. So a second stall of a stream is taken
    for another bad stream; but never are more bad than there are."""
    generating = f'during="generation",{NOT_GENERATED}'
    stalls = f"rate({count(semconv.STALL_DURATION)}{{{generating}}}[{window}])"
    short = f"rate({bucket(semconv.STALL_DURATION)}{{{generating},{bound(objectives.stall_seconds)}}}[{window}])"
    long = f"job:streamgauge_long_stalls:rate{objectives.base_window}"
    events = events_of(objectives, NO_STALL)
    return Sli(
        NO_STALL,
        f"sum by (job) (rate({name(semconv.STREAMS)}{{{NOT_GENERATED}}}[{window}]))",
        f"({long} < on (job) {events})\nor on (job)\n({events} and on (job) {long})",
        ((long, f"clamp_min(\n  sum by (job) ({stalls})\n  - sum by (job) ({short}),\n  0\n)"),),
    )


def _ends_well(objectives: Objectives, window: str) -> Sli:
    streams = name(semconv.STREAMS)

    def ended(selector: str) -> str:
        return (
            f"sum by (job) (\n"
            f"  rate({streams}{{{selector}}}[{window}])\n"
            f"  or\n"
            f"  rate({streams}{{{_NOT_A_TOOL},{_OTHERS_PROGRAM}}}[{window}])\n"
            f")"
        )

    own = own_ends(objectives)
    return Sli(ENDS_WELL, ended(own), ended(f'{own},{_OUTCOME}!="completed"'))


def _tools(objectives: Objectives, window: str) -> Sli:
    calls = count(semconv.TOOL_DURATION)
    return Sli(
        TOOLS,
        f"sum by (job) (rate({calls}{tool_calls(objectives)}[{window}]))",
        f"sum by (job) (rate({calls}{tool_calls(objectives, FAILED)}[{window}]))",
    )


def tool_calls(objectives: Objectives, *selectors: str) -> str:
    """Selects the tool calls whose end is the tool's own. Of one that is cut with its stream it is the stream's."""
    told = f'{_ERROR}!~"{"|".join(objectives.not_failures)}"' if objectives.not_failures else ""
    return f"{{{','.join(filter(None, (*selectors, told)))}}}"


# Burns --------------------------------------------------------------------------------------------------------------


def burns(objectives: Objectives, slo: str, severity: str, told: Callable[[str], str]) -> str:
    """PromQL: the share of bad events in the long window, where the budget goes too fast in both windows.

    Args:
        told: given a window, PromQL for the end of an alert; see `alerts.told`. The short window is as far back as the
            burn remembers, and so is to be what it looks for: else it would be told when what explains it is over.
    """
    selector = f'{{slo="{slo}"}}'
    pairs = []
    for burn in objectives.burns_of(severity):
        limit = f"{burn.factor:g} * {objectives.budget(slo):g}"
        events = f"slo:sli_events:rate{burn.long}{selector} * {objectives.seconds(burn.long):.10g}"
        pairs.append(
            f"slo:sli_error:ratio_rate{burn.long}{selector} > {limit}\n"
            f"and slo:sli_error:ratio_rate{burn.short}{selector} > {limit}\n"
            f"and {events} >= {burn.minimum_events:g}\n"
            f"{told(objectives.duration(burn.short))}"
        )
    return "\nor\n".join(pairs)  # `or` binds least
