"""One cause is told once: whatever it makes burn, and also hours after it is over."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.generate.alerts import PREFIX
from dashboards.generate.metrics import bucket, count, label, name
from dashboards.generate.objectives import PAGE, Objectives
from dashboards.generate.scenarios.base import Scenario, run
from streamgauge import semconv

__all__ = ["causes"]

_BEFORE, _FAULT, _AFTER = 60, 30, 400
"""Minutes. The longest of short windows is of six hours."""
_PACE = 100
_OUTCOME, _ERROR = label(semconv.STREAMGAUGE_OUTCOME), label(semconv.ERROR_TYPE)


def causes(objectives: Objectives) -> Iterator[Scenario]:
    made = Scenario("causes", "each cause is told once", evaluated="2m")  # eight hours in a few seconds
    told = {
        "stalls": "SilentStreams",
        "errors": "ErrorInside200",
        "slow": "FirstTokenBurn",
        "storm": "RetryStorm",
        "refused": "OutcomeBurn",
    }
    # A program that has been there for a while, and one that has no other past than the fault.
    for suffix, before in (("", _BEFORE), ("-young", 1)):
        _stalls(made, objectives, f"stalls{suffix}", before)
        _errors(made, objectives, f"errors{suffix}", before, "overloaded_error")
        _slow(made, objectives, f"slow{suffix}", before)
        _storm(made, objectives, f"storm{suffix}", before)
        _errors(made, objectives, f"refused{suffix}", before, "503")
    end = _BEFORE + _FAULT + _AFTER
    others = "|".join(objectives.jobs)  # which are absent here
    fired = f'ALERTS{{alertstate="firing",job!~"{others}"}}'
    made.asked[end] = [
        (f"count by (job, alertname, severity) (count_over_time({fired}[{end}m]))", {
            f'{{alertname="{PREFIX}{alert}", job="{job}{suffix}", severity="{PAGE}"}}': 1
            for job, alert in told.items()
            for suffix in ("", "-young")
        }),
        (fired, {}),
    ]  # fmt: skip
    yield made


def _phases(before: int, during: float, otherwise: float) -> str:
    """The values of a counter that a fault changes."""
    first, then = otherwise * before, otherwise * before + during * _FAULT
    return (
        f"0+{otherwise:g}x{before} {first + during:g}+{during:g}x{_FAULT - 1}"
        f" {then + otherwise:g}+{otherwise:g}x{_BEFORE + _AFTER - before - 1}"
    )


def _gauge(before: int, during: float, otherwise: float) -> str:
    return f"{otherwise:g}+0x{before} {during:g}+0x{_FAULT - 1} {otherwise:g}+0x{_BEFORE + _AFTER - before - 1}"


def _streams(made: Scenario, job: str, before: int, completed: float, **ended: tuple[str, float]) -> None:
    """Streams in a minute while the fault lasts: those that complete, and others by outcome."""
    made.add(name(semconv.STREAMS), run(job, **{_OUTCOME: "completed"}), _phases(before, completed, _PACE))
    for outcome, (error, during) in ended.items():
        made.add(name(semconv.STREAMS), run(job, **{_OUTCOME: outcome, _ERROR: error}), _phases(before, during, 0))


def _first_tokens(made: Scenario, objectives: Objectives, job: str, before: int, every: float, in_time: float) -> None:
    labels = run(job, **{label(semconv.STREAMGAUGE_STREAM_GRANULARITY): "token"})
    late = f"{objectives.first_token_seconds:.1f}"
    made.add(count(semconv.FIRST_CHUNK), labels, _phases(before, every, _PACE))
    made.add(bucket(semconv.FIRST_CHUNK), {**labels, "le": late}, _phases(before, in_time, _PACE))


def _stalls(made: Scenario, objectives: Objectives, job: str, before: int) -> None:
    """Half of the streams that are open are silent at any time; half of them before their first token, too, and a third
    is given up by a deadline."""
    _streams(made, job, before, _PACE * 2 / 3, timed_out=("timeout", _PACE / 3))
    _first_tokens(made, objectives, job, before, _PACE, 0)
    stalled = run(job, during="generation")
    made.add(name(semconv.STALLS), stalled, _phases(before, _PACE, 0))
    made.add(count(semconv.STALL_DURATION), stalled, _phases(before, _PACE, 0))
    short = {**stalled, "le": f"{objectives.stall_seconds:.1f}"}
    made.add(bucket(semconv.STALL_DURATION), short, _phases(before, 0, 0))
    made.add(name(semconv.SILENT), run(job), _gauge(before, 20, 0))
    made.add(name(semconv.ACTIVE), run(job), _gauge(before, 40, 20))


def _errors(made: Scenario, objectives: Objectives, job: str, before: int, error: str) -> None:
    """Streams that fail: within their answer, or by a status, of which the budget alone tells."""
    _streams(made, job, before, _PACE * 0.2, failed=(error, _PACE * 0.8))
    _first_tokens(made, objectives, job, before, _PACE * 0.2, _PACE * 0.2)


def _slow(made: Scenario, objectives: Objectives, job: str, before: int) -> None:
    _streams(made, job, before, _PACE)
    _first_tokens(made, objectives, job, before, _PACE, 0)


def _storm(made: Scenario, objectives: Objectives, job: str, before: int) -> None:
    """Each request fails three times, and the fourth attempt answers: late, for who has asked."""
    _streams(made, job, before, _PACE, failed=("503", 3 * _PACE))
    _first_tokens(made, objectives, job, before, _PACE, 0)
    made.add(name(semconv.RETRIES), run(job, target="request", reason="503"), _phases(before, 3 * _PACE, 0))
