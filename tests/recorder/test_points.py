"""Signals -> metric points: exact names, labels and values, in both profiles, at the end and while streams are open."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from recorder.play import (
    ANCHOR,
    MS,
    REQUEST,
    agent,
    chat,
    chunk,
    close,
    end,
    note,
    play,
    points,
    retry,
    run,
    step,
    tool,
    use,
)  # fmt: skip
from streamgauge import semconv, testing
from streamgauge.aggregates import OTHER, Distribution
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, REASONING, RUN, TEXT, TOOL_CALL, Chunk
from streamgauge.wire import Outcome, Request

MODEL = "gen_ai.request.model"


def whole(seen: Any) -> None:
    """A run with a model call, a tool and a second call."""
    play(
        seen,
        run(),
        chat(10, "c", "m"), chunk(110, "c", "Hi"), chunk(130, "c", "so", REASONING), chunk(150, "c", "{}", TOOL_CALL),
        use(160, "c", 100, 20, 50, 10, 5), close(160, "c"),
        tool(160, "t", "x"), close(400, "t", Outcome.FAILED, "Boom"),
        chat(400, "d", "m"), chunk(500, "d", "yes"), chunk(540, "d", "!"), use(560, "d", 130, 2), close(560, "d"),
        use(560, RUN, 230, 22), close(600),
        asked={540: 530},
    )  # fmt: skip


SHARED = {
    "gen_ai.invoke_agent.duration name=a": (1, 0.6),
    "gen_ai.invoke_agent.inference_calls name=a": (1, 2),
    "gen_ai.invoke_agent.tool_calls name=a": (1, 1),
    "gen_ai.execute_tool.duration name=a name=x type=Boom": (1, 0.24),
    "streamgauge.stream.time_to_first_byte name=a": (1, 0.01),
    "streamgauge.stream.time_to_first_answer name=a granularity=token": (1, 0.11),
    "streamgauge.streams name=a outcome=completed": 1,
    "streamgauge.stream.chunks model=m name=a kind=text": 3,
    "streamgauge.stream.chunks model=m name=a kind=reasoning": 1,
    "streamgauge.stream.chunks model=m name=a kind=tool_call": 1,
    "streamgauge.stream.bytes model=m name=a kind=text": 6,
    "streamgauge.stream.bytes model=m name=a kind=reasoning": 2,
    "streamgauge.stream.bytes model=m name=a kind=tool_call": 2,
    "streamgauge.stream.chunk_rate name=a granularity=token": (1, 37.5),
    "streamgauge.stream.wait name=a on=source": 0.57,
    "streamgauge.stream.wait name=a on=caller": 0.03,
}
"""Without the operation's name, which is the first label."""

RELEASED = {
    "gen_ai.client.operation.duration name=a outcome=completed": (1, 0.6),
    "gen_ai.client.operation.duration model=m name=a outcome=completed": (2, 0.31),
    "gen_ai.client.operation.time_to_first_chunk name=a granularity=token": (1, 0.11),
    "gen_ai.client.operation.time_to_first_chunk model=m name=a granularity=token": (2, 0.2),
    "gen_ai.client.operation.time_per_output_chunk model=m name=a": (3, 0.08),
    "gen_ai.client.token.usage model=m name=a type=input": (2, 230),
    "gen_ai.client.token.usage model=m name=a type=output": (2, 22),
    "gen_ai.client.token.usage model=m name=a type=cache_read": (1, 50),
    "gen_ai.client.token.usage model=m name=a type=cache_write": (1, 10),
    "gen_ai.client.token.usage model=m name=a type=reasoning": (1, 5),
}
DEV = {
    "gen_ai.client.operation.duration name=a outcome=completed": (1, 0.6),
    "gen_ai.client.inference.duration model=m name=a outcome=completed": (2, 0.31),
    "gen_ai.client.inference.time_to_first_chunk name=a granularity=token": (1, 0.11),
    "gen_ai.client.inference.time_to_first_chunk model=m name=a granularity=token": (2, 0.2),
    "gen_ai.client.inference.time_per_output_chunk model=m name=a": (3, 0.08),
    "gen_ai.client.inference.usage.input_tokens model=m name=a modality=unknown": 230,
    "gen_ai.client.inference.usage.output_tokens model=m name=a modality=unknown": 22,
    "gen_ai.client.inference.usage.cache_read.input_tokens model=m name=a modality=unknown": 50,
    "gen_ai.client.inference.usage.cache_write.input_tokens model=m name=a modality=unknown": 10,
    "gen_ai.client.inference.usage.reasoning.output_tokens model=m name=a modality=unknown": 5,
    "gen_ai.client.inference.operation.input_tokens model=m name=a": (2, 230),
    "gen_ai.client.inference.operation.output_tokens model=m name=a": (2, 22),
}


