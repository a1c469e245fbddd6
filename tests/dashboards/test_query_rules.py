"""Each rule of queries catches a query that breaks it."""

from __future__ import annotations

import pytest
from dashboards.generate.boards.promql import parse
from dashboards.generate.boards.query_rules import faults, labels_of

S = (
    '{job=~"$job",instance=~"$instance",streamgauge_dialect=~"$dialect",gen_ai_provider_name=~"$provider",'
    'gen_ai_request_model=~"$model",gen_ai_agent_name=~"$agent"}'
)
P = '{job=~"$job",instance=~"$instance"}'
I = "[$__rate_interval]"  # noqa: E741
STREAMS, CHUNKS = "streamgauge_streams_total", "streamgauge_stream_chunks_total"
FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
QUANTILE = f"histogram_quantile(0.95, sum by (le) (rate({FIRST}_bucket{S}{I})))"

GOOD_QUERIES = [
    f"sum(rate({STREAMS}{S}{I})) or vector(0)",
    f"sum by (streamgauge_outcome) (rate({STREAMS}{S}{I} offset 1d))",
    f"{QUANTILE} >= 0",
    f"sum(rate({FIRST}_sum{S}{I})) / (sum(rate({FIRST}_count{S}{I})) > 0)",
    f"sum by (kind) (rate({CHUNKS}{S}{I})) / on () group_left () (sum(rate({STREAMS}{S}{I})) > 0)",
    f"max by (streamgauge_dialect) (streamgauge_stream_oldest_seconds{S})",
    f"sum((streamgauge_tap_blind_total{P} unless last_over_time(streamgauge_tap_blind_total{P}[1h] offset "
    f"$__rate_interval)) or increase(streamgauge_tap_blind_total{P}{I}))",
    f"scrape_duration_seconds{P} and on (job, instance) streamgauge_build_info{P}",
    'count(ALERTS{alertstate="firing",job=~"$job|"})',
    'min by (slo) (slo:period_error_budget_remaining:ratio{job=~"$job"})',
    f"sum by (le) (rate({FIRST}_bucket{S}{I}) and on (job, instance) {STREAMS}{S})",
]  # fmt: skip

