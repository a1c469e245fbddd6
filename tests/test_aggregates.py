"""Aggregates: series, caps, histograms with exemplars, and a reading of open streams that never goes back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from streamgauge import semconv
from streamgauge.aggregates import OTHER, Aggregates, Distribution, Exemplar, Family, Labels, Point
from streamgauge.semconv import COMMON_LABELS

COMMON: Labels = ("chat", "p", "m", "a", "h", "generic", "inprocess")
CALLS = semconv.AGENT_TOOL_CALLS
"""A histogram with the bounds 1, 2, 4 ... 128."""
WITH_ERROR = (*COMMON, "")
TEXT = (*COMMON, "text")


def read(aggregates: Aggregates, metric: semconv.Metric, now: int = 0) -> dict[Labels, Any]:
    (family,) = [family for family in aggregates.collect(now) if family.metric is metric]
    return dict(family.series)


class Open:
    """An open stream that has counted some chunks."""

    def __init__(self, count: int = 3, common: Labels = COMMON, opened: int = 0, is_silent: bool = False) -> None:
        self.count, self.labels, self.opened, self.is_silent = count, common, opened, is_silent

    def common(self) -> Labels:
        return self.labels

    def opened_ns(self) -> int:
        return self.opened

    def silent(self, now: int) -> bool:
        return self.is_silent

    def partials(self) -> Sequence[object]:
        return (self,)

    def points(self, partial: object) -> Sequence[Point]:
        assert partial is self
        return [(semconv.CHUNKS, (*self.labels, "text"), self.count, None)]


# Recording --------------------------------------------------------------------------------------------------------


def test_counters_add_up() -> None:
    aggregates = Aggregates()
    aggregates.record([(semconv.CHUNKS, TEXT, 2, None), (semconv.CHUNKS, (*COMMON, "reasoning"), 1, None)])
    aggregates.record([(semconv.CHUNKS, TEXT, 0.5, None)])
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 2.5, (*COMMON, "reasoning"): 1}


@pytest.mark.parametrize(
    ("value", "bucket"), [(0, 0), (1, 0), (1.5, 1), (2, 1), (2.0000001, 2), (128, 7), (129, 8), (1e300, 8), (-1, 0)]
)
def test_a_value_is_in_the_bucket_up_to_whose_bound_it_goes(value: float, bucket: int) -> None:
    aggregates = Aggregates()
    aggregates.record([(CALLS, WITH_ERROR, value, (1, 2, 3))])
    found = read(aggregates, CALLS)[WITH_ERROR]
    assert found.counts == [int(index == bucket) for index in range(len(CALLS.buckets) + 1)]
    assert (found.count, found.sum) == (1, value)
    assert found.exemplars == {bucket: Exemplar(value, 1, 2, 3)}


def test_distributions_are_merged() -> None:
    aggregates = Aggregates()
    given = Distribution([1, 0, 2, 0, 0, 0, 0, 0, 0], 9.0)
    given.exemplars = {0: Exemplar(1, 1, 1, 1), 1: Exemplar(1.5, 5, 5, 5), 2: Exemplar(3, 1, 1, 1)}
    aggregates.record([(CALLS, WITH_ERROR, 1, (9, 9, 9)), (CALLS, WITH_ERROR, given, None)])
    aggregates.record([(CALLS, WITH_ERROR, given, None)])
    found = read(aggregates, CALLS)[WITH_ERROR]
    assert (found.counts, found.sum) == ([3, 0, 4, 0, 0, 0, 0, 0, 0], 19.0)
    assert found.exemplars == {0: Exemplar(1, 1, 1, 1), 1: Exemplar(1.5, 5, 5, 5), 2: Exemplar(3, 1, 1, 1)}
    assert given.counts == [1, 0, 2, 0, 0, 0, 0, 0, 0], "what was given is not touched"


def test_what_is_read_is_a_copy() -> None:
    aggregates = Aggregates()
    aggregates.record([(CALLS, WITH_ERROR, 1, (1, 1, 1)), (semconv.CHUNKS, TEXT, 1, None)])
    first = aggregates.collect(0)
    before = {family.metric: dict(family.series) for family in first}
    counts = before[CALLS][WITH_ERROR].counts.copy()
    aggregates.record([(CALLS, WITH_ERROR, 0.5, (1, 1, 1)), (semconv.CHUNKS, TEXT, 1, None)])
    after = {family.metric: family.series for family in first}
    assert after[CALLS][WITH_ERROR].counts == counts
    assert after[CALLS][WITH_ERROR].exemplars == {0: Exemplar(1, 1, 1, 1)}
    assert after[semconv.CHUNKS][TEXT] == 1


def test_all_metrics_are_there_from_the_start() -> None:
    for profile in semconv.PROFILES.values():
        families = Aggregates(profile.metrics).collect(0)
        assert [family.metric for family in families] == list(profile.metrics)
        assert all(not family.series for family in families)


def test_a_metric_of_another_profile_is_not_shown() -> None:
    aggregates = Aggregates(semconv.DEV.metrics)
    aggregates.record([(semconv.TOKEN_USAGE, (*COMMON, "input"), 1, None)])
    assert all(not family.series for family in aggregates.collect(0))


def test_labels_by_name() -> None:
    assert Family(semconv.CHUNKS, {}).named(("chat", "", "m", "", "", "zag", "", "text")) == {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "streamgauge.dialect": "zag", "kind": "text",
    }  # fmt: skip
    assert Family(semconv.TAP_BLIND, {}).named(("dialect",)) == {"reason": "dialect"}
    with pytest.raises(ValueError, match="zip"):
        Family(semconv.CHUNKS, {}).named(COMMON)


# The cap ----------------------------------------------------------------------------------------------------------


def capped(aggregates: Aggregates) -> dict[Labels, Any]:
    return read(aggregates, semconv.LABELS_CAPPED)


def test_cap() -> None:
    aggregates = Aggregates(label_cap=2)
    names = ("x", "y")
    given = [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2"), ("d", "3"), ("c", "")]
    assert [aggregates.cap(names, values) for values in given] == [
        ("a", "1"), ("b", "1"), (OTHER, "1"), ("a", "2"), (OTHER, OTHER), (OTHER, ""),
    ]  # fmt: skip
    assert capped(aggregates) == {("x",): 3, ("y",): 1}
    assert [aggregates.cap(names, values) for values in given][2] == (OTHER, "1")
    assert capped(aggregates) == {("x",): 3, ("y",): 1}, "the same labels again are no new case"


def test_the_cap_is_of_a_label_wherever_it_is_used() -> None:
    aggregates = Aggregates(label_cap=1)
    assert aggregates.cap(("x",), ("a",)) == ("a",)
    assert aggregates.cap(("y", "x"), ("b", "b")) == ("b", OTHER)
    assert aggregates.cap(COMMON_LABELS, COMMON) == COMMON


def test_the_memory_of_the_cap_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamgauge import aggregates as module

    monkeypatch.setattr(module, "_CAP_CACHE", 3)
    aggregates = Aggregates(label_cap=2)
    for number in range(50):
        assert aggregates.cap(("x",), (str(number),)) == ((str(number),) if number < 2 else (OTHER,))
        assert len(aggregates._capped) <= 3
    assert aggregates.cap(("x",), ("1",)) == ("1",)


# Open streams -----------------------------------------------------------------------------------------------------


def test_open_streams_are_read_in_passing() -> None:
    aggregates = Aggregates()
    aggregates.record([(semconv.CHUNKS, TEXT, 10, None)])
    stream = Open(3)
    aggregates.watch(stream)
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 13}
    stream.count = 4
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 14}
    with aggregates.lock:
        aggregates.unwatch_locked(stream)
        aggregates.record_locked([(semconv.CHUNKS, TEXT, 4, None)])
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 14}
    aggregates.unwatch(stream)


def test_a_stream_that_ends_while_it_is_read_is_no_series_without_labels() -> None:
    """Its run's labels are gone when they are asked for; such a series would stay for good."""
    aggregates = Aggregates()
    aggregates.watch(Open(common=("",) * len(COMMON)))
    aggregates.watch(Open())
    assert read(aggregates, semconv.ACTIVE) == {COMMON: 1}


