"""The page, as real parsers, a real scrape and promtool read it."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from streamgauge import semconv
from streamgauge._version import __version__
from streamgauge.aggregates import Aggregates, Distribution
from streamgauge.errors import SettingsError
from streamgauge.telemetry.prometheus import Page, Server, family_name, label_names, render, target_labels
from telemetry.parts import COMMON, EPOCH_NS, NOW, clock

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

NAMES = {
    "gen_ai_client_operation_duration_seconds": "histogram",
    "gen_ai_client_operation_time_to_first_chunk_seconds": "histogram",
    "gen_ai_client_operation_time_per_output_chunk_seconds": "histogram",
    "gen_ai_client_token_usage": "histogram",
    "gen_ai_invoke_agent_duration_seconds": "histogram",
    "gen_ai_invoke_agent_inference_calls": "histogram",
    "gen_ai_invoke_agent_tool_calls": "histogram",
    "gen_ai_execute_tool_duration_seconds": "histogram",
    "streamgauge_stream_time_to_first_byte_seconds": "histogram",
    "streamgauge_stream_time_to_first_answer_seconds": "histogram",
    "streamgauge_streams_total": "counter",
    "streamgauge_streams_active": "gauge",
    "streamgauge_streams_silent": "gauge",
    "streamgauge_stream_oldest_seconds": "gauge",
    "streamgauge_stream_chunks_total": "counter",
    "streamgauge_stream_bytes_total": "counter",
    "streamgauge_stream_chunk_rate_per_second": "histogram",
    "streamgauge_stream_stalls_total": "counter",
    "streamgauge_stream_stall_duration_seconds": "histogram",
    "streamgauge_stream_wait_seconds_total": "counter",
    "streamgauge_retries_total": "counter",
    "streamgauge_tap_blind_total": "counter",
    "streamgauge_tap_errors_total": "counter",
    "streamgauge_labels_capped_total": "counter",
    "streamgauge_export_dropped_total": "counter",
    "gen_ai_server_request_duration_seconds": "histogram",
    "gen_ai_server_time_to_first_token_seconds": "histogram",
    "gen_ai_server_time_per_output_token_seconds": "histogram",
    "streamgauge_proxy_added_latency_seconds": "histogram",
    "streamgauge_proxy_refused_total": "counter",
    "streamgauge_proxy_worker_restarts_total": "counter",
    "streamgauge_proxy_workers": "gauge",
}
"""As opentelemetry-exporter-prometheus 0.66b2 names the same instruments."""


def text_of(aggregates: Aggregates, accept: str | None = None) -> str:
    return render(aggregates, accept, clock=clock, target={"service.name": "shop"})[0].decode()


def families(text: str, parse: Any = openmetrics.text_string_to_metric_families) -> dict[str, Any]:
    return {family.name: family for family in parse(text)}


def value(family: Any, sample: str, **labels: str) -> float:
    found = [
        each.value
        for each in family.samples
        if each.name == sample and all(each.labels.get(name) == label for name, label in labels.items())
    ]
    assert len(found) == 1, (sample, labels, found)
    return float(found[0])


# Content ------------------------------------------------------------------------------------------------------


def test_names_and_types_are_those_of_the_otel_exporter(aggregates: Aggregates) -> None:
    typed = dict(line.split()[2:4] for line in text_of(aggregates).splitlines() if line.startswith("# TYPE"))
    assert typed == {**NAMES, "target_info": "gauge", "streamgauge_build_info": "gauge"}


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("a.b", "{x}", ("a_b", "")),
        ("a.b", "1", ("a_b", "")),
        ("a.b", "", ("a_b", "")),
        ("a.b", "s", ("a_b_seconds", "seconds")),
        ("a.bytes", "By", ("a_bytes", "bytes")),
        ("a.b", "By/s", ("a_b_bytes_per_second", "bytes_per_second")),
        ("a.b", "{chunk}/s", ("a_b_per_second", "per_second")),
        ("2.b", "s", ("_2_b_seconds", "seconds")),
    ],
)
def test_name_from_name_and_unit(name: str, unit: str, expected: tuple[str, str]) -> None:
    assert family_name(semconv.Metric(name, semconv.GAUGE, unit, "")) == expected


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_a_metric_without_series_has_help_and_type(accept: str) -> None:
    text = text_of(Aggregates(), accept)
    suffix = "" if accept else "_total"
    assert f"# HELP streamgauge_retries{suffix} Retries announced or seen.\n" in text
    assert f"# TYPE streamgauge_retries{suffix} counter\n" in text
    assert "# TYPE gen_ai_execute_tool_duration_seconds histogram\n" in text
    assert "gen_ai_execute_tool_duration_seconds_count" not in text


def test_units_are_told_in_openmetrics(aggregates: Aggregates) -> None:
    parsed = families(text_of(aggregates, OPENMETRICS))
    units = {name: family.unit for name, family in parsed.items() if family.unit}
    assert units["streamgauge_stream_wait_seconds"] == "seconds"
    assert units["streamgauge_stream_bytes"] == "bytes"
    assert units["streamgauge_stream_chunk_rate_per_second"] == "per_second"
    assert "streamgauge_streams" not in units


@pytest.mark.parametrize(
    ("accept", "parse"), [("", classic), (OPENMETRICS, openmetrics.text_string_to_metric_families)]
)
def test_the_numbers(aggregates: Aggregates, accept: str, parse: Any) -> None:
    parsed = families(text_of(aggregates, accept), parse)
    duration = parsed["gen_ai_client_operation_duration_seconds"]
    name = duration.name
    assert value(duration, f"{name}_count", streamgauge_outcome="completed") == 3
    assert value(duration, f"{name}_sum", streamgauge_outcome="completed") == pytest.approx(4.61)
    assert value(duration, f"{name}_bucket", streamgauge_outcome="completed", le="0.25") == 0
    assert value(duration, f"{name}_bucket", streamgauge_outcome="completed", le="0.32") == 2
    assert value(duration, f"{name}_bucket", streamgauge_outcome="completed", le="5.0") == 3
    assert value(duration, f"{name}_bucket", streamgauge_outcome="completed", le="+Inf") == 3
    assert value(duration, f"{name}_bucket", error_type="RateLimitError", le="7200.0") == 0
    assert value(duration, f"{name}_bucket", error_type="RateLimitError", le="+Inf") == 1
    chunks = parsed["streamgauge_stream_chunks"]
    assert value(chunks, "streamgauge_stream_chunks_total", kind="text") == 10  # 7, and 3 of the open stream
    assert value(parsed["streamgauge_streams_active"], "streamgauge_streams_active") == 1
    assert value(parsed["streamgauge_stream_oldest_seconds"], "streamgauge_stream_oldest_seconds") == 15
    streams = parsed["streamgauge_streams"]
    assert value(streams, "streamgauge_streams_total", error_type='quote " slash \\ line\nend') == 1


def test_buckets_are_cumulative_and_complete(aggregates: Aggregates) -> None:
    family = families(text_of(aggregates, OPENMETRICS))["gen_ai_client_operation_time_per_output_chunk_seconds"]
    buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
    assert [float(sample.labels["le"]) for sample in buckets] == [*semconv.GAP_SECONDS, float("inf")]
    counts = [sample.value for sample in buckets]
    assert counts == [0, 0, 0, *[5] * (len(semconv.GAP_SECONDS) - 3), 7]
    assert value(family, f"{family.name}_count") == 7


def test_a_series_has_all_labels_of_its_metric(aggregates: Aggregates) -> None:
    family = families(text_of(aggregates, OPENMETRICS))["streamgauge_streams"]
    expected = dict(zip(label_names(semconv.STREAMS), (*COMMON, "completed", ""), strict=True))
    assert expected["gen_ai_request_model"] == "gpt-5"
    assert family.samples[0].labels == expected  # error_type="" is there, and means that it is absent


def test_exemplars_lead_to_their_span(aggregates: Aggregates) -> None:
    parsed = families(text_of(aggregates, OPENMETRICS))
    family = parsed["gen_ai_client_operation_duration_seconds"]
    found = {
        sample.labels["le"]: sample.exemplar
        for sample in family.samples
        if sample.exemplar and sample.labels["streamgauge_outcome"] == "completed"
    }
    assert set(found) == {"0.32", "5.0"}
    exemplar = found["0.32"]
    assert exemplar.labels == {"trace_id": "0123456789abcdef0123456789abcdef", "span_id": "fedcba9876543210"}
    assert exemplar.value == 0.31  # the last one in its bucket
    assert float(exemplar.timestamp) == pytest.approx(EPOCH_NS / 1e9, abs=1e-6)
    gaps = parsed["gen_ai_client_operation_time_per_output_chunk_seconds"]
    assert [sample.exemplar.value for sample in gaps.samples if sample.exemplar] == [700.5]
    assert "trace_id" not in text_of(aggregates, "text/plain")


def test_small_ids_are_written_in_full_length() -> None:
    few = Aggregates()
    few.record([(semconv.OPERATION_DURATION, (*COMMON, "", ""), 1.0, (EPOCH_NS, 1, 2))])  # type: ignore[union-attr]
    assert f'# {{span_id="{2:016}",trace_id="{1:032}"}} 1.0 1790000000.123456789' in text_of(few, OPENMETRICS)


def test_target_and_build_info() -> None:
    parsed = families(text_of(Aggregates(), OPENMETRICS))
    assert parsed["target"].samples[0].labels == {"service_name": "shop"}
    assert parsed["streamgauge_build"].samples[0].labels == {"version": __version__}
    assert "target" not in families(render(Aggregates(), OPENMETRICS)[0].decode())


def test_resource_attributes_become_labels() -> None:
    assert target_labels({"a.b": 1, "a_b": ("x", "y"), "9z": "\ud800"}) == {"_9z": "\\ud800", "a_b": "1;('x', 'y')"}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, PLAIN),
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4;q=0.5", PLAIN),
        ("text/html", PLAIN),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0, text/plain;version=0.0.4;q=0.3", OPENMETRICS),
    ],
)
def test_the_scraper_chooses_the_format(aggregates: Aggregates, accept: str | None, content_type: str) -> None:
    body, told = render(aggregates, accept, clock=clock)
    assert told.removesuffix("; escaping=underscores") == content_type
    assert body.endswith(b"# EOF\n") is (content_type == OPENMETRICS)


def test_promtool_finds_nothing_wrong(aggregates: Aggregates) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: it comes with Prometheus (Debian: apt-get install prometheus)"
    text = text_of(aggregates)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# Trouble ------------------------------------------------------------------------------------------------------


@pytest.mark.logs
@pytest.mark.parametrize(
    ("metric", "labels", "bad"),
    [
        (semconv.STREAMS, ("too", "few"), 1),
        (semconv.STREAMS, (*COMMON, "failed", "x"), float("nan")),
        (semconv.STREAMS, (*COMMON, "failed", "x"), -1),
        (semconv.FIRST_BYTE, COMMON, Distribution([1, 2], 3.0)),
        (semconv.FIRST_BYTE, COMMON, Distribution([0] * (len(semconv.SECONDS) + 1), float("inf"))),
    ],
)
def test_a_bad_series_is_left_out_and_counted(
    caplog: pytest.LogCaptureFixture, metric: semconv.Metric, labels: tuple[str, ...], bad: Any
) -> None:
    aggregates = Aggregates()
    good = (*COMMON, "completed", "")
    aggregates.record([(semconv.STREAMS, good, 3, None)])
    aggregates._series[metric][labels] = bad
    page = Page(aggregates, clock=clock)
    for _ in range(2):
        parsed = families(page.render(OPENMETRICS)[0].decode())
        assert value(parsed["streamgauge_streams"], "streamgauge_streams_total", error_type="") == 3
        assert parsed["streamgauge_stream_time_to_first_byte_seconds"].samples == []
    counted = families(page.render()[0].decode(), classic)["streamgauge_tap_errors"]
    assert value(counted, "streamgauge_tap_errors_total", reason="metrics_page") == 2
    assert len(caplog.records) == 1


def test_a_label_that_utf8_cannot_write_does_not_cost_the_page() -> None:
    aggregates = Aggregates()
    aggregates.record([(semconv.STREAMS, (*COMMON, "failed", "\ud83d half"), 1, None)])
    aggregates.record([(semconv.STREAMS, (*COMMON, "failed", "whole 😀"), 1, None)])
    streams = families(text_of(aggregates, OPENMETRICS))["streamgauge_streams"]
    assert [sample.labels["error_type"] for sample in streams.samples] == ["\\ud83d half", "whole 😀"]


class Unreadable(Aggregates):
    def collect(self, now: int) -> Any:
        raise RuntimeError("no numbers today")


@pytest.mark.logs
def test_a_page_without_numbers_is_still_a_page(caplog: pytest.LogCaptureFixture) -> None:
    aggregates = Unreadable()
    page = Page(aggregates, clock=clock)
    assert set(families(page.render(OPENMETRICS)[0].decode())) == {"streamgauge_build"}
    assert len(caplog.records) == 1
    counted = {family.metric: family.series for family in Aggregates.collect(aggregates, NOW)}
    assert counted[semconv.TAP_ERRORS] == {("metrics_page",): 1}


# The server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server(aggregates: Aggregates) -> Iterator[Server]:
    running = Server(Page(aggregates, clock=clock), "127.0.0.1", 0)
    yield running
    running.close()


def scrape(address: tuple[str, int], path: str = "/metrics", **headers: str) -> tuple[Any, bytes]:
    request = urllib.request.Request(f"http://{address[0]}:{address[1]}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, answer.read()


def test_scrape(server: Server, aggregates: Aggregates) -> None:
    headers, body = scrape(server.address, Accept=OPENMETRICS)
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body == render(aggregates, OPENMETRICS, clock=clock)[0]
    headers, body = scrape(server.address)
    assert headers["Content-Type"] == PLAIN
    assert body == render(aggregates, clock=clock)[0]


def test_scrape_compressed(server: Server, aggregates: Aggregates) -> None:
    headers, body = scrape(server.address, **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == render(aggregates, clock=clock)[0]


def test_scrape_of_some_names(server: Server) -> None:
    _, body = scrape(server.address, "/metrics?name[]=streamgauge_streams_active")
    samples = [line for line in body.decode().splitlines() if not line.startswith("#")]
    assert len(samples) == 1
    assert samples[0].startswith("streamgauge_streams_active{")


async def test_the_event_loop_does_not_render(aggregates: Aggregates) -> None:
    threads: list[int] = []

    def clock_of_a_thread() -> int:
        threads.append(threading.get_ident())
        return NOW

    server = Server(Page(aggregates, clock=clock_of_a_thread), "127.0.0.1", 0)
    try:
        await asyncio.to_thread(scrape, server.address)
    finally:
        server.close()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_closed_means_nobody_listens(aggregates: Aggregates) -> None:
    server = Server(Page(aggregates), "127.0.0.1", 0)
    address = server.address
    server.close()
    with pytest.raises(urllib.error.URLError, match="refused"):
        scrape(address)
    Server(Page(aggregates), *address).close()


def test_a_taken_port_is_told_by_its_setting(server: Server, aggregates: Aggregates) -> None:
    port = server.address[1]
    with pytest.raises(SettingsError, match=rf"^OTEL_EXPORTER_PROMETHEUS_PORT: port {port} on 127.0.0.1 is taken"):
        Server(Page(aggregates), "127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "two..dots"])
def test_a_host_that_is_not_here_is_told_by_its_setting(aggregates: Aggregates, host: str) -> None:
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_PROMETHEUS_HOST: cannot listen on"):
        Server(Page(aggregates), host, 0)


def test_an_impossible_port_is_told_by_its_setting(aggregates: Aggregates) -> None:
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_PROMETHEUS_PORT: port 70000 .* cannot be used"):
        Server(Page(aggregates), "127.0.0.1", 70_000)


def test_a_forked_child_leaves_the_port_to_its_parent() -> None:
    program = """
import json, os, socket
from streamgauge.aggregates import Aggregates
from streamgauge.telemetry.prometheus import Page, Server
server = Server(Page(Aggregates()), "127.0.0.1", 0)
ready, go = os.pipe(), os.pipe()
child = os.fork()
if not child:
    server.close()  # not its own: nothing happens, and nothing hangs
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os._exit(0)
os.read(ready[0], 1)
server.close()
with socket.socket() as probe:  # the child still lives
    refused = probe.connect_ex(server.address) != 0
os.write(go[1], b"x")
print(json.dumps([refused, os.waitpid(child, 0)[1]]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(run.stdout) == [True, 0]
