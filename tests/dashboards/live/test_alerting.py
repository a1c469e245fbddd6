"""From a fault in an agent to a person: rules, Alertmanager's routes, a webhook; and back when the fault is over."""

from __future__ import annotations

import pytest
from livestack.processes import until
from livestack.system import FAULTS, Fault, System

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def over(system: System) -> System:
    """All faults have been told, and have ended, and that was told, too."""
    told = system.webhook
    system.mended()
    until(
        lambda: all(told.names(fault.job) <= told.names(fault.job, "resolved") for fault in FAULTS),
        told="each end is told",
        timeout_s=60,
    )
    return system


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_fault_is_told_by_its_alert_alone(over: System, fault: Fault) -> None:
    assert over.webhook.names(fault.job) == {fault.alert}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_what_is_told_says_what_to_do(over: System, fault: Fault) -> None:
    for notice in over.webhook.of(fault.job):
        assert notice.labels["severity"] == "page"
        assert notice.labels["service"] == "streamgauge"
        assert fault.job in notice.annotations["summary"] + notice.annotations["description"]
        assert notice.annotations["runbook_url"].endswith(f"#{fault.alert.lower()}")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_the_end_of_a_fault_is_told(over: System, fault: Fault) -> None:
    assert over.webhook.names(fault.job, "resolved") == {fault.alert}
    firing = over.prometheus.ask(f'ALERTS{{alertstate="firing",job="{fault.job}",severity="page"}}')
    assert firing.series == []


def test_nothing_is_told_of_who_has_no_fault(over: System) -> None:
    assert over.webhook.of("idle") == []


def test_who_is_gone_is_told(over: System) -> None:
    assert over.webhook.names("gone") == {"StreamgaugeAbsent"}


def test_a_page_and_a_ticket_go_to_different_places(over: System) -> None:
    by_severity: dict[str, set[str]] = {}
    for notice in over.webhook.notices:
        by_severity.setdefault(notice.labels["severity"], set()).add(notice.receiver)
    assert by_severity.keys() >= {"page", "ticket"}
    assert by_severity["page"].isdisjoint(by_severity["ticket"])
