"""Signals -> spans: exact names, parents, times, attributes with their types, events and status."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor

from recorder.play import (
    ANCHOR,
    MS,
    REQUEST,
    agent,
    attributes,
    chat,
    chunk,
    close,
    end,
    note,
    play,
    retry,
    run,
    step,
    tool,
    tree,
    typed,
    use,
)  # fmt: skip
from streamgauge import semconv, testing
from streamgauge.signals import PERSON_ANSWERED, PERSON_ASKED, REASONING, RUN, TOOL_CALL, TOOL_QUEUED, Opened
from streamgauge.wire import Outcome, Request

MODEL, AGENT, PROVIDER = "gen_ai.request.model", "gen_ai.agent.name", "gen_ai.provider.name"
ERROR = ["error"]

# The operations ---------------------------------------------------------------------------------------------------

KINDS = {
    "invoke_agent": ("x", "invoke_agent x", {"gen_ai.agent.name": "x", "gen_ai.provider.name": "p"}),
    "invoke_agent, unnamed": ("", "invoke_agent", {"gen_ai.provider.name": "p"}),
    "chat": ("m", "chat m", {"gen_ai.request.stream": True, "gen_ai.provider.name": "p", "gen_ai.request.model": "m"}),
    "chat, unnamed": ("", "chat", {"gen_ai.request.stream": True, "gen_ai.provider.name": "p"}),
    "generate_content": (
        "m", "generate_content m",
        {"gen_ai.request.stream": True, "gen_ai.provider.name": "p", "gen_ai.request.model": "m"},
    ),
    "execute_tool": ("t", "execute_tool t", {"gen_ai.tool.name": "t", "gen_ai.agent.name": "a"}),
    "execute_tool, unnamed": ("", "execute_tool", {"gen_ai.agent.name": "a"}),
    "step": ("1", "step 1", {"streamgauge.step.name": "1"}),
    "something_new": ("y", "something_new y", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_kinds(case: str, seen: Any) -> None:
    operation = case.partition(",")[0]
    name, span_name, expected = KINDS[case]
    end(play(seen, run(), Opened("k", 1 * MS, operation, name), close(2, "k"), close(3)))
    (span,) = [span for span in seen.spans if span["parent"]]
    assert span["name"] == span_name
    assert span["kind"] == semconv.SPANS.get(operation, ("", "INTERNAL"))[1]
    common = {"gen_ai.operation.name": operation, "streamgauge.outcome": "completed"}
    assert typed(span["attributes"]) == typed(common | expected)
    assert (span["status"], span["events"]) == ("UNSET", [])


def test_whole_run(seen: Any) -> None:
    """All attributes of a run's span, with their types."""
    request = Request(
        agent_name="a", provider_name="p", model="m", conversation_id="c", server_address="h", server_port=443,
        attributes={"custom": 3, "list": ["x", "y"]},
    )  # fmt: skip
    stream = play(
        seen, run(), chunk(10, RUN, "né"), chunk(40, RUN, "x", REASONING), use(45, RUN, 7, 5, 3, 2, 1),
        note(50, RUN, {"gen_ai.response.finish_reasons": ["stop"]}), close(60), request=request, asked={40: 20},
    )  # fmt: skip
    assert not stream.run_open
    (span,) = seen.spans
    assert (span["start"], span["end"]) == (ANCHOR, ANCHOR + 60 * MS)
    assert typed(span["attributes"]) == typed(
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "a",
            "gen_ai.provider.name": "p",
            "gen_ai.request.model": "m",
            "gen_ai.conversation.id": "c",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.response.time_to_first_chunk": 0.01,
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 3,
            "gen_ai.usage.cache_creation.input_tokens": 2,
            "gen_ai.usage.reasoning.output_tokens": 1,
            "server.address": "h",
            "server.port": 443,
            "streamgauge.dialect": "generic",
            "streamgauge.transport": "inprocess",
            "streamgauge.outcome": "completed",
            "streamgauge.stream.granularity": "token",
            "streamgauge.stream.time_to_first_byte": 0.01,
            "streamgauge.stream.time_to_first_answer": 0.01,
            "streamgauge.stream.chunks": 2,
            "streamgauge.stream.bytes": 4,
            "streamgauge.stream.longest_gap": 0.03,
            "streamgauge.stream.wait.source": 0.05,
            "streamgauge.stream.wait.caller": 0.01,
            "custom": 3,
            "list": ["x", "y"],
        }
    )


