"""The numbers of several workers as one: nothing is counted twice, nothing goes back, whoever dies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamgauge import semconv
from streamgauge.aggregates import OTHER, Aggregates, Distribution, Labels
from streamgauge.proxy.merged import Merged, Reporter
from telemetry.parts import COMMON, EPOCH_NS, NOW, OpenStream

METRICS = semconv.RELEASED.metrics
DONE: Labels = (*COMMON, "completed", "")


class Worker:
    """One that reports to `merged`, over what JSON keeps."""

    def __init__(self, merged: Merged, number: int) -> None:
        self.numbers = Aggregates(METRICS)
        self.number = number
        self._merged = merged
        self._reporter = Reporter()

    def report(self) -> dict[str, list[object]]:
        changes = json.loads(json.dumps(self._reporter.changes(self.numbers.collect(NOW))))
        self._merged.update(self.number, changes)
        assert isinstance(changes, dict)
        return changes

    def stream(self, count: int = 1, labels: Labels = DONE) -> None:
        self.numbers.record([(semconv.STREAMS, labels, count, None)])

    def wait(self, seconds: float) -> None:
        self.numbers.record([(semconv.WAIT, (*COMMON, "source"), seconds, None)])

    def took(self, seconds: float, epoch_ns: int = EPOCH_NS) -> None:
        self.numbers.record([(semconv.FIRST_BYTE, COMMON, seconds, (epoch_ns, self.number, epoch_ns))])


@pytest.fixture
def merged() -> Merged:
    return Merged(METRICS)


def shown(merged: Merged, metric: semconv.Metric) -> Mapping[Labels, float | Distribution]:
    (family,) = (family for family in merged.collect(NOW) if family.metric is metric)
    return family.series


def test_all_metrics_are_there_without_a_worker(merged: Merged) -> None:
    assert [family.metric for family in merged.collect(NOW)] == list(METRICS)
    assert all(not family.series for family in merged.collect(NOW))


def test_workers_are_summed_up(merged: Merged) -> None:
    one, two = Worker(merged, 1), Worker(merged, 2)
    one.stream(3)
    two.stream(4)
    two.stream(5, (*COMMON, "failed", "timeout"))
    for worker in (one, two, two):
        worker.report()
    assert shown(merged, semconv.STREAMS) == {DONE: 7, (*COMMON, "failed", "timeout"): 5}


def test_a_report_has_only_what_changed(merged: Merged) -> None:
    worker = Worker(merged, 1)
    worker.stream()
    worker.took(0.5)
    assert set(worker.report()) == {semconv.STREAMS.name, semconv.FIRST_BYTE.name}
    assert worker.report() == {}
    worker.took(0.5, EPOCH_NS + 1)
    assert set(worker.report()) == {semconv.FIRST_BYTE.name}
    assert shown(merged, semconv.STREAMS) == {DONE: 1}


def test_a_report_of_what_is_not_known_is_passed_over(merged: Merged) -> None:
    merged.update(1, {"of.another.version": [[[], 5]], semconv.STREAMS.name: [[list(DONE), 2]]})
    assert shown(merged, semconv.STREAMS) == {DONE: 2}


def test_the_dead_leave_their_counts_and_take_their_gauges(merged: Merged) -> None:
    one, two = Worker(merged, 1), Worker(merged, 2)
    for worker in (one, two):
        worker.stream(2)
        worker.took(0.3)
        worker.numbers.watch(OpenStream())
        worker.report()
    assert shown(merged, semconv.ACTIVE) == {COMMON: 2}
    assert shown(merged, semconv.OLDEST) == {COMMON: 15.0}, "the oldest of all, and not their sum"
    assert shown(merged, semconv.CHUNKS) == {(*COMMON, "text"): 6}
    merged.bury(1)
    assert shown(merged, semconv.ACTIVE) == {COMMON: 1}
    assert shown(merged, semconv.STREAMS) == {DONE: 4}
    merged.bury(2)
    merged.bury(2)
    assert shown(merged, semconv.ACTIVE) == {COMMON: 0}, "gone, and not absent: that would be no data"
    assert shown(merged, semconv.OLDEST) == {COMMON: 0}
    assert shown(merged, semconv.STREAMS) == {DONE: 4}
    (found,) = shown(merged, semconv.FIRST_BYTE).values()
    assert isinstance(found, Distribution)
    assert (found.count, found.sum) == (2, 0.6)
    next_one = Worker(merged, 3)
    next_one.stream()
    next_one.report()
    assert shown(merged, semconv.STREAMS) == {DONE: 5}


def test_the_newest_exemplar_of_all_counts(merged: Merged) -> None:
    one, two = Worker(merged, 1), Worker(merged, 2)
    one.took(0.3, EPOCH_NS + 5)
    one.took(4.0, EPOCH_NS + 5)
    two.took(0.3, EPOCH_NS + 1)
    two.took(4.0, EPOCH_NS + 9)
    for worker in (one, two):
        worker.report()
    for _ in range(2):
        (found,) = shown(merged, semconv.FIRST_BYTE).values()
        assert isinstance(found, Distribution)
        assert {(each.value, each.trace_id, each.epoch_ns) for each in found.exemplars.values()} == {
            (0.3, 1, EPOCH_NS + 5), (4.0, 2, EPOCH_NS + 9),
        }  # fmt: skip
        merged.bury(2)


def test_labels_have_one_cap_for_all() -> None:
    merged = Merged(METRICS, label_cap=2)
    for number in range(1, 5):
        worker = Worker(merged, number)
        worker.stream(1, (*COMMON, "failed", f"error-{number}"))
        worker.report()
    errors = {labels[-1]: value for labels, value in shown(merged, semconv.STREAMS).items()}
    assert errors == {"error-1": 1, "error-2": 1, OTHER: 2}
    merged.bury(1)
    assert {labels[-1]: value for labels, value in shown(merged, semconv.STREAMS).items()} == errors
    assert shown(merged, semconv.LABELS_CAPPED)[(semconv.ERROR_TYPE,)] >= 2


def test_the_supervisors_own_numbers_are_among_them(merged: Merged) -> None:
    merged.record([(semconv.WORKERS, (), 2, None), (semconv.TAP_ERRORS, ("a",), 1, None)])
    worker = Worker(merged, 1)
    worker.numbers.record([(semconv.TAP_ERRORS, ("a",), 3, None)])
    worker.report()
    assert shown(merged, semconv.WORKERS) == {(): 2}
    assert shown(merged, semconv.TAP_ERRORS) == {("a",): 4}
    merged.record([(semconv.WORKERS, (), -1, None)])
    assert shown(merged, semconv.WORKERS) == {(): 1}


class Machine(RuleBasedStateMachine):
    """Workers count, report, die and come back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.merged = Merged(METRICS)
        self.living: list[Worker] = []
        self.started = 0
        self.reported: dict[int, int] = {}
        """Streams of each worker there ever was, as it said last."""
        self.counted: dict[int, int] = {}
        self.seen: dict[object, float] = {}

    @rule()
    def start(self) -> None:
        if len(self.living) < 4:
            self.started += 1
            self.living.append(Worker(self.merged, self.started))
            self.counted[self.started] = 0

    @rule(which=st.integers(0, 3), seconds=st.floats(1e-9, 1e3))
    def count(self, which: int, seconds: float) -> None:
        if which < len(self.living):
            worker = self.living[which]
            worker.stream()
            worker.wait(seconds)
            worker.took(seconds)
            self.counted[worker.number] += 1

    @rule(which=st.integers(0, 3))
    def report(self, which: int) -> None:
        if which < len(self.living):
            worker = self.living[which]
            worker.report()
            self.reported[worker.number] = self.counted[worker.number]

    @rule(which=st.integers(0, 3))
    def die(self, which: int) -> None:
        if which < len(self.living):
            self.merged.bury(self.living.pop(which).number)

    @invariant()
    def nothing_goes_back_or_counts_twice(self) -> None:
        now: dict[object, float] = {}
        for family in self.merged.collect(NOW):
            if family.metric.kind != semconv.GAUGE:
                for labels, value in family.series.items():
                    now |= dict(_parts((family.metric.name, labels), value))
        assert now.keys() >= self.seen.keys()
        assert [key for key, value in self.seen.items() if now[key] < value] == []
        assert now.get((semconv.STREAMS.name, DONE), 0) == sum(self.reported.values())
        self.seen = now


def _parts(key: object, value: float | Distribution) -> Iterable[tuple[object, float]]:
    if isinstance(value, Distribution):
        yield (key, "sum"), value.sum
        yield from (((key, index), count) for index, count in enumerate(value.counts))
    else:
        yield key, value


Machine.TestCase.settings = hypothesis(max_examples=60, stateful_step_count=40, deadline=None)
TestMerged = Machine.TestCase