BAD_QUERIES = {
    "no such metric": (f"sum(rate(streamgauge_stream_total{S}{I}))", "is nothing that there is"),
    "no such suffix": (f"sum(rate({FIRST}_total{S}{I}))", "is nothing that there is"),
    "no such label": (f'sum(rate({STREAMS}{S[:-1]},route="a"}}{I}))', "has no label route"),
    "not narrowed": (f"sum(rate({STREAMS}{P}{I}))", "is not narrowed by $model"),
    "narrowed by no pattern": (f"sum(rate({STREAMS}{S.replace('job=~', 'job=')}{I}))", "not narrowed by $job"),
    "narrowed on one side": (f"sum(rate({STREAMS}{S}{I})) / (sum(rate({STREAMS}{I})) > 0)", "not narrowed by $job"),
    "a counter as it is": (f"sum({STREAMS}{S})", "without a rate it says nothing"),
    "buckets as they are": (f"sum by (le) ({FIRST}_bucket{S})", "without a rate it says nothing"),
    "a ratio of lifetimes": (
        f'sum({STREAMS}{S[:-1]},streamgauge_outcome="failed"}}) / (sum({STREAMS}{S}) > 0)',
        "without a rate it says nothing",
    ),
    "the largest a counter ever was": (f"max_over_time({STREAMS}{S}[1h])", "without a rate it says nothing"),
    "not what was there before": (
        f"sum(streamgauge_tap_blind_total{P} unless last_over_time(streamgauge_tap_errors_total{P}[1h] offset "
        "$__rate_interval))",
        "without a rate it says nothing",
    ),
    "a rate of a gauge": (f"sum(rate(streamgauge_streams_active{S}{I}))", "is no counter"),
    "a fixed window": (f"sum(rate({STREAMS}{S}[5m]))", "rate is over 5m"),
    "the interval of points": (f"sum(rate({STREAMS}{S}[$__interval]))", "rate is over $__interval"),
    "the whole range, as a line": (f"sum(increase({STREAMS}{S}[$__range]))", "increase is over $__range"),
    "irate": (f"sum(irate({STREAMS}{S}{I}))", "irate is not used"),
    "a subquery": (f"max_over_time(sum(rate({STREAMS}{S}{I}))[1h:1m])", "a subquery"),
    "the average of quantiles": (
        f"avg(histogram_quantile(0.95, sum by (le, instance) (rate({FIRST}_bucket{S}{I}))) >= 0)",
        "a quantile of quantiles",
    ),
    "a quantile of quantiles": (f"quantile(0.5, {QUANTILE})", "a quantile of quantiles"),
    "the highest of quantiles": (f"max({QUANTILE} >= 0)", "a quantile of quantiles"),
    "a quantile of the buckets of quantiles": (f"histogram_quantile(0.5, {QUANTILE}) >= 0", "a quantile of quantiles"),
    "a quantile of unsummed buckets": (f"histogram_quantile(0.5, rate({FIRST}_bucket{S}{I})) >= 0", "not summed up"),
    "a quantile without le": (
        f"histogram_quantile(0.5, sum by (instance) (rate({FIRST}_bucket{S}{I}))) >= 0",
        "not summed up by le",
    ),
    "a quantile of counts": (
        f"histogram_quantile(0.5, sum by (le) (rate({FIRST}_count{S}{I}))) >= 0",
        "something else than rates of buckets",
    ),
    "a quantile of nothing": (QUANTILE, "NaN when nothing happens"),
    "a ratio of nothing": (
        f"sum(rate({FIRST}_sum{S}{I})) / sum(rate({FIRST}_count{S}{I}))",
        "a ratio that is NaN when nothing happens",
    ),
    "the average of ratios": (
        f"avg(rate({FIRST}_sum{S}{I}) / (rate({FIRST}_count{S}{I}) > 0))",
        "avg of ratios: divide the sums instead",
    ),
    "the sum of ratios": (
        f"sum(sum by (job) (rate({FIRST}_sum{S}{I})) / (sum by (job) (rate({FIRST}_count{S}{I})) > 0))",
        "sum of ratios",
    ),
    "a ratio of single series": (
        f"rate({FIRST}_sum{S}{I}) / (rate({FIRST}_count{S}{I}) > 0)",
        "a ratio of single series",
    ),
    "the average of rates": (f"avg(rate({STREAMS}{S}{I}))", "an average of rates"),
    "a sum of seconds": (f"sum(rate({FIRST}_sum{S}{I}))", "is a sum of seconds"),
    "by a label that is not there": (f"sum by (route) (rate({STREAMS}{S}{I}))", "no label route to aggregate by"),
    "on a label that is not there": (
        f"streamgauge_streams_active{S} and on (job, version) {STREAMS}{S}",
        "no label version on both sides",
    ),
    "sides that do not match": (
        f"sum by (job) (rate({FIRST}_sum{S}{I})) / (sum by (instance) (rate({FIRST}_count{S}{I})) > 0)",
        "have not the same labels",
    ),
    "no query": ("sum by (le", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("query", GOOD_QUERIES)
def test_a_good_query_passes(query: str) -> None:
    assert faults(query) == []


@pytest.mark.parametrize("case", BAD_QUERIES)
def test_a_bad_query_is_caught(case: str) -> None:
    query, expected = BAD_QUERIES[case]
    found = faults(query)
    assert any(expected in fault for fault in found), found


def test_the_whole_range_is_for_what_is_asked_once() -> None:
    query = f"sum(increase({STREAMS}{S}[$__range]))"
    assert faults(query, instant=True) == []
    assert faults(query.replace("$__range", "30d"), instant=True) != []


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        (f"sum by (kind) (rate(streamgauge_stream_bytes_total{S}{I}))", {"kind"}),
        (f"sum(rate({STREAMS}{S}{I}))", set()),
        (f"topk(5, sum by (error_type) (rate({STREAMS}{S}{I})))", {"error_type"}),
        (f"sum without (job) (rate(streamgauge_tap_blind_total{P}{I}))", {"instance", "reason"}),
        (f"histogram_quantile(0.9, sum by (le, job) (rate({FIRST}_bucket{S}{I}))) >= 0", {"job"}),
        ("vector(0)", set()),
        (f"count by (version) (streamgauge_build_info{P}) and on (version) target_info{P}", {"version"}),
        (f"sum by (job) (up{P}) / on () group_left () (sum(up{P}) > 0)", {"job"}),
        (f"2 * sum by (job) (up{P})", {"job"}),
    ],
)
def test_the_labels_of_a_result_are_known(query: str, labels: set[str]) -> None:
    assert labels_of(parse(query)) == labels