def test_gauges() -> None:
    """Of each set of labels: how many, how many silent, the oldest. What was seen once goes on as 0."""
    aggregates = Aggregates()
    other = ("chat", "p", "n", "a", "h", "generic", "inprocess")
    streams = [Open(opened=5_000), Open(opened=2_000, is_silent=True), Open(common=other, opened=9_000)]
    for stream in streams:
        aggregates.watch(stream)
    now = 10_000 + 1_000_000_000
    found = [read(aggregates, metric, now) for metric in (semconv.ACTIVE, semconv.SILENT, semconv.OLDEST)]
    assert found == [{COMMON: 2, other: 1}, {COMMON: 1, other: 0}, {COMMON: 1.000008, other: 1.000001}]
    for stream in streams:
        aggregates.unwatch(stream)
    found = [read(aggregates, metric, now) for metric in (semconv.ACTIVE, semconv.SILENT, semconv.OLDEST)]
    assert found == [{COMMON: 0, other: 0}] * 3


def test_one_that_cannot_be_read_hides_no_other() -> None:
    class Broken(Open):
        def points(self, partial: object) -> Sequence[Point]:
            raise RuntimeError("no")

    aggregates = Aggregates()
    for stream in (Open(1), Broken(), Open(2)):
        aggregates.watch(stream)
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 3}


