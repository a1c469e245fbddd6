"""The rows on tools, retries and tokens, of the board Agents and tools."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards.links import spans
from dashboards.generate.boards.panels import Target, above, lines, ranks
from dashboards.generate.boards.queries import (
    MODEL_CALLS,
    RANGE,
    matching,
    new,
    quantile,
    rate,
    ratio,
    share,
)  # fmt: skip
from dashboards.generate.boards.tables import Column, table
from dashboards.generate.objectives import TOOLS, Objectives
from streamgauge import semconv
from streamgauge.semconv import RELEASED

__all__ = [
    "CALLS", "ERROR", "FAILED", "NO_CALLS", "RETRIES", "RETRY_TRACES", "TOOL", "TOOL_TRACES", "retries", "tokens",
    "tool_ends", "tools",
]  # fmt: skip

DIALECT: Final = metrics.label(semconv.STREAMGAUGE_DIALECT)
TOOL: Final = metrics.label(semconv.GEN_AI_TOOL_NAME)
ERROR: Final = metrics.label(semconv.ERROR_TYPE)
TOKEN_TYPE: Final = metrics.label(semconv.GEN_AI_TOKEN_TYPE)
TARGET, REASON = metrics.label(semconv.TARGET), metrics.label(semconv.REASON)
CALLS: Final = metrics.count(semconv.TOOL_DURATION)
RETRIES: Final = metrics.name(semconv.RETRIES)
TOKENS_USED: Final = metrics.total(semconv.TOKEN_USAGE)
FAILED: Final = matching(ERROR, "!=", "")
NO_CALLS: Final = "no tool calls"
TOOL_TRACES: Final = spans(
    "Traces of this tool", f'{{ span.gen_ai.tool.name = "${{__field.labels.{TOOL}:percentencode}}" }}'
)
RETRY_TRACES: Final = spans("Traces with a retry", "{ span.streamgauge.retry.attempt > 0 }")


def tool_ends(objectives: Objectives) -> tuple[str, ...]:
    """Selects the calls whose end is the tool's own, as the objective has it."""
    return (matching(ERROR, "!~", *objectives.not_failures),) if objectives.not_failures else ()


def tools(objectives: Objectives) -> list[Any]:
    counted = tool_ends(objectives)
    by = (TOOL,)
    calls = rate(CALLS, *counted, by=by, over=RANGE)
    failing = share(rate(CALLS, FAILED, *counted, by=by, over=RANGE), calls)
    legend = f"{{{{{TOOL}}}}}"
    return [
        table(
            "Tools in the time that is shown",
            "Each tool: how often it was called, what share failed, and how long it took. Sorted by what is called "
            "most.",
            {TOOL: "Tool"},
            [
                Column("Calls", f"{new(CALLS, by=by, over=RANGE)} > 0", "none", decimals=0),
                Column(
                    "Failing", failing, "percentunit", above(objectives.budget(TOOLS), objectives.symptom.tool_ratio), 1
                ),
                Column("p50", quantile(0.5, semconv.TOOL_DURATION, by=by, over=RANGE), "s"),
                Column("p95", quantile(0.95, semconv.TOOL_DURATION, by=by, over=RANGE), "s"),
            ],
            span=12,
            height=9,
            no_value=NO_CALLS,
            sort="Calls",
        ),
        lines(
            "Latency of tools (p95)",
            "19 of 20 calls of the tool are faster. A run waits as long. A point is a call, and opens its trace.",
            "s",
            ranks(semconv.TOOL_DURATION, 0.95, by=by),
            height=9,
            no_value=NO_CALLS,
            links=[TOOL_TRACES],
        ),
        lines(
            "Tool calls",
            "Calls that ended. A tool that vanishes here after a release is no longer offered to the model.",
            "suffix:calls/s",
            [Target(rate(CALLS, by=by), legend)],
            span=8,
            stacked=True,
            no_value=NO_CALLS,
            links=[TOOL_TRACES],
        ),
        lines(
            "Tool calls that fail, by tool",
            "The share of each tool's calls that failed. An agent goes on without the answer, or asks again: it is "
            "seen as worse answers and more model calls before it is seen as failing runs.",
            "percentunit",
            [Target(share(rate(CALLS, FAILED, *counted, by=by), rate(CALLS, *counted, by=by)), legend)],
            span=8,
            top=1,
            no_value=NO_CALLS,
            steps=above(objectives.symptom.tool_ratio),
            links=[TOOL_TRACES],
        ),
        lines(
            "Failures by tool and error",
            "How many tool calls failed, in each interval, by the error's type.",
            "suffix:calls",
            [Target(new(CALLS, FAILED, by=(TOOL, ERROR)), f"{legend} {{{{{ERROR}}}}}")],
            span=8,
            stacked=True,
            bars=True,
            no_value="no tool failed",
            links=[TOOL_TRACES],
        ),
    ]


def retries() -> list[Any]:
    calls = metrics.count(RELEASED.inference_duration)
    of_models = matching(TARGET, "=~", "model", "request")
    return [
        lines(
            "Retries by target and reason",
            "What was tried again, in each interval: a model call, a tool, or a whole request; and why. 429 or "
            "rate_limit: ask for more quota, or for less. 5xx and overloaded: the provider. timeout: a deadline "
            "below its usual time.",
            "suffix:retries",
            [Target(new(RETRIES, by=(TARGET, REASON)), f"{{{{{TARGET}}}}} {{{{{REASON}}}}}")],
            stacked=True,
            bars=True,
            no_value="no retries",
            links=[RETRY_TRACES],
        ),
        lines(
            "Retries per model call, by dialect",
            "Retries of models and requests, for each model call that ended. 0.1 is every tenth; a client's retry "
            "budget is usually that. Much above it, retries are a good part of the load.",
            "percentunit",
            [
                Target(
                    share(rate(RETRIES, of_models, by=(DIALECT,)), rate(calls, MODEL_CALLS, by=(DIALECT,))),
                    f"{{{{{DIALECT}}}}}",
                )
            ],
            no_value="no model calls",
            links=[RETRY_TRACES],
        ),
    ]


def tokens() -> list[Any]:
    def of(kind: str) -> str:
        return matching(semconv.GEN_AI_TOKEN_TYPE, "=", kind)

    counted = metrics.count(semconv.TOKEN_USAGE)
    both = matching(semconv.GEN_AI_TOKEN_TYPE, "=~", "input", "output")
    by = (TOKEN_TYPE,)
    none = "no tokens were told"
    return [
        lines(
            "Tokens by type",
            "Tokens of model calls that ended. Not stacked: cache_read and cache_write are parts of input, and "
            "reasoning is a part of output. This is what is paid for.",
            "count:tokens/s",
            [Target(rate(TOKENS_USED, by=by), f"{{{{{TOKEN_TYPE}}}}}")],
            no_value=none,
        ),
        lines(
            "Tokens per model call",
            "On average. Input that climbs from step to step is a conversation that is sent again and again: cut "
            "it, or have it cached.",
            "none",
            [Target(ratio(rate(TOKENS_USED, both, by=by), rate(counted, both, by=by)), f"{{{{{TOKEN_TYPE}}}}}")],
            span=6,
            no_value=none,
        ),
        lines(
            "Input that came from a cache",
            "The share of input tokens that the provider had cached, which are cheaper and faster. A fall after a "
            "release: something at the beginning of the prompt now changes with each call.",
            "percentunit",
            [Target(share(rate(TOKENS_USED, of("cache_read")), rate(TOKENS_USED, of("input"))), "cached")],
            span=6,
            top=1,
            no_value=none,
        ),
    ]
