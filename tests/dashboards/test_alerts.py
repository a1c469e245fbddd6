"""Whom the alerts tell what: annotations, the runbook, Alertmanager's routes and inhibitions, Grafana's own alerts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.generate import alertmanager, grafana_alerts
from dashboards.generate.alerts import INFO, Alert, alerts
from dashboards.generate.boards.promql import parse, selectors
from dashboards.generate.boards.query_rules import known
from dashboards.generate.conditions import NOT_IN_AN_ANSWER
from dashboards.generate.objectives import PAGE, TICKET, Notify, Objectives
from dashboards.generate.promtool import rendered

from streamgauge.transports.http import relay

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbooks.md").read_text("utf-8")
PARTS = ["What it means", "How to look", "What to do"]
BURNS = {
    ("StreamgaugeFirstTokenBurn", "first-token"), ("StreamgaugeStallBurn", "no-stall"),
    ("StreamgaugeOutcomeBurn", "ends-well"), ("StreamgaugeToolBurn", "tools"),
}  # fmt: skip
OTHERS = {
    "StallRatio", "SilentStreams", "ErrorInside200", "RetryStorm", "ToolFailing", "AbandonmentJump", "ChunkRateDrop",
    "AddedLatency", "TapBlind", "TapErrors", "LabelsCapped", "ExportDropped", "Absent", "WorkerRestarts", "Overloaded",
}  # fmt: skip


@pytest.fixture(scope="module")
def prometheus(folder: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((folder / "prometheus" / "streamgauge.alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def grafana(folder: Path) -> list[dict[str, Any]]:
    provisioned = yaml.safe_load((folder / "provisioning" / "alerting" / "streamgauge.yml").read_text("utf-8"))
    assert provisioned["apiVersion"] == 1
    return [rule for group in provisioned["groups"] for rule in group["rules"]]


def every(objectives: Objectives) -> dict[tuple[str, str, str], Alert]:
    return {(alert.name, alert.severity, alert.slo): alert for alert in alerts(objectives)}


# What they say ------------------------------------------------------------------------------------------------


def test_all_that_were_agreed_are_there(prometheus: list[dict[str, Any]]) -> None:
    names = {rule["alert"] for rule in prometheus}
    assert names == {f"Streamgauge{name}" for name in OTHERS} | {name for name, _ in BURNS}
    burns = {
        (rule["alert"], rule["labels"]["slo"], rule["labels"]["severity"], rule["labels"]["window"])
        for rule in prometheus
        if rule["alert"].endswith("Burn")
    }
    pairs = {PAGE: "1h,6h", TICKET: "1d,3d"}
    assert burns == {(name, slo, severity, window) for name, slo in BURNS for severity, window in pairs.items()}


def test_each_says_what_it_is_of(prometheus: list[dict[str, Any]]) -> None:
    for rule in prometheus:
        annotations = rule["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook_url"}, rule["alert"]
        assert "{{ $labels." in annotations["summary"] + annotations["description"], rule["alert"]
        if rule["alert"] != "StreamgaugeAbsent":  # of which the value is 1
            assert "$value" in annotations["description"], rule["alert"]
        assert rule["labels"]["severity"] in (PAGE, TICKET, INFO)
        assert rule["labels"]["service"] == "streamgauge"
        assert annotations["runbook_url"].endswith(f"docs/runbooks.md#{rule['alert'].lower()}")


def test_each_holds_before_it_fires_or_counts_what_was(prometheus: list[dict[str, Any]]) -> None:
    for rule in prometheus:
        assert "for" in rule or "offset" in rule["expr"], rule["alert"]
        assert "keep_firing_for" in rule or rule["alert"] == "StreamgaugeAbsent"  # which is there again, or is not


def test_templates_are_filled_in_as_prometheus_does() -> None:
    """The expected texts in promtool's tests are made by this; that they are right is what promtool finds out."""
    labels = {"job": "a", "model": "m"}
    assert rendered("{{ $labels.job }}: {{ $value | humanizePercentage }}", labels, "5%") == "a: 5%"
    assert rendered('{{ printf "%.2f" $value }}', labels, "0.50") == "0.50"
    assert (
        rendered("x{{ with $labels.model }}, {{ . }}{{ end }}{{ with $labels.no }}{{ . }}{{ end }}", labels, "")
        == "x, m"
    )