SCALARS = {
    "none is left out": (None, None),
    "text": ("x", "x"),
    "bool": (True, True),
    "int": (2, 2),
    "float": (0.5, 0.5),
    "list of text": (["x"], ["x"]),
    "list of anything": (["x", 1], "['x', 1]"),
    "mapping": ({"a": 1}, "{'a': 1}"),
    "outcome": (Outcome.FAILED, "failed"),
}


@pytest.mark.parametrize("case", SCALARS)
def test_attribute_values(case: str, seen: Any) -> None:
    """What no span takes becomes text: the SDK would drop it, and say so once for each."""
    given, expected = SCALARS[case]
    play(seen, run(x=given), note(1, RUN, {"y": given}), note(2, RUN, {"z": given}, "event"), close(3))
    (span,) = seen.spans
    kept = (span["attributes"].get("x"), span["attributes"].get("y"), span["events"][0]["attributes"].get("z"))
    assert [list(value) if isinstance(value, tuple) else value for value in kept] == [expected] * 3


# Parents ----------------------------------------------------------------------------------------------------------

PARENTS = {
    "explicit": (
        [step(1, "s", "1"), chat(2, "c", "m", "s"), close(3, "c"), tool(4, "t", "x", "s"), close(5, "s")],
        ["invoke_agent a 0-9", "a > step 1 1-5", "1 > chat m 2-3", "1 > execute_tool x 4-5"],
    ),
    "one that is not open stands for the run": (
        [step(1, "s", "1"), close(2, "s"), chat(3, "c", "m", "s"), tool(4, "t", "x"), close(5, "t"), close(6, "c")],
        ["invoke_agent a 0-9", "a > step 1 1-2", "a > chat m 3-6", "a > execute_tool x 4-5"],
    ),
    "a key that is opened again closes what was open, and all below it": (
        [step(1, "s", "1"), chat(2, "c", "m", "s"), step(4, "s", "2"), close(5, "s")],
        ["invoke_agent a 0-9", "a > step 1 1-4", "1 > chat m 2-4", "a > step 2 4-5"],
    ),
    "its own parent": (
        [step(1, "s", "1", "s"), close(2, "s")],
        ["invoke_agent a 0-9", "a > step 1 1-2"],
    ),
    "the parent is what the new one closes": (
        [step(1, "s", "1"), chat(2, "c", "m", "s"), step(3, "s", "2", "c"), close(4, "s")],
        ["invoke_agent a 0-9", "a > step 1 1-3", "1 > chat m 2-3", "a > step 2 3-4"],
    ),
    "the run's end closes all": (
        [agent(1, "b", "b"), step(2, "s", "1", "b"), chat(3, "c", "m", "s")],
        ["invoke_agent a 0-9", "a > invoke_agent b 1-9", "b > step 1 2-9", "1 > chat m 3-9"],
    ),
    "an end before the start is at the start": (
        [tool(5, "t", "x"), close(3, "t")],
        ["invoke_agent a 0-9", "a > execute_tool x 5-5"],
    ),
    "nothing opens before the run": ([], ["invoke_agent a 0-9"]),
}  # fmt: skip


@pytest.mark.parametrize("case", PARENTS)
def test_parents(case: str, seen: Any) -> None:
    signals, expected = PARENTS[case]
    play(seen, run(), *signals, close(9))
    assert tree(seen) == expected


def test_closed_with_what_is_above(seen: Any) -> None:
    """An end that nobody saw says so, where it was not the failure of what is above."""
    play(
        seen,
        run(),
        step(1, "s", "1"),
        tool(2, "t", "x", "s"),
        close(3, "s"),
        chat(4, "c", "m"),
        close(9, RUN, Outcome.FAILED, "E"),
    )
    assert attributes(seen, "execute_tool x")["streamgauge.end_unseen"] is True
    assert "streamgauge.end_unseen" not in attributes(seen, "chat m")
    assert attributes(seen, "chat m")["error.type"] == "E"
    assert "streamgauge.end_unseen" not in attributes(seen, "step 1")