def test_forked() -> None:
    aggregates = Aggregates()
    aggregates.record([(semconv.CHUNKS, TEXT, 1, None), (CALLS, WITH_ERROR, 1, None)])
    aggregates.watch(Open())
    read(aggregates, semconv.ACTIVE)
    taken, held = threading.Event(), threading.Event()

    def hold() -> None:
        with aggregates.lock:
            taken.set()
            held.wait(20)

    holder = threading.Thread(target=hold)  # a thread that is not in the child
    holder.start()
    assert taken.wait(20)
    aggregates.forked()
    assert all(not family.series for family in aggregates.collect(0))
    aggregates.record([(semconv.CHUNKS, TEXT, 2, None)])
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 2}
    held.set()
    holder.join(20)


# Interrupted ------------------------------------------------------------------------------------------------------


class Interrupting(str):
    """A label in whose place in a series somebody else comes in."""

    def __new__(cls, text: str, then: Callable[[], object]) -> Interrupting:
        made = super().__new__(cls, text)
        made.then = iter([then])  # type: ignore[attr-defined]
        return made

    def __hash__(self) -> int:
        for then in self.then:  # type: ignore[attr-defined]
            then()
        return hash(str(self))

    __eq__ = str.__eq__


def test_recording_inside_adding_up() -> None:
    """A finalizer or a signal handler runs in the middle of ours, in the same thread, between reading a counter and
    writing it: nobody waits, nothing is lost."""
    aggregates = Aggregates()

    def interrupt() -> None:
        aggregates.record([(semconv.CHUNKS, TEXT, 10, None)])
        assert aggregates.cap(("x",), ("a",)) == ("a",)

    label = Interrupting("text", interrupt)
    aggregates.record([(semconv.CHUNKS, (*COMMON, label), 1, None), (semconv.CHUNKS, TEXT, 100, None)])
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 111}


def test_reading_inside_adding_up() -> None:
    """What was recorded and is still to be added up is seen: who recorded it may be seen no more."""
    aggregates = Aggregates()
    seen: list[dict[Labels, Any]] = []
    label = Interrupting("text", lambda: seen.append(read(aggregates, semconv.CHUNKS)))
    aggregates.record([(semconv.CHUNKS, (*COMMON, label), 1, None)])
    aggregates.record([(semconv.CHUNKS, TEXT, 10, None)])
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 11}
    assert seen == [{TEXT: 10}]