@pytest.mark.parametrize(("profile", "own"), [("released", RELEASED), ("dev", DEV)])
def test_whole_run(profile: str, own: dict[str, Any]) -> None:
    """Every series there is, and no other."""
    with testing.recording(profile=profile) as seen:
        whole(seen)
        found = {}
        operations = {}
        for series, value in points(seen).items():
            metric, labels = series.split(" ", 1)
            operation, _, rest = labels.partition(" ")
            found[f"{metric} {rest}"] = value
            operations[f"{metric} {rest}"] = operation
    assert found == own | SHARED
    of_calls = {series for series in found if "model=m" in series}
    assert {series for series in found if operations[series] == "name=chat"} == of_calls
    assert {s for s in found if operations[s] == "name=execute_tool"} == {s for s in found if "execute_tool" in s}


def test_common_labels(seen: Any) -> None:
    request = Request("generic", "proxy", "chat", "a", "p", "m", server_address="h", server_port=1, conversation_id="c")
    play(seen, run(0, "m", "chat"), close(1), request=request)
    (labels,) = seen.families["gen_ai.client.operation.duration"].series
    assert seen.families["gen_ai.client.operation.duration"].named(labels) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "p",
        "gen_ai.request.model": "m",
        "gen_ai.agent.name": "a",
        "server.address": "h",
        "streamgauge.dialect": "generic",
        "streamgauge.transport": "proxy",
        "streamgauge.outcome": "completed",
    }


# Tokens: leaf operations only -------------------------------------------------------------------------------------

LEAVES: dict[str, tuple[list[Any], int]] = {
    "the run, where no call has any": ([use(5, RUN, 7)], 7),
    "the calls, where they have": ([chat(1, "c", "m"), use(2, "c", 5), close(3, "c"), use(5, RUN, 7)], 5),
    "the last total of each": ([chat(1, "c", "m"), use(2, "c", 5), use(3, "c", 8), close(4, "c")], 8),
    "not a step with calls below it": (
        [step(1, "s", "1"), chat(1, "c", "m", "s"), use(2, "c", 5), use(3, "s", 5), close(4, "s"), use(5, RUN, 5)], 5,
    ),
    "a step without": ([step(1, "s", "1"), use(3, "s", 4), close(4, "s"), use(5, RUN, 7)], 4),
    "an agent below, not those above": ([agent(1, "b", "b"), use(3, "b", 6), close(4, "b"), use(5, RUN, 7)], 6),
    "a call far below": (
        [
            agent(1, "b", "b"), step(1, "s", "1", "b"), chat(2, "c", "m", "s"), use(3, "c", 3), use(4, "b", 3),
            close(4, "b"), use(5, RUN, 3),
        ], 3,
    ),
    "a call cut off with the run": ([chat(1, "c", "m"), use(2, "c", 5), use(3, RUN, 5)], 5),
    "a call counts, whatever is below it": (
        [chat(1, "c", "m"), chat(2, "d", "n", "c"), use(3, "d", 2), use(3, "c", 5)], 7
    ),
}  # fmt: skip


@pytest.mark.parametrize("profile", ["released", "dev"])
@pytest.mark.parametrize("case", LEAVES)
def test_tokens(case: str, profile: str) -> None:
    signals, expected = LEAVES[case]
    with testing.recording(profile=profile) as seen:
        play(seen, run(), *signals, close(9))
        metric = "gen_ai.client.token.usage" if profile == "released" else "gen_ai.client.inference.usage.input_tokens"
        assert seen.value(metric) == expected


# Calls of an agent's run ------------------------------------------------------------------------------------------