def test_nothing_ends_after_what_it_is_in(seen: Any) -> None:
    """A model call lasts until its last chunk is read; a slow caller reads it after the step was over."""
    signals = [run(), step(1, "s", "1"), chat(2, "c", "m", "s"), chunk(30, "c"), close(9, "c"), close(12, "s")]
    stream = play(seen, *signals[:3])
    stream.record(signals[3], 3 * MS, 30 * MS)
    stream.apply(signals[4:])
    stream.apply([close(20)])
    assert tree(seen) == ["invoke_agent a 0-30", "a > step 1 1-30", "1 > chat m 2-30"]


# Endings ----------------------------------------------------------------------------------------------------------

ENDINGS: dict[Outcome, tuple[str, str | None, str, str | None]] = {
    # outcome: (status, error.type without one given; status and error.type with `Boom` given)
    Outcome.COMPLETED: ("UNSET", None, "UNSET", None),
    Outcome.FAILED: ("ERROR", "_OTHER", "ERROR", "Boom"),
    Outcome.TRUNCATED: ("ERROR", "truncated", "ERROR", "Boom"),
    Outcome.CANCELLED: ("UNSET", None, "UNSET", None),
    Outcome.ABANDONED: ("UNSET", None, "UNSET", None),
    Outcome.TIMED_OUT: ("ERROR", "timeout", "ERROR", "timeout"),
    Outcome.SHUTDOWN: ("ERROR", "shutdown", "ERROR", "shutdown"),
}


@pytest.mark.parametrize("operation", ["invoke_agent", "chat", "execute_tool", "step"])
@pytest.mark.parametrize("outcome", Outcome)
def test_endings(outcome: Outcome, operation: str, seen: Any) -> None:
    """The table of design: how a stream ends."""
    assert set(ENDINGS) == set(Outcome)
    plain_status, plain_error, status, error_type = ENDINGS[outcome]
    play(
        seen, run(), Opened("k", 1 * MS, operation, "1"), close(2, "k", outcome),
        Opened("k", 3 * MS, operation, "2"), close(4, "k", outcome, "Boom", "what went wrong"), close(5),
    )  # fmt: skip
    first, second, above = seen.spans
    assert (first["status"], first["attributes"].get("error.type")) == (plain_status, plain_error)
    assert (second["status"], second["attributes"].get("error.type")) == (status, error_type)
    assert [span["attributes"]["streamgauge.outcome"] for span in seen.spans] == [outcome, outcome, "completed"]
    in_error = status == "ERROR"
    assert first["status_message"] == (outcome.value if in_error else "")
    assert second["status_message"] == ("what went wrong" if in_error else "")
    reasoned = "gen_ai.response.finish_reasons" in second["attributes"]
    assert reasoned == (outcome is not Outcome.COMPLETED and operation in ("invoke_agent", "chat"))
    assert second["attributes"].get("gen_ai.response.finish_reasons", ERROR) == ERROR
    assert (above["status"], "error.type" in above["attributes"]) == ("UNSET", False)


@pytest.mark.parametrize(("flag", "status"), [(True, "ERROR"), (False, "UNSET")])
@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.ABANDONED])
def test_intended_ends_are_errors(outcome: Outcome, flag: bool, status: str) -> None:
    with testing.recording(intended_ends_are_errors=flag) as seen:
        play(seen, run(), close(1, RUN, outcome))
        (span,) = seen.spans
        assert (span["status"], "error.type" in span["attributes"]) == (status, False)


def test_a_finish_reason_that_came_is_kept(seen: Any) -> None:
    play(seen, run(), note(1, RUN, {"gen_ai.response.finish_reasons": ["length"]}), close(2, RUN, Outcome.FAILED))
    assert attributes(seen, "invoke_agent a")["gen_ai.response.finish_reasons"] == ["length"]


def test_a_long_message_is_cut(seen: Any) -> None:
    play(seen, run(), close(1, RUN, Outcome.FAILED, "E", "x" * 5_000))
    assert seen.spans[0]["status_message"] == "x" * 1_024


