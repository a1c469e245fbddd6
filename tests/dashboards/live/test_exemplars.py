"""From a point on a board to its trace: Prometheus' exemplars, and a real trace store that has their spans."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from livestack.boards import Target, filled, read_targets
from livestack.phoenix import Phoenix
from livestack.processes import ROOT, until
from livestack.system import MACROS, System

pytestmark = pytest.mark.timeout(180)

TARGETS = [target for target in read_targets(ROOT / "dashboards" / "grafana") if target.exemplar]


def _exemplars(system: System, expr: str) -> list[dict[str, Any]]:
    now = system.prometheus.now()
    found = system.prometheus.get("query_exemplars", query=expr, start=now - 60, end=now)
    return [exemplar for series in found for exemplar in series["exemplars"]]


def _stored(phoenix: Phoenix, trace: str, span: str) -> dict[str, Any] | None:
    return next((each for each in phoenix.spans(trace) if each["context"]["span_id"] == span), None)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.id)
def test_panels_that_say_so_have_exemplars(aged: System, target: Target) -> None:
    found = _exemplars(aged, filled(target.expr, MACROS))
    assert found
    assert all(len(exemplar["labels"]["trace_id"]) == 32 for exemplar in found)


@pytest.mark.parametrize(
    ("series", "attribute"),
    [
        ("gen_ai_client_operation_time_to_first_chunk_seconds_bucket", "gen_ai.response.time_to_first_chunk"),
        ("streamgauge_stream_time_to_first_byte_seconds_bucket", "streamgauge.stream.time_to_first_byte"),
        ("gen_ai_client_operation_time_per_output_chunk_seconds_bucket", "streamgauge.stream.longest_gap"),
    ],
)
def test_an_exemplar_leads_to_its_span(aged: System, phoenix: Phoenix, series: str, attribute: str) -> None:
    phoenix.ready()
    # The newest: what was exported before the trace store was there is lost.
    newest = sorted(_exemplars(aged, f'{series}{{job="main"}}'), key=lambda exemplar: exemplar["timestamp"])[-3:]
    assert newest
    for exemplar in newest:
        trace, span = exemplar["labels"]["trace_id"], exemplar["labels"]["span_id"]
        found = until(partial(_stored, phoenix, trace, span), told=f"span {span} of trace {trace} is stored")
        # The point on the board is the number on the span.
        assert found["attributes"][attribute] == pytest.approx(float(exemplar["value"]), rel=1e-6)
        assert found["attributes"]["streamgauge.outcome"]