# The runbook --------------------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    return {
        heading: text.partition("\n# ")[0]
        for heading, _, text in (part.partition("\n") for part in RUNBOOK.split("\n## ")[1:])
    }


def test_each_alert_has_its_section_and_each_section_an_alert(objectives: Objectives) -> None:
    names = {alert.name for alert in alerts(objectives)}
    assert {heading for heading in sections() if heading.startswith("Streamgauge")} == names
    assert {alert.anchor for alert in alerts(objectives)} == {name.lower() for name in names}


@pytest.mark.parametrize("name", sorted({f"Streamgauge{name}" for name in OTHERS} | {name for name, _ in BURNS}))
def test_a_section_says_what_it_means_how_to_look_and_what_to_do(name: str) -> None:
    text = sections()[name]
    assert re.findall(r"^### (.+)$", text, re.MULTILINE) == PARTS
    means, look, do = (part.strip() for part in re.split(r"^### .+$", text, flags=re.MULTILINE)[1:])
    assert len(means) > 80
    assert "```promql" in look
    assert re.search(r"^- ", do, re.MULTILINE)


def test_queries_of_the_runbook_ask_for_what_there_is() -> None:
    queries = re.findall(r"```promql\n(.+?)\n```", RUNBOOK, re.DOTALL)
    assert len(queries) > 20
    for query in queries:
        for selector in selectors(parse(query)):
            series = known(selector.name)
            assert series is not None, query
            for matcher in selector.matchers:
                assert matcher.label in series.labels, f"{matcher.label}: {query}"


def test_boards_of_the_runbook_are_there(boards: list[dict[str, Any]]) -> None:
    named = set(re.findall(r"`(streamgauge-[a-z]+)`", RUNBOOK))
    assert named == {board["uid"] for board in boards}


def test_settings_of_the_runbook_are_there(folder: Path) -> None:
    """What it says of the proxy stands on the proxy's page, or among the settings."""
    told = (ROOT / "docs" / "proxy.md").read_text("utf-8") + (ROOT / "docs" / "settings.md").read_text("utf-8")
    told += (folder / "objectives.toml").read_text("utf-8") + (ROOT / "docs" / "telemetry.md").read_text("utf-8")
    named = set(re.findall(r"`((?:[a-z]+_)+(?:s|streams|connections|cap)|--[a-z-]+)`", RUNBOOK))
    assert {"stall_after_s", "idle_timeout_s", "max_streams", "label_cap", "grace_s"} <= named
    assert {name for name in named if name not in told} == set()


# Errors inside a 200 ------------------------------------------------------------------------------------------


def test_what_the_proxy_says_itself_is_no_error_inside_an_answer() -> None:
    """Every reason that the relay fails with before an answer, but for deadlines and the end, which are outcomes."""
    own = {reason for reason in relay._MESSAGES if not reason.endswith("_timeout") and reason != "shutdown"}
    assert own == {"connect_error", "tls_error", "connection_lost", "bad_response"}
    outside = re.compile("|".join(NOT_IN_AN_ANSWER))
    assert [reason for reason in sorted(own) if not outside.fullmatch(reason)] == []


@pytest.mark.parametrize(
    ("error", "inside"),
    [
        ("500", False), ("429", False), ("connect_error", False), ("httpx.ReadError", False),
        ("httpx2.ReadError", False),
        ("overloaded_error", True), ("server_error", True), ("_OTHER", True), ("-32000", True), ("UNAVAILABLE", True),
        ("5000", True), ("internal.Error", True),
    ],
)  # fmt: skip
def test_error_types_are_told_apart(error: str, inside: bool) -> None:
    assert (re.fullmatch("|".join(NOT_IN_AN_ANSWER), error) is None) is inside


