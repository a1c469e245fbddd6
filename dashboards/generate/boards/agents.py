"""Agents and tools: what runs do, and what their time and tokens go to."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards.board import Row, board
from dashboards.generate.boards.links import spans
from dashboards.generate.boards.panels import Target, above, heat, lines, number, ranks
from dashboards.generate.boards.queries import (
    MODEL_CALLS,
    average,
    new,
    of_streams,
    or_zero,
    rate,
    ratio,
    share,
    within_runs,
)  # fmt: skip
from dashboards.generate.boards.tables import spans_table
from dashboards.generate.boards.tools import (
    CALLS,
    ERROR,
    FAILED,
    NO_CALLS,
    RETRIES,
    RETRY_TRACES,
    TOOL,
    TOOL_TRACES,
    retries,
    tokens,
    tool_ends,
    tools,
)  # fmt: skip
from dashboards.generate.objectives import TOOLS, Objectives
from streamgauge import semconv
from streamgauge.semconv import RELEASED

__all__ = ["agents"]

AGENT: Final = metrics.label(semconv.GEN_AI_AGENT_NAME)
RUNS: Final = metrics.count(semconv.AGENT_DURATION)
NO_RUNS: Final = "no runs"
_STEPS: Final = spans("Steps", '{ span.gen_ai.operation.name = "step" }')
_RUN_TRACES: Final = spans("Runs", '{ span.gen_ai.operation.name = "invoke_agent" }')


def agents(objectives: Objectives) -> dict[str, Any]:
    return board(
        "streamgauge-agents",
        "What agents do in a run, which tools and models they use for it, and where a run's time and tokens go. A "
        "run is an invoke_agent operation; nested agents have runs of their own.",
        [
            Row("Is it fine?", _numbers(objectives)),
            Row("Runs", _runs()),
            Row("Where a run's time goes", _time()),
            Row("Tools", tools(objectives)),
            Row("Retries", retries()),
            Row("Tokens", tokens()),
            Row("Traces (asked for when opened)", _traces(), collapsed=True),
        ],
    )


def _numbers(objectives: Objectives) -> list[Any]:
    counted = tool_ends(objectives)
    failing = share(rate(CALLS, FAILED, *counted), rate(CALLS, *counted))
    return [
        number(
            "Runs",
            "Runs of agents that ended, a minute. 0 at a time that is usually busy: agents are not called, or none "
            "ends.",
            "suffix:runs/min",
            [Target(or_zero(f"60 * {rate(RUNS)}"))],
            decimals=1,
        ),
        number(
            "Runs that fail",
            "Of all runs of the last minutes, whatever failed in them: the model, a tool, the agent itself. The "
            "rows below tell which.",
            "percentunit",
            [Target(share(rate(RUNS, FAILED), rate(RUNS)))],
            no_value=NO_RUNS,
            steps=above(objectives.symptom.error_ratio),
        ),
        number(
            "Model calls per run",
            "On average. More than usual: agents go round in circles, or a tool gives them nothing; it is what a "
            "run costs.",
            "none",
            [Target(average(semconv.AGENT_INFERENCE_CALLS))],
            no_value=NO_RUNS,
            decimals=2,
        ),
        number(
            "Tool calls per run",
            "On average. Falls to 0 after a release: the model no longer sees its tools.",
            "none",
            [Target(average(semconv.AGENT_TOOL_CALLS))],
            no_value=NO_RUNS,
            decimals=2,
        ),
        number(
            "Tool calls that fail",
            f"Of all tool calls of the last minutes. The objective allows {objectives.budget(TOOLS):.2g}.",
            "percentunit",
            [Target(failing)],
            no_value=NO_CALLS,
            steps=above(objectives.budget(TOOLS), objectives.symptom.tool_ratio),
        ),
        number(
            "Retries",
            "A minute, of models, tools and requests together. Callers do not see them but as delay; a storm of "
            "them is load that a provider in trouble gets on top.",
            "suffix:retries/min",
            [Target(or_zero(f"60 * {rate(RETRIES)}"))],
            decimals=1,
            links=[RETRY_TRACES],
        ),
    ]


def _runs() -> list[Any]:
    return [
        lines(
            "Duration of runs",
            "Half, 95 and 99 of 100 runs are shorter. Below, it is split into models, tools and the rest.",
            "s",
            ranks(semconv.AGENT_DURATION, 0.5, 0.95, 0.99),
            span=8,
            no_value=NO_RUNS,
            links=[_RUN_TRACES],
        ),
        lines(
            "Runs by agent",
            "Runs that ended. Who is called, and whose runs have stopped.",
            "suffix:runs/s",
            [Target(rate(RUNS, by=(AGENT,)), f"{{{{{AGENT}}}}}")],
            span=8,
            stacked=True,
            no_value=NO_RUNS,
            links=[_RUN_TRACES],
        ),
        lines(
            "Failing runs by error",
            "Runs that failed, in each interval, by the error's type. One type alone has one cause: look at its "
            "traces.",
            "suffix:runs",
            [Target(new(RUNS, FAILED, by=(AGENT, ERROR)), f"{{{{{AGENT}}}}} {{{{{ERROR}}}}}")],
            span=8,
            stacked=True,
            bars=True,
            no_value="no run failed",
            links=[
                spans("Traces with this error", f'{{ span.error.type = "${{__field.labels.{ERROR}:percentencode}}" }}')
            ],
        ),
        heat(
            "Model calls of a run",
            "How many model calls runs make, each a step of most agents. A second band high up: runs that loop "
            "until their limit. A step itself is a span and no metric: the link lists them.",
            "none",
            semconv.AGENT_INFERENCE_CALLS,
            span=8,
            height=8,
            no_value=NO_RUNS,
            links=[_STEPS],
        ),
        heat(
            "Tool calls of a run",
            "How many tools runs use. Beside model calls: as many means one tool for each step, many more means "
            "tools in parallel.",
            "none",
            semconv.AGENT_TOOL_CALLS,
            span=8,
            height=8,
            no_value=NO_RUNS,
        ),
        lines(
            "Model calls per run, by agent",
            "On average. An agent whose line leaves the others has got a new prompt, a new model, or a tool that fails "
            "quietly.",
            "none",
            [Target(average(semconv.AGENT_INFERENCE_CALLS, by=(AGENT,)), f"{{{{{AGENT}}}}}")],
            span=8,
            no_value=NO_RUNS,
            links=[_STEPS],
        ),
    ]


def _time() -> list[Any]:
    run = rate(metrics.total(semconv.AGENT_DURATION), only=of_streams)
    model = rate(metrics.total(RELEASED.inference_duration), MODEL_CALLS, only=within_runs)
    tool = rate(metrics.total(semconv.TOOL_DURATION), only=within_runs)
    by_tool = rate(metrics.total(semconv.TOOL_DURATION), by=(TOOL,), only=within_runs)
    models, used = share(model, run), share(tool, run)
    rest = f"clamp_min(1 - ({models}) - ({used}), 0)"
    return [
        lines(
            "Time of runs",
            "What share of the time of runs passes in model calls, in tools, and in the rest: the agent's own work, "
            "waits for people, retries' pauses, callers that read slowly. Optimize the largest. Above 100 % tools "
            "or models run in parallel. Of runs that are streams, not of nested ones.",
            "percentunit",
            [Target(models, "models"), Target(used, "tools"), Target(rest, "the rest")],
            stacked=True,
            no_value=NO_RUNS,
            colors={"models": "blue", "tools": "orange", "the rest": "text"},
            links=[_RUN_TRACES],
        ),
        lines(
            "Time of runs, by tool",
            "The same, of each tool. The one on top is worth making faster, whatever its latency is: it counts how "
            "often it is called, too.",
            "percentunit",
            [Target(ratio(by_tool, run, on=()), f"{{{{{TOOL}}}}}")],
            stacked=True,
            no_value=NO_CALLS,
            links=[TOOL_TRACES],
        ),
    ]


def _traces() -> list[Any]:
    return [
        spans_table(
            "Steps",
            "The latest steps of runs, from the trace data source: a step is a span, and no metric. A row opens its "
            "trace.",
            '{ span.gen_ai.operation.name = "step" }',
            span=12,
        ),
        spans_table(
            "Tool calls that failed",
            "The latest, from the trace data source. A row opens its trace, with the run around it.",
            '{ span.gen_ai.operation.name = "execute_tool" && status = error }',
            span=12,
        ),
    ]