def test_calls_are_those_of_the_nearest_agent(seen: Any) -> None:
    play(
        seen, run(), step(1, "s", "1"), chat(1, "c", "m", "s"), tool(2, "t", "x", "s"), agent(3, "b", "b", "t"),
        chat(4, "d", "m", "b"), tool(5, "u", "y", "b"), tool(6, "v", "z", "b"), close(9),
    )  # fmt: skip
    for name, inference, tools in (("a", 1, 1), ("b", 1, 2)):
        assert seen.value("gen_ai.invoke_agent.inference_calls", gen_ai_agent_name=name) == inference
        assert seen.value("gen_ai.invoke_agent.tool_calls", gen_ai_agent_name=name) == tools


# Clocks -----------------------------------------------------------------------------------------------------------

CLOCKS = (
    "streamgauge.stream.time_to_first_byte",
    "gen_ai.client.operation.time_to_first_chunk",
    "streamgauge.stream.time_to_first_answer",
)


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        ([], (None, None, None)),
        ([note(20, RUN)], (0.02, None, None)),
        ([chunk(20, RUN, "x", REASONING)], (0.02, 0.02, None)),
        ([note(20, RUN), chunk(30, RUN, "{", TOOL_CALL), chunk(50, RUN)], (0.02, 0.03, 0.05)),
        ([chunk(20, RUN)], (0.02, 0.02, 0.02)),
    ],
    ids=["unread", "no output", "only reasoning", "all three", "at once"],
)
def test_no_sample_of_a_clock_that_never_stopped(signals: list[Any], expected: tuple[Any, ...], seen: Any) -> None:
    play(seen, run(), *signals).apply((close(90),))
    found = tuple((seen.value(name) if seen.count(name) else None) for name in CLOCKS)
    assert found == pytest.approx(expected)


def test_no_rate_without_a_second_chunk(seen: Any) -> None:
    play(seen, run(), chunk(20, RUN), close(90))
    assert seen.count("streamgauge.stream.chunk_rate") == 0
    assert seen.count("gen_ai.client.operation.time_per_output_chunk") == 0
    assert seen.value("streamgauge.stream.chunks") == 1


def test_granularity(seen: Any) -> None:
    """What the dialect says of itself, until an event says better."""
    signals = [note(1, RUN, {"streamgauge.stream.granularity": "message"}), chat(2, "c", "m"), chunk(3, "c")]
    play(seen, run(), *signals, note(4, "c", {"streamgauge.stream.granularity": "sliced"}), close(9))
    name = "gen_ai.client.operation.time_to_first_chunk"
    assert seen.count(name, streamgauge_stream_granularity="message", gen_ai_operation_name="invoke_agent") == 1
    assert seen.count(name, streamgauge_stream_granularity="sliced", gen_ai_operation_name="chat") == 1
    assert seen.count(name) == 2


@pytest.mark.parametrize("bound", semconv.GAP_SECONDS)
@pytest.mark.parametrize("beyond", [0, 1])
def test_each_gap_is_in_its_bucket(bound: float, beyond: int, seen: Any) -> None:
    """The per-chunk path finds buckets its own way: it must be the one way. The same gap thrice, among others."""
    gap = round(bound * 1e9) + beyond
    stream = play(seen, run())
    at = 0
    for each in (0, 5 * MS, gap, gap, gap, 7 * MS, gap):
        at += each
        stream.record(Chunk(RUN, at, TEXT, "x"), at, at)
    stream.apply((close(at / MS + 1),))
    (found,) = seen.families["gen_ai.client.operation.time_per_output_chunk"].series.values()
    expected = [0] * (len(semconv.GAP_SECONDS) + 1)
    for each in (5 * MS, gap, gap, gap, 7 * MS, gap):
        expected[sum(each > round(limit * 1e9) for limit in semconv.GAP_SECONDS)] += 1
    assert found.counts == expected
    assert found.sum == pytest.approx((12 * MS + 4 * gap) / 1e9)
    (span,) = seen.spans
    assert span["attributes"]["streamgauge.stream.longest_gap"] == max(7 * MS, gap) / 1e9


def test_a_retry_interrupts_the_gaps(seen: Any) -> None:
    signals = [
        chat(0, "c", "m"),
        chunk(10, "c"),
        chunk(20, "c"),
        retry(25, RUN, "request"),
        chunk(900, "c"),
        chunk(905, "c"),
    ]
    play(seen, run(), *signals, close(910))
    assert points(seen, "gen_ai.client.operation.time_per_output_chunk") == {
        "gen_ai.client.operation.time_per_output_chunk name=chat model=m name=a": (2, 0.015)
    }
    assert seen.value("streamgauge.stream.chunks") == 4