def test_after_the_end_nothing_is_told(seen: Any) -> None:
    after = [
        chunk(3, RUN),
        chat(3, "c", "m"),
        tool(3, "t", "x"),
        note(4, RUN, {"x": 1}),
        retry(4, RUN),
        use(5, RUN, 1),
        close(6),
    ]
    play(seen, run(), close(2), *after)
    assert tree(seen) == ["invoke_agent a 0-2"]
    assert seen.open == 0


def test_unknown_keys(seen: Any) -> None:
    signals = [chunk(1, "?"), use(1, "?", 1), note(1, "?", {"x": 1}), note(1, "?", {}, "event"), close(1, "?")]
    play(seen, run(), *signals, close(2))
    (span,) = seen.spans
    assert "x" not in span["attributes"]
    assert span["events"] == []
    assert "streamgauge.stream.chunks" not in span["attributes"]


JUNK = {
    "none": (None, 0), "number": (5, 0), "bytes": (b"abc", None), "list": (["a"], 0), "object": (object(), 0),
    "lone surrogate": ("\ud800", 1), "empty": ("", 0), "wide": ("\N{PILE OF POO}", 4), "nul": ("\0", 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["text", REASONING, TOOL_CALL])
@pytest.mark.parametrize("case", JUNK)
def test_junk_text(case: str, kind: str, seen: Any) -> None:
    """Counted; without a size where it is no text."""
    text, size = JUNK[case]
    play(seen, run(), chunk(1, RUN, text, kind), chunk(2, RUN, text, kind), chunk(3, RUN, "ab", kind), close(4))
    found = attributes(seen, "invoke_agent a")
    assert found["streamgauge.stream.chunks"] == 3
    if size is not None:
        assert found["streamgauge.stream.bytes"] == 2 * size + 2


# Retries ----------------------------------------------------------------------------------------------------------

RETRIES = {
    "its next chunk": ([chunk(2, "c"), retry(3, "c"), chunk(8, "c"), chunk(9, "c")], ["m > retry model 3-8"]),
    "before its first chunk": ([retry(3, "c"), chunk(8, "c")], ["m > retry model 3-8"]),
    "its own end": ([retry(3, "c"), close(7, "c")], ["m > retry model 3-7"]),
    "what opens below it": ([retry(3, "c"), tool(6, "t", "x", "c")], ["m > retry model 3-6"]),
    "what opens far below it": (
        [step(2, "s", "1", "c"), retry(3, "c"), tool(6, "t", "x", "s")], ["m > retry model 3-6"]
    ),
    "a chunk of what is open below it": (
        [chunk(2, "c"), retry(3, RUN, "request"), chunk(6, "c")], ["a > retry request 3-6"]
    ),
    "the next retry": (
        [retry(3, "c", attempt=1), retry(5, "c", attempt=2), chunk(9, "c")],
        ["m > retry model 3-5", "m > retry model 5-9"],
    ),
    "the end of the run": ([retry(3, "c")], ["m > retry model 3-20"]),
    "what is told of it is none": (
        [retry(3, "c"), note(4, "c", {"x": 1}), use(5, "c", 1), chunk(6, "c")], ["m > retry model 3-6"]
    ),
    "nor is a chunk of another": (
        [chat(2, "d", "n"), retry(3, "c"), chunk(4, "d"), chunk(6, "c")], ["m > retry model 3-6"]
    ),
    "an unknown key is the run's": ([retry(3, "?", "tool"), chunk(6, RUN)], ["a > retry tool 3-6"]),
    "a sign of life before it began": ([retry(3, "c"), chunk(3, "c")], ["m > retry model 3-3"]),
}  # fmt: skip


@pytest.mark.parametrize("case", RETRIES)
def test_a_retry_lasts_until(case: str, seen: Any) -> None:
    signals, expected = RETRIES[case]
    play(seen, run(), chat(1, "c", "m"), *signals, close(20))
    assert [line for line in tree(seen) if "retry" in line] == expected


def test_attributes_of_a_retry(seen: Any) -> None:
    signals = [retry(1, RUN, "request", 2, "429", 0.5), chunk(2, RUN), retry(3, RUN, "tool", 1), chunk(4, RUN)]
    play(seen, run(), *signals, close(5))
    first, second = (span for span in seen.spans if span["name"].startswith("retry"))
    assert (first["kind"], first["status"]) == ("INTERNAL", "UNSET")
    assert typed(first["attributes"]) == typed(
        {
            "streamgauge.retry.target": "request",
            "streamgauge.retry.attempt": 2,
            "streamgauge.retry.reason": "429",
            "streamgauge.retry.delay_s": 0.5,
        }
    )
    assert typed(second["attributes"]) == typed({"streamgauge.retry.target": "tool", "streamgauge.retry.attempt": 1})


# Names that come late ---------------------------------------------------------------------------------------------


def test_late_names(seen: Any) -> None:
    play(
        seen, run(), chat(1, "c", ""), agent(1, "b", ""), tool(1, "t", ""), note(2, "c", {MODEL: "m", PROVIDER: "q"}),
        note(2, "b", {AGENT: "b"}), note(2, "t", {"gen_ai.tool.name": "x"}),
        note(3, RUN, {AGENT: "new", MODEL: "m"}), close(9), request=Request(),
    )  # fmt: skip
    assert sorted(span["name"] for span in seen.spans) == [
        "chat m",
        "execute_tool x",
        "invoke_agent b",
        "invoke_agent new",
    ]
    assert attributes(seen, "chat m")[PROVIDER] == "q"
    assert attributes(seen, "execute_tool x")["gen_ai.tool.name"] == "x"
    assert attributes(seen, "invoke_agent new")[MODEL] == "m"


def test_inherited_names(seen: Any) -> None:
    """A model call's model and provider are those above it, where it says none; a tool has the agent's name."""
    signals = [
        agent(1, "b", "b"),
        chat(2, "c", "", "b"),
        chat(2, "d", "own", "b", {PROVIDER: "q"}),
        tool(3, "t", "x", "b"),
        agent(4, "e", "", "b"),
    ]
    play(seen, run(), *signals, close(9), request=REQUEST.updated(model="m"))
    assert attributes(seen, "chat m")[PROVIDER] == "p"
    assert attributes(seen, "chat own")[PROVIDER] == "q"
    assert attributes(seen, "execute_tool x")[AGENT] == "b"
    assert AGENT not in attributes(seen, "invoke_agent")


def test_conversation_told_late(seen: Any) -> None:
    """It is on what is opened from then on, and on the run."""
    signals = [chat(1, "c", "m"), note(2, RUN, {"gen_ai.conversation.id": "v"}), chat(3, "d", "n"), tool(4, "t", "x")]
    play(seen, run(), *signals, close(9))
    ids = {span["name"]: span["attributes"].get("gen_ai.conversation.id") for span in seen.spans}
    assert ids == {"chat m": None, "chat n": "v", "execute_tool x": None, "invoke_agent a": "v"}


# Persons ----------------------------------------------------------------------------------------------------------


def test_a_persons_wait_is_two_events(seen: Any) -> None:
    play(
        seen, run(), tool(1, "t", "x"), note(2, "t", {"why": "approve"}, PERSON_ASKED),
        note(5_000, "t", {"answer": "yes"}, PERSON_ANSWERED), note(5_001, RUN, {"gen_ai.tool.name": "y"}, TOOL_QUEUED),
        close(6_000, "t"), close(6_001),
    )  # fmt: skip
    (of_tool,) = [span["events"] for span in seen.spans if span["name"] == "execute_tool x"]
    assert of_tool == [
        {"name": "streamgauge.person.asked", "attributes": {"why": "approve"}, "at": ANCHOR + 2 * MS},
        {"name": "streamgauge.person.answered", "attributes": {"answer": "yes"}, "at": ANCHOR + 5_000 * MS},
    ]
    (of_run,) = [span["events"] for span in seen.spans if span["name"] == "invoke_agent a"]
    assert [(event["name"], event["attributes"]) for event in of_run] == [
        ("streamgauge.tool.queued", {"gen_ai.tool.name": "y"})
    ]


# Content ----------------------------------------------------------------------------------------------------------

ARGUMENTS, RESULT = "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"


def secretive(seen: Any) -> None:
    """A run with content wherever there can be some."""
    play(
        seen, run(**{INPUT: "question"}), tool(1, "t", "x", RUN, {ARGUMENTS: '{"k":1}'}), note(2, "t", {RESULT: "42"}),
        note(2, "t", {RESULT: "42"}, "told"), close(3, "t"), chat(4, "c", "m"), chunk(4, "c", "Hel"),
        chunk(5, "c", "lo"), chunk(6, "c", "hm", REASONING), chunk(7, RUN, "Bye"), close(8),
    )  # fmt: skip


def test_no_content_by_default(seen: Any) -> None:
    secretive(seen)
    for span in seen.spans:
        assert not semconv.CONTENT_ATTRIBUTES & span["attributes"].keys()
        assert all(not semconv.CONTENT_ATTRIBUTES & event["attributes"].keys() for event in span["events"])


@pytest.mark.parametrize("given", ["NO_CONTENT", "EVENT_ONLY", "false"])
def test_no_content_on_spans(given: str) -> None:
    with testing.recording(capture_content=given) as seen:
        test_no_content_by_default(seen)


@pytest.mark.parametrize("given", ["SPAN_ONLY", "SPAN_AND_EVENT", "true", "span_only"])
def test_content(given: str) -> None:
    with testing.recording(capture_content=given) as seen:
        secretive(seen)
        assert attributes(seen, "invoke_agent a")[INPUT] == "question"
        assert (
            attributes(seen, "invoke_agent a")[OUTPUT]
            == '[{"role": "assistant", "parts": [{"type": "text", "content": "Bye"}]}]'
        )
        assert (
            attributes(seen, "chat m")[OUTPUT]
            == '[{"role": "assistant", "parts": [{"type": "text", "content": "Hello"}]}]'
        )
        assert attributes(seen, "execute_tool x")[ARGUMENTS] == '{"k":1}'
        assert attributes(seen, "execute_tool x")[RESULT] == "42"


def test_capturing_content_changes_nothing_else() -> None:
    found = []
    for given in ("NO_CONTENT", "SPAN_ONLY"):
        with testing.recording(capture_content=given) as seen:
            secretive(seen)
            found.append(
                [
                    {n: v for n, v in span["attributes"].items() if n not in semconv.CONTENT_ATTRIBUTES}
                    for span in seen.spans
                ]
            )
    assert found[0] == found[1]


def test_content_is_redacted_then_cut() -> None:
    """A secret across the limit is not half of one."""
    with testing.recording(capture_content="SPAN_ONLY", content_max_bytes=12) as seen:
        content = seen.pipeline.recorder.attributes.content
        redacted = type(content)(True, 12, lambda name, text: text.replace("sk-12345678", "[key]"))
        seen.pipeline.recorder.attributes.content = redacted
        signals = [
            tool(1, "t", "x", RUN, {ARGUMENTS: "0123456 sk-12345678"}),
            *(chunk(2 + i, RUN, piece) for i, piece in enumerate(("0123456 sk-", "123456", "78é"))),
        ]
        play(seen, run(), *signals, close(9))
        assert attributes(seen, "execute_tool x")[ARGUMENTS] == "0123456 [key"
        assert '"content": "0123456 [key"' in attributes(seen, "invoke_agent a")[OUTPUT]


@pytest.mark.parametrize(
    ("limit", "kept"), [(0, None), (3, "h\N{LATIN SMALL LETTER E WITH ACUTE}"), (2, "h"), (100, "hél")]
)
def test_the_limit_is_of_bytes_and_cuts_no_character(limit: int, kept: str | None) -> None:
    with testing.recording(capture_content="SPAN_ONLY", content_max_bytes=limit) as seen:
        play(seen, run(**{INPUT: "hél"}), close(1))
        assert attributes(seen, "invoke_agent a").get(INPUT) == kept


@pytest.mark.logs
@pytest.mark.parametrize("given", [ValueError("secret"), None], ids=["raises", "gives nothing"])
def test_a_redaction_that_fails_shows_nothing(given: Exception | None) -> None:
    from streamgauge import pipeline
    from streamgauge.settings import load

    def redact(name: str, text: str) -> str:
        if given is not None:
            raise given
        return None  # type: ignore[return-value]

    with testing.recording() as seen:
        made = pipeline.Pipeline(
            load({"capture_content": "SPAN_ONLY"}), tracer_provider=None, redact=redact, own_metrics=True
        )
        made.recorder.tracer = seen.pipeline.recorder.tracer
        seen.pipeline.recorder, old = made.recorder, seen.pipeline.recorder
        secretive(seen)
        seen.pipeline.recorder = old
        assert len(seen.spans) == 3
        assert all(not semconv.CONTENT_ATTRIBUTES & span["attributes"].keys() for span in seen.spans)
        assert seen.spans[0]["attributes"]["gen_ai.tool.name"] == "x"


# Profiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "cache", "has", "lacks"),
    [
        ("released", "gen_ai.usage.cache_creation.input_tokens", {PROVIDER, "gen_ai.agent.id"}, set()),
        ("dev", "gen_ai.usage.cache_write.input_tokens", set(), {PROVIDER, "gen_ai.agent.id"}),
    ],
)
def test_profiles(profile: str, cache: str, has: set[str], lacks: set[str]) -> None:
    with testing.recording(profile=profile) as seen:
        play(
            seen,
            run(**{"gen_ai.agent.id": "7"}),
            chat(1, "c", "m"),
            use(2, "c", None, None, None, 4),
            note(3, RUN, {PROVIDER: "q"}),
            close(9),
        )
        assert attributes(seen, "chat m")[cache] == 4
        assert attributes(seen, "chat m")[PROVIDER] == "p"
        of_agent = attributes(seen, "invoke_agent a").keys()
        assert has <= of_agent
        assert not lacks & of_agent


