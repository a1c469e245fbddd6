"""The rules of Prometheus: they are sound, do what they say, and their settings are refused where they cannot be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.generate.alerts import alerts
from dashboards.generate.boards.promql import Selector, Subquery, parse, walk
from dashboards.generate.objectives import SLOS, Burn, Objectives, ObjectivesError, load, seconds_of
from dashboards.generate.outputs import rule_outputs
from dashboards.generate.scenarios import CASES

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "dashboards" / "prometheus" / "tests").glob("*.yml"))
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")
SCALED = 'scrape_interval = "1s"\nevaluation_interval = "1s"\ntime_scale = 60\n'


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool", path=f"{ROOT / '.tools' / 'usr' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "promtool is missing: scripts/get_tools"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=150, check=False)


def rules_in(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def committed(name: str) -> list[dict[str, Any]]:
    return rules_in((ROOT / "dashboards" / "prometheus" / name).read_text("utf-8"))


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Objectives]:
    """Settings that differ from the committed ones by a piece of TOML."""

    def made(toml: str) -> Objectives:
        path = tmp_path / "objectives.toml"
        path.write_text(toml, "utf-8")
        return load(path)

    return made


# The committed files ------------------------------------------------------------------------------------------


def test_they_are_as_generated(objectives: Objectives, folder: Path) -> None:
    outputs = rule_outputs(objectives)
    assert {path: (folder / path).read_text("utf-8") for path in outputs} == outputs
    tests = {f"prometheus/tests/{path.name}" for path in TESTS}
    assert tests == {path for path in outputs if "/tests/" in path}, "a test that is no longer generated"


def test_promtool_finds_nothing_to_complain_of(folder: Path) -> None:
    done = promtool("check", "rules", "--lint=all", *sorted((folder / "prometheus").glob("streamgauge.*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == 2


@pytest.mark.timeout(150)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_s_tests_pass(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_four_cases(objectives: Objectives) -> None:
    """Firing, not firing, with too little traffic, over restarts: each for every severity and SLO that it has."""
    firing: dict[tuple[str, str, str], set[str]] = {}
    seen: dict[str, set[str]] = {}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            jobs = {job for series in test["input_series"] for job in re.findall(r'job="([^"]+)"', series["series"])}
            for asked in test.get("alert_rule_test", ()):
                name = asked["alertname"]
                # What is absent is tried in tests of their own, which are named by the case.
                seen.setdefault(name, set()).update(jobs, {test["name"].rpartition(": ")[2]})
                for on in asked["exp_alerts"]:
                    labels = on["exp_labels"]
                    key = name, labels["severity"], labels.get("slo", "")
                    firing.setdefault(key, set()).add(labels["job"])
    every = {(alert.name, alert.severity, alert.slo) for alert in alerts(objectives)}
    assert firing.keys() == every
    for name, jobs in seen.items():
        assert jobs >= {*CASES} - ({"torn"} if name == "StreamgaugeAbsent" else set()), name
    for key, jobs in firing.items():
        assert jobs == {*objectives.jobs} if key[0] == "StreamgaugeAbsent" else jobs == {"firing", "torn"}, key


# Recording rules ----------------------------------------------------------------------------------------------


def test_the_series_that_were_agreed_are_there() -> None:
    recorded = {rule["record"] for rule in committed("streamgauge.rules.yml")}
    windows = {f"slo:{what}{window}" for what in ("sli_error:ratio_rate", "sli_events:rate") for window in WINDOWS}
    totals = {
        "slo:objective:ratio", "slo:error_budget:ratio", "slo:time_period:days", "slo:current_burn_rate:ratio",
        "slo:period_burn_rate:ratio", "slo:period_error_budget_remaining:ratio",
    }  # fmt: skip
    assert recorded >= windows | totals
    labelled: dict[str, set[str]] = {}
    for rule in committed("streamgauge.rules.yml"):
        if "labels" in rule:
            assert rule["labels"]["service"] == "streamgauge"
            labelled.setdefault(rule["record"], set()).add(rule["labels"]["slo"])
    assert labelled.keys() >= {"slo:sli_events:rate5m", "slo:sli_errors:rate5m", "slo:objective:ratio"}
    assert all(slos == {*SLOS} for slos in labelled.values())


@pytest.mark.parametrize("toml", ["", SCALED])
def test_no_rate_is_over_fewer_than_four_scrapes(settings: Callable[[str], Objectives], toml: str) -> None:
    objectives = settings(toml)
    outputs = rule_outputs(objectives)
    shortest = 4 * seconds_of(objectives.scrape_interval)
    rates = 0
    for file in ("streamgauge.rules.yml", "streamgauge.alerts.yml"):
        for rule in rules_in(outputs[f"prometheus/{file}"]):
            for call in walk(parse(rule["expr"])):
                arguments = getattr(call, "arguments", ())
                if getattr(call, "function", "") in ("rate", "increase"):
                    (inner,) = arguments
                    assert isinstance(inner, Selector), rule["expr"]
                    assert seconds_of(inner.range) >= shortest, rule["expr"]
                    rates += 1
                assert not isinstance(call, Subquery)
    assert rates > 40


# Settings -----------------------------------------------------------------------------------------------------


def test_what_is_left_out_is_as_it_is_committed(settings: Callable[[str], Objectives], objectives: Objectives) -> None:
    changed = settings("[objective.ends-well]\ntarget = 0.995\n")
    assert changed == replace(objectives, targets={**objectives.targets, "ends-well": 0.995})
    assert changed.budget("ends-well") == 0.005


def test_time_is_scaled_and_names_are_not(settings: Callable[[str], Objectives], tmp_path: Path) -> None:
    objectives = settings(SCALED)
    assert [objectives.duration(each) for each in ("5m", "30m", "1d", "30s", "30d")] == [
        "5s",
        "30s",
        "24m",
        "500ms",
        "12h",
    ]
    outputs = rule_outputs(objectives)
    assert not any("/tests/" in path for path in outputs), "tests are of the windows as they are"
    rules, told = (outputs[f"prometheus/streamgauge.{what}.yml"] for what in ("rules", "alerts"))
    by_name = {rule["record"]: rule["expr"] for rule in rules_in(rules)}
    assert by_name["slo:sli_events:rate1h"] == "sum_over_time(slo:sli_events:rate5m[1m]) * 1 / 60"
    holds = {rule.get("for") for rule in rules_in(told)}
    assert holds == {None, "1s", "2s", "3s", "5s", "15s"}
    for path, text in outputs.items():
        (tmp_path / Path(path).name).write_text(text, "utf-8")
    done = promtool("check", "rules", "--lint=all", *sorted(tmp_path.glob("streamgauge.[ar]*s.yml")))
    assert done.returncode == 0, done.stdout + done.stderr
    route = yaml.safe_load(outputs["alertmanager/alertmanager.yml"])["route"]
    assert route["group_wait"] == "500ms"


def test_an_objective_reaches_each_rule_of_it(settings: Callable[[str], Objectives]) -> None:
    objectives = settings(
        "[objective.first-token]\nseconds = 0.5\ntarget = 0.98\n[objective.no-stall]\nseconds = 20.48\n"
        '[objective.ends-well]\ncaller_errors = []\n[objective.tools]\nnot_failures = ["denied"]\n'
    )
    outputs = rule_outputs(objectives)
    rules = outputs["prometheus/streamgauge.rules.yml"]
    assert 'le="0.5"' in rules
    assert 'le="20.48"' in rules
    assert 'error_type!~"denied"' in rules
    assert '"413|422"' not in rules
    assert "group by (job) (streamgauge_build_info) * 0.98" in rules
    told = outputs["prometheus/streamgauge.alerts.yml"]
    assert 'ratio_rate1h{slo="first-token"} > 14.4 * 0.02' in told
    assert 'ratio_rate1h{slo="first-token"} > 14.4 * 0.02' in outputs["provisioning/alerting/streamgauge.yml"]


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("[objective.first-token]\nseconds = 3\n",
         r"objective.first-token.seconds is 3, which is no bucket of gen_ai.client.operation.time_to_first_chunk and of"
         r" gen_ai.server.time_to_first_token; those are .*0\.5, 1, 2, 5, 10,"),
        ("[objective.no-stall]\nseconds = 11.0\n", r"no bucket of streamgauge.stream.stall.duration; .* 10, "),
        ("[health]\nadded_latency_seconds = 0.03\n", r"health.added_latency_seconds is 0.03, .*0.02, 0.04"),
        ("[objective.ends-well]\ntarget = 99.9\n", r"objective.ends-well.target is 99.9, .* between 0 and 1"),
        ("[objective.tools]\ntarget = 1\n", r"objective.tools.target is 1, "),
        ("[objective.tools]\ntarget = true\n", r"objective.tools.target is True, and must be a number"),
        ("[objective.tools]\ngoal = 0.9\n", r"objective.tools.goal is not known; there is target, not_failures"),
        ("[objektive]\n", r"objektive is not known"),
        ("objective = 3\n", r"objective is a table"),
        ("jobs = []\n", r"jobs is empty"),
        ('jobs = ["a b"]\n', r"must be a list of words"),
        ("time_scale = 0.5\n", r"time_scale is 0.5"),
        ("time_scale = 60\n", r"the window 5m \(5s\) is shorter than 4 times the scrape_interval of 15s"),
        ('scrape_interval = "2m"\n', r"the window 5m is shorter than 4 times"),
        ('evaluation_interval = "10m"\n', r"evaluation_interval is 10m, longer than the window 5m"),
        ('scrape_interval = "15"\n', r"'15' is no duration"),
        ("period_days = 0.5\n", r"whole days"),
        ("runbook_url = 3\n", r"runbook_url is 3, and must be a string"),
        ('[symptom]\nwindow = "0m"\n', r"'0m' is no duration"),
        ("[symptom]\nsilent_ratio = 2\n", r"symptom.silent_ratio is 2, .* between"),
        ("[symptom]\nminimum_streams = 0\n", r"symptom.minimum_streams is 0, and must be more"),
        ("[yesterday]\nchunk_rate_factor = 2\n", r"it is a drop"),
        ('[yesterday]\noffset = "30m"\n', r"they would overlap"),
        ("burn = []\n", r"burn is a list of tables, at least one"),
        ('[[burn]]\nseverity = "page"\n', r"burn\[0\] has the keys severity, factor, long, short, minimum_events"),
        ("burn = 3\n", r"burn is a list"),
        ("[[burn", r"objectives.toml: "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings: Callable[[str], Objectives], toml: str, why: str) -> None:
    with pytest.raises(ObjectivesError, match=why) as raised:
        settings(toml)
    assert "objectives.toml: " in str(raised.value)


def burn(**changed: object) -> str:
    values = {"severity": "page", "factor": 14.4, "long": "1h", "short": "5m", "minimum_events": 50} | changed
    ticket = {"severity": "ticket", "factor": 1.0, "long": "3d", "short": "6h", "minimum_events": 50}
    return "".join(
        "[[burn]]\n"
        + "".join(f"{key} = {f'{value!r}' if isinstance(value, str) else value}\n" for key, value in one.items())
        for one in (values, ticket)
    )


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        (burn(severity="warning"), r"burn\[0\].severity is 'warning', and must be page or ticket"),
        (burn(severity="ticket"), r"none of the severity page"),
        (burn(short="1h"), r"short \(1h\) must be shorter than long \(1h\)"),
        (burn(long="30d"), r"long \(30d\) must be shorter than period_days"),
        (burn(factor=-1.0), r"factor is -1"),
        (burn(factor=100.0), r"factor is 100: with the target 0.99 of first-token nothing is ever so bad"),
        (burn(minimum_events=0), r"minimum_events is 0"),
    ],
)
def test_a_burn_that_cannot_be_is_refused(settings: Callable[[str], Objectives], toml: str, why: str) -> None:
    with pytest.raises(ObjectivesError, match=why):
        settings(toml)


def test_a_burn_of_ones_own_is_taken(settings: Callable[[str], Objectives]) -> None:
    objectives = settings(burn(long="2h", short="10m"))
    assert objectives.burns_of("page") == (Burn("page", 14.4, "2h", "10m", 50.0),)
    assert objectives.windows == ("10m", "2h", "6h", "3d")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ObjectivesError, match="No such file"):
        load(tmp_path / "none.toml")