@pytest.mark.logs
def test_recording_goes_on_after_points_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    aggregates = Aggregates()
    aggregates.record([(semconv.CHUNKS, TEXT, 1, None), (semconv.CHUNKS, TEXT, cast("Any", "no number"), None)])
    aggregates.record([(semconv.CHUNKS, TEXT, 10, None)])
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 11}
    assert [record.message for record in caplog.records] == ["What a stream came to could not be counted."]


def test_adding_up_goes_on_after_it_was_stopped() -> None:
    """By Ctrl-C, which may come at any place."""
    aggregates = Aggregates()

    def stop() -> None:
        raise KeyboardInterrupt

    aggregates.record([(semconv.CHUNKS, (*COMMON, Interrupting("text", stop)), 1, None)])
    aggregates.record([(semconv.CHUNKS, TEXT, 10, None)])
    with pytest.raises(KeyboardInterrupt):
        aggregates.collect(0)
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 10}


def test_what_nobody_reads_is_added_up_all_the_same() -> None:
    """In a process that is never asked, what was recorded must not pile up."""
    aggregates = Aggregates()
    added: list[int] = []
    aggregates.record([(semconv.CHUNKS, (*COMMON, Interrupting("text", lambda: added.append(1))), 1, None)])
    for _ in range(100):
        aggregates.record([(semconv.CHUNKS, TEXT, 1, None)])
    assert added == [1]


def test_a_stream_that_ends_while_it_is_read() -> None:
    """In the middle of a reading, in the same thread: it is counted once, by what it was or by what it came to."""
    aggregates = Aggregates()
    streams = [Open(1) for _ in range(5)]

    class Ending(Open):
        def partials(self) -> Sequence[object]:
            if streams:
                gone = streams.pop()
                with aggregates.lock:
                    aggregates.unwatch_locked(gone)
                    aggregates.record_locked([(semconv.CHUNKS, TEXT, gone.count, None), (CALLS, WITH_ERROR, 1, None)])
            return ()

    for stream in (*streams, Ending()):
        aggregates.watch(stream)
    for _ in range(3):
        assert read(aggregates, semconv.CHUNKS) == {TEXT: 5}


def test_collected_garbage_that_records_under_the_lock() -> None:
    """The collector may run at any allocation, and what it finalizes may end a stream."""
    aggregates = Aggregates()

    class Dropped:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            aggregates.record([(semconv.CHUNKS, TEXT, 1, None)])

    threshold = gc.get_threshold()
    aggregates.record([(CALLS, (*COMMON, str(number)), 1, None) for number in range(200)])
    try:
        for number in range(30):
            gc.collect()
            Dropped()
            gc.set_threshold(7 * number + 1)
            aggregates.collect(0)
            aggregates.record([(CALLS, (*COMMON, str(number)), 1, None) for number in range(200)])
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert read(aggregates, semconv.CHUNKS) == {TEXT: 30}
    assert sum(value.count for value in read(aggregates, CALLS).values()) == 200 * 31


def test_threads() -> None:
    """Recorded and read by several at once: the sum is the sum, and a reader never sees less than before."""
    aggregates = Aggregates()
    start = threading.Barrier(5)
    problems: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            start.wait(20)
            for number in range(300):
                labels = aggregates.cap(
                    (*COMMON_LABELS, "kind"), (*COMMON[:2], f"m{thread}{number % 7}", *COMMON[3:], "text")
                )
                stream = Open(2, labels[:-1])
                aggregates.watch(stream)
                with aggregates.lock:
                    aggregates.unwatch_locked(stream)
                    aggregates.record_locked([(semconv.CHUNKS, labels, 2, None)])
        except BaseException as error:
            problems.append(error)

    def collect() -> None:
        try:
            start.wait(20)
            before = 0.0
            for number in range(60):
                now = sum(read(aggregates, semconv.CHUNKS).values())
                assert now >= before
                before = now
                read(aggregates, semconv.ACTIVE, number)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    threads += [threading.Thread(target=collect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert problems == []
    assert sum(read(aggregates, semconv.CHUNKS).values()) == 3 * 300 * 2