# More -------------------------------------------------------------------------------------------------------------


def test_several_runs_in_one_stream(seen: Any) -> None:
    """Each is a span of its own, with the user's attributes, its own clocks and counts."""
    request = Request(agent_name="a", attributes={"tenant": "x"})
    play(
        seen, run(0), chunk(10, RUN), chunk(20, RUN), close(30), run(100, "b"), tool(105, "t", "x"), close(110, "t"),
        chunk(150, RUN), close(200), request=request, asked={150: 110},
    )  # fmt: skip
    assert tree(seen) == ["invoke_agent a 0-30", "invoke_agent b 100-200", "b > execute_tool x 105-110"]
    found = [attributes(seen, f"invoke_agent {name}") for name in "ab"]
    assert [each["tenant"] for each in found] == ["x", "x"]
    assert [each["streamgauge.stream.chunks"] for each in found] == [2, 1]
    assert [each["gen_ai.response.time_to_first_chunk"] for each in found] == [0.01, 0.05]
    assert [each["streamgauge.stream.time_to_first_byte"] for each in found] == [0.01, 0.005]
    assert [span["trace_id"] for span in seen.spans if not span["parent"]] != [seen.spans[0]["trace_id"]] * 2


def test_a_run_opened_anew_ends_the_one_that_is_open(seen: Any) -> None:
    play(seen, run(0), chat(1, "c", "m"), run(5, "b"), close(9))
    assert tree(seen) == ["invoke_agent a 0-5", "a > chat m 1-5", "invoke_agent b 5-9"]