# Alertmanager -------------------------------------------------------------------------------------------------


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("amtool", path=f"{ROOT / '.tools' / 'usr' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "amtool is missing: scripts/get_tools"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("page", "ticket"), [("", ""), ("http://127.0.0.1:1/p", "http://127.0.0.1:1/t")])
def test_alertmanager_takes_the_file(objectives: Objectives, tmp_path: Path, page: str, ticket: str) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(alertmanager.text(replace(objectives, notify=Notify(page, ticket))), "utf-8")
    done = amtool("check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    urls = [
        hook["url"]
        for each in yaml.safe_load(path.read_text())["receivers"]
        for hook in each.get("webhook_configs", ())
    ]
    assert urls == [url for url in (page, ticket) if url]


@pytest.mark.parametrize(("severity", "receiver"), [(PAGE, "page"), (TICKET, "ticket"), (INFO, "nobody")])
def test_who_is_told(folder: Path, severity: str, receiver: str) -> None:
    file = folder / "alertmanager" / "alertmanager.yml"
    done = amtool("config", "routes", "test", f"--config.file={file}", f"severity={severity}", "service=streamgauge")
    assert (done.returncode, done.stdout.strip()) == (0, receiver), done.stderr


_MATCHER = re.compile(r'(\w+)(=~|!=|!~|=)"(.*)"')


def matches(matchers: list[str], labels: Mapping[str, str]) -> bool:
    """As Alertmanager does it."""
    for matcher in matchers:
        found = _MATCHER.fullmatch(matcher)
        assert found is not None, matcher
        label, operator, value = found.groups()
        has = labels.get(label, "")
        same = re.fullmatch(value, has) is not None if "~" in operator else has == value
        if same is operator.startswith("!"):
            return False
    return True


def inhibits(rule: Mapping[str, Any], source: Mapping[str, str], target: Mapping[str, str]) -> bool:
    return (
        matches(rule["source_matchers"], source)
        and matches(rule["target_matchers"], target)
        and all(source.get(label, "") == target.get(label, "") for label in rule["equal"])
    )


def told(objectives: Objectives, on: list[dict[str, str]]) -> list[str]:
    """What is left of alerts that are on at once. What is inhibited itself inhibits all the same."""
    rules = alertmanager.inhibitions(objectives)
    return [
        f"{alert['alertname']} {alert['severity']}"
        for alert in on
        if not any(inhibits(rule, other, alert) for rule in rules for other in on if other is not alert)
    ]


def labels_of(objectives: Objectives, job: str = "a") -> list[dict[str, str]]:
    return [{"alertname": alert.name, "job": job, **alert.tells} for alert in alerts(objectives)]


@pytest.mark.parametrize(
    ("on", "left"),
    [
        ("SilentStreams StallRatio StallBurn FirstTokenBurn OutcomeBurn AbandonmentJump ChunkRateDrop",
         "SilentStreams page"),
        ("StallRatio StallBurn FirstTokenBurn OutcomeBurn", "StallRatio page"),
        ("ErrorInside200 OutcomeBurn AbandonmentJump", "ErrorInside200 page"),
        ("RetryStorm/ends-well OutcomeBurn FirstTokenBurn", "RetryStorm page"),
        ("ErrorInside200 RetryStorm/ends-well OutcomeBurn", "ErrorInside200 page"),
        ("FirstTokenBurn AbandonmentJump", "FirstTokenBurn page"),
        ("RetryStorm/tools ToolFailing ToolBurn", "RetryStorm page"),
        ("ToolFailing ToolBurn", "ToolBurn page"),
        ("ToolFailing ToolBurn:ticket", "ToolFailing ticket"),
        ("OutcomeBurn:ticket", "OutcomeBurn ticket"),
        # What has nothing to do with each other is told each.
        ("RetryStorm/tools OutcomeBurn:page", "RetryStorm page, OutcomeBurn page"),
        ("ToolBurn:page FirstTokenBurn:page", "FirstTokenBurn page, ToolBurn page"),
        ("ToolFailing OutcomeBurn:page TapBlind", "ToolFailing ticket, OutcomeBurn page, TapBlind ticket"),
        ("SilentStreams ErrorInside200", "SilentStreams page, ErrorInside200 page"),
        # All that is left of a job that is gone.
        ("Absent SilentStreams OutcomeBurn TapBlind LabelsCapped", "Absent page"),
    ],
)  # fmt: skip
def test_one_cause_is_told_once(objectives: Objectives, on: str, left: str) -> None:
    """Burns are on as pages and tickets at once, where not said otherwise."""
    wanted = [re.fullmatch(r"(\w+)(?:/([\w-]+))?(?::(\w+))?", each) for each in on.split()]
    firing = [
        labels
        for labels in labels_of(objectives)
        for found in wanted
        if found is not None
        and labels["alertname"] == f"Streamgauge{found[1]}"
        and found[2] in (None, labels.get("slo"))
        and found[3] in (None, labels["severity"])
    ]
    assert told(objectives, firing) == [f"Streamgauge{each}" for each in left.split(", ")]


def test_another_job_s_alerts_explain_nothing(objectives: Objectives) -> None:
    here, there = labels_of(objectives, "a"), labels_of(objectives, "b")
    assert not any(
        inhibits(rule, source, target)
        for rule in alertmanager.inhibitions(objectives)
        for source in here
        for target in there
    )


def test_no_ticket_inhibits_a_page_and_none_inhibit_each_other(objectives: Objectives) -> None:
    every_one = labels_of(objectives)
    pairs = {
        (first, second)
        for rule in alertmanager.inhibitions(objectives)
        for first, source in enumerate(every_one)
        for second, target in enumerate(every_one)
        if inhibits(rule, source, target)
    }
    assert len(pairs) > 20
    for source, target in pairs:
        assert source != target
        assert every_one[source]["severity"] == PAGE or every_one[target]["severity"] != PAGE
    order: list[int] = []  # acyclic: what inhibits can be put before what it inhibits
    left = set(range(len(every_one)))
    while left:
        free = {each for each in left if not any(target == each and source in left for source, target in pairs)}
        assert free, [every_one[each]["alertname"] for each in left]
        order += sorted(free)
        left -= free
    assert len(order) == len(every_one)


def test_each_inhibition_has_both_its_sides(objectives: Objectives) -> None:
    """None is of an alert that there no longer is."""
    every_one = labels_of(objectives)
    for rule in alertmanager.inhibitions(objectives):
        assert any(inhibits(rule, source, target) for source in every_one for target in every_one), rule


# Grafana ------------------------------------------------------------------------------------------------------


def test_grafana_has_the_same_alerts(
    objectives: Objectives, prometheus: list[dict[str, Any]], grafana: list[dict[str, Any]]
) -> None:
    for mine, theirs in zip(prometheus, grafana, strict=True):
        assert theirs["title"].split()[0] == mine["alert"]
        query, condition = theirs["data"]
        assert query["model"]["expr"] == mine["expr"]
        assert theirs["for"] == mine.get("for", "0s")
        assert theirs.get("keepFiringFor") == mine.get("keep_firing_for")
        assert theirs["labels"] == mine["labels"]
        annotations = {key: text.replace("$values.A.Value", "$value") for key, text in theirs["annotations"].items()}
        assert annotations == mine["annotations"]
        assert "$value " not in theirs["annotations"]["description"], "Grafana's is a text of all values"
        assert theirs["condition"] == condition["refId"] == "C"
        assert (query["refId"], query["model"]["refId"]) == ("A", "A")
        assert query["model"]["instant"] is True
        assert condition["datasourceUid"] == condition["model"]["datasource"]["uid"] == "__expr__"
        assert "$A" in condition["model"]["expression"]
        assert theirs["noDataState"] == "OK"  # nothing is what there is when nothing is wrong
    assert len(every(objectives)) == len(grafana)


def test_grafana_can_tell_them_apart(grafana: list[dict[str, Any]]) -> None:
    uids, titles = [rule["uid"] for rule in grafana], [rule["title"] for rule in grafana]
    assert len(set(uids)) == len(set(titles)) == len(grafana)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", uid) for uid in uids)


def test_grafana_asks_the_data_source_of_the_stack(folder: Path, grafana: list[dict[str, Any]]) -> None:
    sources = yaml.safe_load((folder / "provisioning" / "datasources" / "streamgauge.yml").read_text("utf-8"))
    uids = {source["uid"]: source["type"] for source in sources["datasources"]}
    assert uids[grafana_alerts.DATASOURCE] == "prometheus"
    for rule in grafana:
        query = rule["data"][0]
        assert query["datasourceUid"] == query["model"]["datasource"]["uid"] == grafana_alerts.DATASOURCE
        assert query["relativeTimeRange"]["from"] > query["relativeTimeRange"]["to"] == 0
