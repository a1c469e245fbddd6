"""What is wrong with settings of which each value by itself is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from dashboards.generate.durations import ObjectivesError, seconds_of
from dashboards.generate.words import FIRST_TOKEN, NO_STALL, PAGE, SLOS, TICKET
from streamgauge import semconv

if TYPE_CHECKING:
    from dashboards.generate.objectives import Objectives

__all__ = ["check"]

_SCRAPES: Final = 4
"""A rate over fewer scrapes than this is lost with one of them."""


def check(objectives: Objectives) -> None:
    """What is wrong although each value by itself is not."""
    if not objectives.jobs:
        raise ObjectivesError("jobs is empty: nothing would be missed")
    for slo, target in objectives.targets.items():
        _between(target, 0, 1, f"objective.{slo}.target")
    if objectives.time_scale < 1:
        raise ObjectivesError(f"time_scale is {objectives.time_scale:g}, and must be 1 or more")
    _positive(objectives.period_days, "period_days")
    if objectives.period_days % 1:
        raise ObjectivesError("period_days must be whole days")
    _bucket(objectives.first_token_seconds, (semconv.FIRST_CHUNK, semconv.SERVER_FIRST_TOKEN), FIRST_TOKEN)
    _bucket(objectives.stall_seconds, (semconv.STALL_DURATION,), NO_STALL)
    _bucket(objectives.health.added_latency_seconds, (semconv.ADDED_LATENCY,), "")
    _check_burns(objectives)
    _check_tables(objectives)
    _check_windows(objectives)


def _bucket(seconds: float, metrics: Sequence[semconv.Metric], slo: str) -> None:
    where = f"objective.{slo}.seconds" if slo else "health.added_latency_seconds"
    bounds = sorted(set.intersection(*(set(metric.buckets) for metric in metrics)))
    if seconds not in bounds:
        names = " and of ".join(metric.name for metric in metrics)
        known = ", ".join(f"{bound:g}" for bound in bounds)
        raise ObjectivesError(f"{where} is {seconds:g}, which is no bucket of {names}; those are {known}")


def _check_burns(objectives: Objectives) -> None:
    for index, burn in enumerate(objectives.burns):
        where = f"burn[{index}]"
        if burn.severity not in (PAGE, TICKET):
            raise ObjectivesError(f"{where}.severity is {burn.severity!r}, and must be {PAGE} or {TICKET}")
        _positive(burn.factor, f"{where}.factor")
        _positive(burn.minimum_events, f"{where}.minimum_events")
        if seconds_of(burn.short) >= seconds_of(burn.long):
            raise ObjectivesError(f"{where}: short ({burn.short}) must be shorter than long ({burn.long})")
        if seconds_of(burn.long) >= objectives.period_days * 86400:
            raise ObjectivesError(f"{where}.long ({burn.long}) must be shorter than period_days")
        for slo in SLOS:
            if burn.factor * objectives.budget(slo) >= 1:
                raise ObjectivesError(
                    f"{where}.factor is {burn.factor:g}: with the target {objectives.targets[slo]:g} of {slo} nothing"
                    " is ever so bad; raise the target, or lower the factor"
                )
    for severity in (PAGE, TICKET):
        if not objectives.burns_of(severity):
            raise ObjectivesError(f"burn has none of the severity {severity}")


def _check_tables(objectives: Objectives) -> None:
    for name in ("symptom", "yesterday", "health"):
        table = getattr(objectives, name)
        for field in fields(table):
            value = getattr(table, field.name)
            where = f"{name}.{field.name}"
            if isinstance(value, str):
                seconds_of(value)
            elif field.name.endswith("ratio"):
                # More stalls than streams are possible; of all else there is a part.
                _positive(value, where) if field.name == "stall_ratio" else _between(value, 0, 1, where)
            else:
                _positive(value, where)
    if objectives.yesterday.chunk_rate_factor >= 1:
        raise ObjectivesError("yesterday.chunk_rate_factor must be below 1: it is a drop")
    if seconds_of(objectives.yesterday.offset) < seconds_of(objectives.yesterday.window):
        raise ObjectivesError("yesterday.offset must be at least yesterday.window: they would overlap")


def _check_windows(objectives: Objectives) -> None:
    health = objectives.health
    shortest = _SCRAPES * seconds_of(objectives.scrape_interval)
    for window in (*objectives.windows, objectives.symptom.window, objectives.yesterday.window, health.window):
        if objectives.seconds(window) < shortest:
            scaled = objectives.duration(window)
            raise ObjectivesError(
                f"the window {window}{f' ({scaled})' if scaled != window else ''} is shorter than {_SCRAPES} times the"
                f" scrape_interval of {objectives.scrape_interval}"
            )
    if seconds_of(objectives.evaluation_interval) > objectives.seconds(objectives.base_window):
        raise ObjectivesError(
            f"evaluation_interval is {objectives.evaluation_interval}, longer than the window {objectives.base_window}:"
            " what lies between would be in no rate"
        )


def _positive(value: float, where: str) -> None:
    if not value > 0:
        raise ObjectivesError(f"{where} is {value:g}, and must be more than 0")


def _between(value: float, low: float, high: float, where: str) -> None:
    if not low < value < high:
        raise ObjectivesError(f"{where} is {value:g}, and must lie between {low:g} and {high:g}")