def test_time_to_first_chunk_is_of_all_below(seen: Any) -> None:
    play(
        seen,
        run(),
        step(1, "s", "1"),
        chat(5, "c", "m", "s"),
        chunk(20, "c", "{", TOOL_CALL),
        chunk(30, "c"),
        close(40),
    )
    assert attributes(seen, "chat m")["gen_ai.response.time_to_first_chunk"] == 0.015
    found = attributes(seen, "invoke_agent a")
    assert found["gen_ai.response.time_to_first_chunk"] == 0.02
    assert found["streamgauge.stream.time_to_first_answer"] == 0.03
    assert "gen_ai.response.time_to_first_chunk" not in attributes(seen, "step 1")


def test_what_was_no_data_touches_no_clock(seen: Any) -> None:
    """A chunk that was told beside the stream is output, and not the stream's first byte."""
    stream = play(seen, run())
    stream.apply((chunk(5, RUN), chunk(6, RUN)))
    stream.record((), 0, 20 * MS)
    stream.record((close(30),), 20 * MS, 30 * MS)
    found = attributes(seen, "invoke_agent a")
    assert found["gen_ai.response.time_to_first_chunk"] == 0.005
    assert found["streamgauge.stream.time_to_first_byte"] == 0.02
    assert found["streamgauge.stream.wait.source"] == 0.03