# Waiting ----------------------------------------------------------------------------------------------------------


def test_waits(seen: Any) -> None:
    """The source's time is from asking to coming; the caller's is the rest."""
    play(seen, run(), chunk(100, RUN), chunk(500, RUN), close(700), asked={500: 400})
    assert points(seen, "streamgauge.stream.wait") == {
        "streamgauge.stream.wait name=invoke_agent name=a on=source": 0.4,
        "streamgauge.stream.wait name=invoke_agent name=a on=caller": 0.3,
    }


ASKED, ANSWERED = partial(note, key=RUN, name=PERSON_ASKED), partial(note, key=RUN, name=PERSON_ANSWERED)

STALLS: dict[str, tuple[list[Any], dict[float, float], dict[str, float]]] = {
    "none up to the limit": ([chunk(1_000, RUN), chunk(2_000, RUN)], {}, {}),
    "before the first data": ([chunk(1_001, RUN)], {}, {"generation": 1.001}),
    "generating": ([chunk(10, RUN), chunk(2_010, RUN)], {}, {"generation": 2.0}),
    "in a tool": ([tool(10, "t", "x"), close(2_010, "t")], {}, {"tool": 2.0}),
    "after a tool": ([tool(10, "t", "x"), close(20, "t"), chunk(2_020, RUN)], {}, {"generation": 2.0}),
    "the caller's time is none": ([chunk(10, RUN), chunk(5_010, RUN)], {5_010: 5_000}, {}),
    "only the source's part of it": ([chunk(10, RUN), chunk(5_010, RUN)], {5_010: 2_010}, {"generation": 3.0}),
    "a person's is none": ([ASKED(10), ANSWERED(5_000), chunk(5_500, RUN)], {}, {}),
    "up to the answer": ([ASKED(10), ANSWERED(5_000), chunk(8_000, RUN)], {}, {"generation": 3.0}),
    "or the next chunk": ([ASKED(10), chunk(5_000, RUN), chunk(8_000, RUN)], {}, {"generation": 3.0}),
    "two persons": ([ASKED(10), ASKED(11), ANSWERED(20), ANSWERED(9_000)], {}, {}),
    "an answer that nobody asked for": ([ANSWERED(10), chunk(5_010, RUN)], {}, {"generation": 5.0}),
    "each of them": (
        [chunk(10, RUN), chunk(2_010, RUN), tool(2_010, "t", "x"), close(5_010, "t")],
        {}, {"generation": 2.0, "tool": 3.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STALLS)
def test_stalls(case: str, seen: Any) -> None:
    signals, asked, expected = STALLS[case]
    play(seen, run(), *signals, close(signals[-1].at / MS), asked=asked)
    for during in ("generation", "tool"):
        assert seen.value("streamgauge.stream.stalls", during=during) == (during in expected)
        assert seen.value("streamgauge.stream.stall.duration", during=during) == expected.get(during, 0)
    (span,) = [span for span in seen.spans if not span["parent"]]
    assert span["attributes"].get("streamgauge.stream.stalls", 0) == len(expected)


def test_a_run_that_groups_streams_counts_no_stream(seen: Any) -> None:
    stream = seen.pipeline.recorder.stream(REQUEST, at=0, anchor=0, counted=False)
    stream.apply((run(), close(5)))
    names = {series.partition(" ")[0] for series in points(seen)}
    assert names == {
        "gen_ai.client.operation.duration", "gen_ai.invoke_agent.duration", "gen_ai.invoke_agent.inference_calls",
        "gen_ai.invoke_agent.tool_calls",
    }  # fmt: skip


# Retries ----------------------------------------------------------------------------------------------------------


def test_retries(seen: Any) -> None:
    signals = [
        retry(1, RUN, "model", 1, "429"),
        retry(2, RUN, "model", 2, "429"),
        chat(3, "c", "m"),
        retry(4, "c", "tool", 1),
    ]
    play(seen, run(), *signals, close(9))
    assert points(seen, "streamgauge.retries") == {
        "streamgauge.retries name=invoke_agent name=a target=model reason=429": 2,
        "streamgauge.retries name=chat model=m name=a target=tool": 1,
    }


# Labels -----------------------------------------------------------------------------------------------------------


def test_late_labels(seen: Any) -> None:
    """Known at the end, they hold for all of it; but not under a counter that somebody has seen."""
    play(seen, run(), note(1, RUN, {MODEL: "m"}), chunk(2, RUN), close(9))
    assert all("model=m" in series for series in points(seen))
    stream = play(seen, run(10, "b"))
    points(seen)  # nothing is counted yet, so that nothing binds
    stream.record((note(11, RUN, {MODEL: "n"}), chunk(11, RUN)), 10 * MS, 11 * MS)
    before = points(seen)
    stream.record((note(12, RUN, {MODEL: "late"}),), 11 * MS, 12 * MS)
    stream.apply((close(13),))
    after = points(seen)
    assert "streamgauge.stream.chunks name=invoke_agent model=n name=b kind=text" in before
    assert not [series for series in after if "model=late" in series]
    counters = ("streamgauge.stream.chunks", "streamgauge.stream.bytes", "streamgauge.stream.wait")
    assert all(after[series] >= value for series, value in before.items() if series.startswith(counters))


def test_label_caps() -> None:
    with testing.recording(label_cap=2) as seen:
        for number in range(5):
            play(seen, run(0, f"a{number}"), tool(0, "t", f"t{number}"), close(1, RUN, Outcome.FAILED, f"E{number}"))
        play(seen, run(0, "a1"), close(1))
        assert points(seen, "streamgauge.streams") == {
            "streamgauge.streams name=invoke_agent name=a0 outcome=failed type=E0": 1,
            "streamgauge.streams name=invoke_agent name=a1 outcome=failed type=E1": 1,
            f"streamgauge.streams name=invoke_agent name={OTHER} outcome=failed type={OTHER}": 3,
            "streamgauge.streams name=invoke_agent name=a1 outcome=completed": 1,
        }
        assert seen.count("gen_ai.execute_tool.duration", gen_ai_tool_name=OTHER) == 3
        for label in ("gen_ai.agent.name", "gen_ai.tool.name", "error.type"):
            assert seen.value("streamgauge.labels.capped", label=label) >= 3
        assert [span["name"] for span in seen.spans if not span["parent"]][4] == "invoke_agent a4", (
            "spans are not capped"
        )


def test_an_outside_dialects_own_words_are_capped() -> None:
    granularity = "streamgauge.stream.granularity"
    with testing.recording(label_cap=2) as seen:
        for number in range(5):
            told = note(1, RUN, {granularity: f"g{number}"})
            play(seen, run(), told, chunk(2, RUN, "x", f"k{number}"), chunk(3, RUN, "x", TOOL_CALL), close(4))
        assert seen.value("streamgauge.stream.chunks", kind=OTHER) == 3
        assert seen.value("streamgauge.stream.chunks", kind=TOOL_CALL) == 5, "our own words need no room"
        assert seen.count("streamgauge.stream.chunk_rate", streamgauge_stream_granularity=OTHER) == 3


def test_a_chunk_is_never_taken_for_text_meanwhile(seen: Any) -> None:
    """Who collects in the middle of a chunk finds it as what it is, or not yet: a counter cannot take it back."""
    stream = play(seen, run(), chunk(5, RUN, "hm", REASONING))
    operation = stream.operations[RUN]
    found: list[list[tuple[str, int, int]]] = []

    class Collected(list[int]):
        def __setitem__(self, index: Any, value: Any) -> None:
            found.append(list(operation.tallies()))
            super().__setitem__(index, value)

    assert operation.gaps is not None
    operation.gaps = Collected(operation.gaps)
    stream.record(Chunk(RUN, 9 * MS, REASONING, "so"), 5 * MS, 9 * MS)
    stream.apply([close(20)])
    assert found == [[(REASONING, 2, 4)]]


LABELS = {
    "model": ({MODEL: ["x"]}, "gen_ai_request_model", "['x']"),
    "provider": ({"gen_ai.provider.name": 5}, "gen_ai_provider_name", "5"),
    "agent": ({"gen_ai.agent.name": True}, "gen_ai_agent_name", "True"),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("case", LABELS)
def test_labels_are_text(case: str, late: bool, seen: Any) -> None:
    """Whatever a dialect finds in somebody's JSON."""
    given, label, expected = LABELS[case]
    signals = [run(), note(1, RUN, given)] if late else [run(0, "", "invoke_agent", **given)]
    play(seen, *signals, close(9), request=Request())
    assert seen.value("streamgauge.streams", **{label: expected}) == 1


# Exemplars --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exemplars", "kept"), [("trace_based", True), ("always_on", True), ("always_off", False)])
def test_exemplars(exemplars: str, kept: bool) -> None:
    """Each histogram's bucket points at the span whose value it is."""
    with testing.recording(exemplar_filter=exemplars) as seen:
        whole(seen)
        spans = {int(span["span_id"], 16): span["name"] for span in seen.spans}
        found = {}
        for name, family in seen.families.items():
            for value in family.series.values():
                if isinstance(value, Distribution):
                    for bucket, exemplar in value.exemplars.items():
                        assert value.counts[bucket] > 0
                        low, high = (
                            (-1.0, *family.metric.buckets)[bucket],
                            (*family.metric.buckets, float("inf"))[bucket],
                        )
                        assert low < exemplar.value <= high
                        assert exemplar.trace_id == int(seen.spans[0]["trace_id"], 16)
                        found.setdefault(name, set()).add((spans[exemplar.span_id], (exemplar.epoch_ns - ANCHOR) / MS))
    if not kept:
        assert found == {}
        return
    assert found["gen_ai.execute_tool.duration"] == {("execute_tool x", 400)}
    # 0.15 s and 0.16 s are in one bucket: the later one stands for it.
    assert found["gen_ai.client.operation.duration"] == {("chat m", 560), ("invoke_agent a", 600)}
    assert found["streamgauge.stream.time_to_first_byte"] == {("invoke_agent a", 600)}
    assert found["gen_ai.client.token.usage"] == {("chat m", 160), ("chat m", 560)}
    assert found["gen_ai.client.operation.time_per_output_chunk"] == {("chat m", 160), ("chat m", 560)}


@pytest.mark.parametrize(("exemplars", "kept"), [("trace_based", 0), ("always_on", 1)])
def test_exemplars_of_what_is_not_sampled(exemplars: str, kept: int) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with testing.recording(exemplar_filter=exemplars) as seen:
        seen.pipeline.recorder.tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("t")
        play(seen, run(), close(100))
        (value,) = seen.families["gen_ai.invoke_agent.duration"].series.values()
        assert isinstance(value, Distribution)
        assert len(value.exemplars) == kept
        assert seen.spans == []


# While it is open -------------------------------------------------------------------------------------------------


def test_open_streams_are_seen(seen: Any) -> None:
    stream = play(
        seen,
        run(),
        chat(1, "c", "m"),
        chunk(10, "c", "Hi"),
        chunk(20, "c"),
        chunk(20, RUN, "x", REASONING),
        tool(30, "t", "x"),
    )
    open_ = points(seen, now=500 * MS)
    assert open_ == {
        "gen_ai.client.operation.time_per_output_chunk name=chat model=m name=a": (1, 0.01),
        "streamgauge.streams.active name=invoke_agent name=a": 1,
        "streamgauge.streams.silent name=invoke_agent name=a": 0,
        "streamgauge.stream.oldest name=invoke_agent name=a": 0.5,
        "streamgauge.stream.chunks name=chat model=m name=a kind=text": 2,
        "streamgauge.stream.chunks name=invoke_agent name=a kind=reasoning": 1,
        "streamgauge.stream.bytes name=chat model=m name=a kind=text": 6,
        "streamgauge.stream.bytes name=invoke_agent name=a kind=reasoning": 1,
        "streamgauge.stream.wait name=invoke_agent name=a on=source": 0.03,
    }
    end(stream, 600)
    closed = points(seen, now=600 * MS)
    assert {series: closed[series] for series in open_} == open_ | {
        "streamgauge.streams.active name=invoke_agent name=a": 0,
        "streamgauge.stream.oldest name=invoke_agent name=a": 0,
    }


@pytest.mark.parametrize(
    ("signals", "asked", "silent"),
    [
        ([chunk(10, RUN)], 10, 1),
        ([chunk(10, RUN)], 5, 0),
        ([tool(10, "t", "x")], 10, 0),
        ([tool(10, "t", "x"), close(11, "t")], 11, 1),
        ([note(10, RUN, {}, PERSON_ASKED)], 10, 0),
        ([note(10, RUN, {}, PERSON_ASKED), note(11, RUN, {}, PERSON_ANSWERED)], 11, 1),
    ],
    ids=["asked", "the caller has it", "in a tool", "after it", "a person is asked", "and has answered"],
)
def test_silent_streams(signals: list[Any], asked: float, silent: int, seen: Any) -> None:
    stream = play(seen, run(), *signals)
    stream.asked = int(asked * MS)
    series = "streamgauge.streams.silent name=invoke_agent name=a"
    assert points(seen, now=1_000 * MS)[series] == 0, "within the limit"
    assert points(seen, now=1_012 * MS)[series] == silent
    end(stream)


def test_several_runs_of_one_stream(seen: Any) -> None:
    play(seen, run(), chunk(5, RUN), chunk(10, RUN), close(10), run(100), chunk(150, RUN), close(160), asked={150: 100})
    assert points(seen, "streamgauge.stream") == {
        "streamgauge.streams name=invoke_agent name=a outcome=completed": 2,
        "streamgauge.stream.time_to_first_byte name=invoke_agent name=a": (2, 0.055),
        "streamgauge.stream.time_to_first_answer name=invoke_agent name=a granularity=token": (2, 0.055),
        "streamgauge.stream.chunks name=invoke_agent name=a kind=text": 3,
        "streamgauge.stream.bytes name=invoke_agent name=a kind=text": 12,
        "streamgauge.stream.chunk_rate name=invoke_agent name=a granularity=token": (1, 200),
        "streamgauge.stream.wait name=invoke_agent name=a on=source": 0.07,
    }


def test_a_mirror_is_given_each_point_once(seen: Any) -> None:
    """With the context of the span that it belongs to."""
    from opentelemetry.trace import get_current_span

    given: list[tuple[str, int]] = []
    seen.pipeline.recorder._mirror = lambda found, context: given.extend(
        (metric.name, get_current_span(context).get_span_context().span_id) for metric, _, _, _ in found
    )
    play(seen, run(), chat(1, "c", "m"), chunk(5, "c"), close(6, "c"), retry(7, RUN), chunk(2_000, RUN), close(2_001))
    ids = {span["name"]: int(span["span_id"], 16) for span in seen.spans}
    assert given.count(("gen_ai.client.operation.duration", ids["chat m"])) == 1
    assert given.count(("gen_ai.client.operation.duration", ids["invoke_agent a"])) == 1
    assert ("streamgauge.stream.stalls", ids["invoke_agent a"]) in given
    assert ("streamgauge.retries", ids["invoke_agent a"]) in given


@pytest.mark.parametrize("captured", [False, True])
def test_each_chunk_gap_for_the_hosts_meter(captured: bool, seen: Any) -> None:
    """Where it is asked for; the aggregates have them as ever. Also those of chunks that come with others' signals."""
    from streamgauge.recorder import Content, Recorder

    given: list[tuple[float, str]] = []
    made = Recorder(
        seen.pipeline.recorder.tracer,
        seen.pipeline.aggregates,
        content=Content(captured),
        meter_chunks=True,
        mirror=lambda found, context: given.extend(
            (value, labels[0])
            for metric, labels, value, _ in found
            if metric is semconv.PER_CHUNK and isinstance(value, float)
        ),
    )
    seen.pipeline.recorder = made
    play(
        seen, run(), chat(10, "c", "m"), chunk(10, "c"), chunk(20, "c"), chunk(25, RUN), chunk(50, "c"), retry(60, "c"),
        chunk(90, "c"), chunk(91, "c"), chunk(92, "?"), close(99),
    )  # fmt: skip
    assert given == [(0.01, "chat"), (0.03, "chat"), (0.001, "chat")]
    assert seen.count("gen_ai.client.operation.time_per_output_chunk") == 3
    (call,) = [span for span in seen.spans if span["name"] == "chat m"]
    assert ("gen_ai.output.messages" in call["attributes"]) == captured
