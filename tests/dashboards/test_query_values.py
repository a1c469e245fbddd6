"""What the boards' queries come to, in Prometheus' own engine: promtool is given series, and what must come out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.generate import metrics
from dashboards.generate.boards import queries

from streamgauge import semconv

ROOT = Path(__file__).parents[2]
TARGET = {"job": "j", "instance": "i"}
COMMON = dict.fromkeys(metrics.COMMON, "") | {"gen_ai_operation_name": "invoke_agent", "streamgauge_dialect": "jaf"}
STREAMS, RETRIES = metrics.name(semconv.STREAMS), metrics.name(semconv.RETRIES)
BLIND = metrics.name(semconv.TAP_BLIND)
FIRST = semconv.FIRST_CHUNK


def _named(name: str, **labels: str) -> str:
    shown = ",".join(f'{label}="{value}"' for label, value in {**TARGET, **labels}.items())
    return f"{name}{{{shown}}}"


def _of_stream(name: str, **labels: str) -> str:
    return _named(name, **{**COMMON, **labels})


def _filled(query: str) -> str:
    query = query.replace("$__rate_interval", "4m").replace("$__range", "30m")
    return re.sub(r'=~"\$\w+"', '=~".*"', query)


def evaluated(
    tmp_path: Path, series: dict[str, str], query: str, at: str, samples: list[tuple[str, float]]
) -> subprocess.CompletedProcess[str]:
    """promtool's opinion whether that is what the query comes to."""
    program = shutil.which("promtool", path=f"{ROOT / '.tools' / 'usr' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "promtool is missing: scripts/get_tools"
    expected = [{"labels": labels, "value": value} for labels, value in samples]
    given: dict[str, Any] = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": _filled(query), "eval_time": at, "exp_samples": expected}],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(given), "utf-8")
    return subprocess.run([program, "test", "rules", str(file)], capture_output=True, text=True, check=False)


BUCKETS = {"0.5": "0+0x60", "1.0": "0+60x60", "2.0": "0+60x60", "+Inf": "0+60x60"}
"""A stream a second, all between half a second and one."""


def _streams(operation: str = "invoke_agent", values: dict[str, str] = BUCKETS) -> dict[str, str]:
    labels = {"gen_ai_operation_name": operation, "streamgauge_stream_granularity": "token"}
    return {_of_stream(metrics.bucket(FIRST), le=le, **labels): shown for le, shown in values.items()}


ENDED = {_of_stream(STREAMS, streamgauge_outcome="completed", error_type=""): "0+60x60"}
SLOW_CALLS = {"0.5": "0+0x60", "1.0": "0+0x60", "2.0": "0+600x60", "+Inf": "0+600x60"}
FAILED = queries.matching(semconv.STREAMGAUGE_OUTCOME, "=", "failed")
FAILING = queries.share(queries.rate(STREAMS, FAILED), queries.rate(STREAMS))

CASES: dict[str, tuple[dict[str, str], str, str, list[tuple[str, float]]]] = {
    "what is new counts from its first event": (
        {_named(BLIND, reason="slow"): "_x10 1x50"},
        queries.new(BLIND, by=("reason",)), "12m", [('{reason="slow"}', 1)],
    ),
    "and not again when it is old": (
        {_named(BLIND, reason="slow"): "_x10 1x50"},
        queries.new(BLIND, by=("reason",)), "20m", [('{reason="slow"}', 0)],
    ),
    "what grows counts as it grows": (
        {_named(BLIND, reason="slow"): "0+2x60"}, queries.new(BLIND), "50m", [("{}", 8)],
    ),
    "a counter that is reset loses nothing of what came after": (
        {_named(BLIND, reason="slow"): "100+0x45 2+2x15"}, queries.new(BLIND), "49m", [("{}", 8)],
    ),
    "a target that was away is no birth": (
        {_named(BLIND, reason="slow"): "1000x20 _x10 1000x30"}, queries.new(BLIND), "33m", [("{}", 0)],
    ),
    "in the time that is shown": (
        {_named(BLIND, reason="slow"): "_x40 3x20", _named(BLIND, reason="dialect"): "_x45 1x15"},
        queries.or_zero(queries.new(BLIND, over=queries.RANGE)), "60m", [("{}", 4)],
    ),
    "nothing is none": ({}, queries.or_zero(queries.new(BLIND)), "10m", [("{}", 0)]),
    "a share of what never was is 0": (ENDED, FAILING, "30m", [("{}", 0)]),
    "a share": (
        {**ENDED, _of_stream(STREAMS, streamgauge_outcome="failed", error_type="x"): "0+20x60"},
        FAILING, "30m", [("{}", 0.25)],
    ),
    "a share of nothing is nothing": ({next(iter(ENDED)): "60x60"}, FAILING, "30m", []),
    "a share of what is not there is nothing": ({}, FAILING, "30m", []),
    "a quantile": (
        {**_streams(), **ENDED}, queries.quantile(0.5, FIRST, only=queries.of_streams), "30m", [("{}", 0.75)],
    ),
    "a quantile of streams is not of the calls in them": (
        {**_streams(), **_streams("chat", SLOW_CALLS), **ENDED},
        queries.quantile(0.5, FIRST, only=queries.of_streams), "30m", [("{}", 0.75)],
    ),
    "a quantile of calls is not of the streams": (
        {**_streams(), **_streams("chat", SLOW_CALLS), **ENDED},
        queries.quantile(0.5, FIRST, queries.MODEL_CALLS), "30m", [("{}", 1.5)],
    ),
    "a quantile of nothing is nothing": (
        {**_streams(values={"1.0": "60x60", "+Inf": "60x60"}), **ENDED}, queries.quantile(0.5, FIRST), "30m", [],
    ),
    "an average": (
        {
            _of_stream(metrics.total(FIRST), streamgauge_stream_granularity="token"): "0+30x60",
            _of_stream(metrics.count(FIRST), streamgauge_stream_granularity="token"): "0+60x60",
        },
        queries.average(FIRST), "30m", [("{}", 0.5)],
    ),
    "only what is within runs": (
        {
            _of_stream(RETRIES, target="model", reason="429"): "0+60x60",
            _of_stream(RETRIES, target="model", reason="429", streamgauge_dialect="openai-chat"): "0+600x60",
            **ENDED,
        },
        queries.rate(RETRIES, by=("reason",), only=queries.within_runs), "30m", [('{reason="429"}', 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_query_comes_to(tmp_path: Path, case: str) -> None:
    series, query, at, samples = CASES[case]
    done = evaluated(tmp_path, series, query, at, samples)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_value_is_refused(tmp_path: Path) -> None:
    """promtool is asked for what it checks at all."""
    done = evaluated(tmp_path, ENDED, queries.rate(STREAMS), "30m", [("{}", 2)])
    assert done.returncode != 0
    assert "got" in done.stdout + done.stderr
