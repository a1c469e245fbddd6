"""The settings of the rules: `objectives.toml`, checked.

In: a TOML file; what it leaves out has the value of the one beside this package. Out: `Objectives`, of which every
value can be used as it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from dashboards.generate.checks import check
from dashboards.generate.durations import ObjectivesError, duration_of, seconds_of
from dashboards.generate.words import ENDS_WELL, FIRST_TOKEN, NO_STALL, PAGE, SLOS, TICKET, TOOLS

__all__ = [
    "DEFAULTS",
    "ENDS_WELL",
    "FIRST_TOKEN",
    "NO_STALL",
    "PAGE",
    "SLOS",
    "TICKET",
    "TOOLS",
    "Burn",
    "Health",
    "Notify",
    "Objectives",
    "ObjectivesError",
    "Symptom",
    "Yesterday",
    "load",
    "seconds_of",
]

DEFAULTS: Final = Path(__file__).parents[1] / "objectives.toml"

_WORD: Final = re.compile(r"[\w:/-]+")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Burn:
    """A pair of windows, and how much too fast the budget goes in both before somebody is told."""

    severity: str
    factor: float
    long: str
    short: str
    minimum_events: float


@dataclass(frozen=True, slots=True)
class Symptom:
    """From when on streams are ill, whatever is left of a budget."""

    window: str
    silent_window: str
    minimum_streams: float
    minimum_silent: float
    minimum_tool_calls: float
    stall_ratio: float
    silent_ratio: float
    error_ratio: float
    request_retries: float
    other_retries: float
    tool_ratio: float


@dataclass(frozen=True, slots=True)
class Yesterday:
    """How different from the day before is news."""

    window: str
    offset: str
    minimum_streams: float
    abandonment_factor: float
    abandonment_rise: float
    chunk_rate_factor: float


@dataclass(frozen=True, slots=True)
class Health:
    """From when on streamgauge itself is ill."""

    window: str
    minimum_count: float
    minimum_dropped: float
    labels_window: str
    minimum_capped: float
    added_latency_seconds: float
    added_latency_ratio: float
    minimum_pieces: float
    overloaded_ratio: float
    minimum_refused: float
    absent_for: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Webhooks of Alertmanager; empty for none."""

    page_url: str
    ticket_url: str


@dataclass(frozen=True, slots=True)
class Objectives:
    jobs: tuple[str, ...]
    scrape_interval: str
    evaluation_interval: str
    period_days: float
    runbook_url: str
    time_scale: float
    targets: Mapping[str, float]
    """SLO: the share of events that is to be good."""
    first_token_seconds: float
    stall_seconds: float
    caller_errors: tuple[str, ...]
    not_failures: tuple[str, ...]
    burns: tuple[Burn, ...]
    symptom: Symptom
    yesterday: Yesterday
    health: Health
    notify: Notify

    def budget(self, slo: str) -> float:
        """The share of events that may be bad."""
        return round(1 - self.targets[slo], 10)

    def seconds(self, duration: str) -> float:
        """How long it is, scaled."""
        return seconds_of(duration) / self.time_scale

    def duration(self, duration: str) -> str:
        """The same as Prometheus and Alertmanager write it: `5m` is `5s` where the scale is 60."""
        return duration_of(self.seconds(duration))

    def burns_of(self, severity: str) -> tuple[Burn, ...]:
        return tuple(burn for burn in self.burns if burn.severity == severity)

    @property
    def windows(self) -> tuple[str, ...]:
        """All windows that a ratio of errors is recorded over, the shortest first; but for the period's."""
        found = {window for burn in self.burns for window in (burn.long, burn.short)}
        return tuple(sorted(found, key=seconds_of))

    @property
    def period(self) -> str:
        return f"{self.period_days:g}d"

    @property
    def base_window(self) -> str:
        """The shortest: what the others are put together of."""
        return self.windows[0]


def load(path: Path | None = None) -> Objectives:
    """The settings of a file, over those of the one beside this package.

    Raises: ObjectivesError, which names the file and the key.
    """
    path = path or DEFAULTS
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ObjectivesError(f"{path}: {error.strerror or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ObjectivesError(f"{path}: {error}") from error
    defaults = tomllib.loads(DEFAULTS.read_text("utf-8"))
    try:
        objectives = _made(_over(defaults, given, ""))
        check(objectives)
    except ObjectivesError as error:
        raise ObjectivesError(f"{path}: {error}") from None
    return objectives


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`given`, and what it leaves out; nothing that the defaults do not know."""
    for key in given:
        if key not in defaults:
            raise ObjectivesError(f"{where}{key} is not known; there is {', '.join(defaults)}")
    merged = dict(defaults)
    for key, value in given.items():
        default = defaults[key]
        if isinstance(default, dict):
            if not isinstance(value, dict):
                raise ObjectivesError(f"{where}{key} is a table")
            merged[key] = _over(default, value, f"{where}{key}.")
        else:
            merged[key] = value
    return merged


def _made(raw: Mapping[str, Any]) -> Objectives:
    objective = raw["objective"]
    first, stall = objective[FIRST_TOKEN], objective[NO_STALL]
    burns = raw["burn"]
    if not isinstance(burns, list) or not burns or not all(isinstance(burn, dict) for burn in burns):
        raise ObjectivesError("burn is a list of tables, at least one")
    return Objectives(
        jobs=_words(raw["jobs"], "jobs"),
        scrape_interval=_typed(raw["scrape_interval"], str, "scrape_interval"),
        evaluation_interval=_typed(raw["evaluation_interval"], str, "evaluation_interval"),
        period_days=_typed(raw["period_days"], float, "period_days"),
        runbook_url=_typed(raw["runbook_url"], str, "runbook_url"),
        time_scale=_typed(raw["time_scale"], float, "time_scale"),
        targets={slo: _typed(objective[slo]["target"], float, f"objective.{slo}.target") for slo in SLOS},
        first_token_seconds=_typed(first["seconds"], float, f"objective.{FIRST_TOKEN}.seconds"),
        stall_seconds=_typed(stall["seconds"], float, f"objective.{NO_STALL}.seconds"),
        caller_errors=_words(objective[ENDS_WELL]["caller_errors"], f"objective.{ENDS_WELL}.caller_errors"),
        not_failures=_words(objective[TOOLS]["not_failures"], f"objective.{TOOLS}.not_failures"),
        burns=tuple(_table(Burn, burn, f"burn[{index}]") for index, burn in enumerate(burns)),
        symptom=_table(Symptom, raw["symptom"], "symptom"),
        yesterday=_table(Yesterday, raw["yesterday"], "yesterday"),
        health=_table(Health, raw["health"], "health"),
        notify=_table(Notify, raw["notify"], "notify"),
    )


def _table(kind: type[_T], raw: Mapping[str, Any], where: str) -> _T:
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if set(raw) != set(names):
        wrong = sorted(set(raw) ^ set(names))
        raise ObjectivesError(f"{where} has the keys {', '.join(names)}: see to {', '.join(wrong)}")
    return kind(**{name: _typed(raw[name], types[name], f"{where}.{name}") for name in names})


def _typed(value: Any, kind: type[_T], where: str) -> _T:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind):
        raise ObjectivesError(f"{where} is {value!r}, and must be a {'number' if kind is float else 'string'}")
    return value


def _words(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and _WORD.fullmatch(word) for word in value):
        raise ObjectivesError(f"{where} is {value!r}, and must be a list of words")
    return tuple(value)