def test_only_asides_are_no_data(seen: Any) -> None:
    stream = play(seen, run())
    stream.apply((chunk(5, RUN), chunk(5_000, RUN), close(6_000)))
    found = attributes(seen, "invoke_agent a")
    assert "streamgauge.stream.time_to_first_byte" not in found
    assert found["streamgauge.stream.chunks"] == 2
    assert seen.value("streamgauge.stream.stalls") == 0


def test_spans_that_fail_to_end(seen: Any) -> None:
    """Those that are left end all the same, and as what they are."""

    class Failing(SpanProcessor):
        def on_end(self, span: Any) -> None:
            raise RuntimeError("by design")

    seen.pipeline.recorder.tracer.span_processor.add_span_processor(Failing())
    stream = play(seen, run(), step(1, "s", "1"), chat(2, "c", "m", "s"), retry(3, "c"))
    with pytest.raises(RuntimeError, match="by design"):
        stream.apply((close(9, RUN, Outcome.FAILED, "E"),))
    ended = {span["name"]: span["attributes"].get("error.type") for span in seen.spans}
    assert ended == {"retry model": None, "chat m": "E", "step 1": "E", "invoke_agent a": "E"}
    assert seen.value("streamgauge.streams", error_type="E") == 1
    assert (stream.run_open, seen.pipeline.recorder.streams) == (False, set())


def test_ended_while_it_ends(seen: Any) -> None:
    """By a shutdown that comes in between: each operation is closed once."""

    class Ending(SpanProcessor):
        def on_end(self, span: Any) -> None:
            if span.name.startswith("retry"):
                stream.finish(8 * MS, Outcome.SHUTDOWN)

    seen.pipeline.recorder.tracer.span_processor.add_span_processor(Ending())
    stream = play(seen, run(), step(1, "s", "1"), chat(2, "c", "m", "s"), retry(3, "c"))
    stream.apply((close(9),))
    outcomes = {span["name"]: span["attributes"].get("streamgauge.outcome") for span in seen.spans}
    assert outcomes == {"retry model": None, "chat m": "completed", "step 1": "shutdown", "invoke_agent a": "shutdown"}
    assert len(seen.spans) == 4
    assert seen.value("streamgauge.streams") == 1


USAGE = {
    "none is absent": ((None, 0), {"output_tokens": 0}),
    "text": (("12", 3), {"output_tokens": 3}),
    "negative": ((-1, 3), {"output_tokens": 3}),
    "a float is whole": ((12.0, 3), {"input_tokens": 12, "output_tokens": 3}),
    "not a number": ((float("nan"), float("inf")), {}),
    "beyond what a span takes": ((2**63, 3), {"output_tokens": 3}),
    "truth": ((True, False), {}),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_straight_from_json(case: str, seen: Any) -> None:
    counts, expected = USAGE[case]
    play(seen, run(), chat(1, "c", "m"), use(2, "c", 99, 99), use(3, "c", *counts), close(9))
    found = {
        name[len("gen_ai.usage.") :]: value for name, value in attributes(seen, "chat m").items() if ".usage." in name
    }
    assert typed(found) == typed(expected)


def test_two_streams_in_one_trace(seen: Any) -> None:
    """What is opened while another stream's span is current is below it."""
    from streamgauge import recorder

    outer = play(seen, run())
    token = recorder.ambient().set(outer.context)
    assert recorder.current() is outer
    inner = play(seen, run(5, "b"), close(6))
    recorder.ambient().reset(token)
    assert recorder.current() is None
    end(inner)
    end(outer, 10)
    assert tree(seen) == ["invoke_agent a 0-10", "a > invoke_agent b 5-6"]
    assert len({span["trace_id"] for span in seen.spans}) == 1
