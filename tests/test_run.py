"""`streamgauge.run`: streams below one span, with its conversation and deadline, and retries of what failed."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

import streamgauge
from streamgauge.wire import Outcome


class Boom(Exception):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def source(*items: Any) -> Generator[Any, None, None]:
    for item in items:
        if isinstance(item, BaseException):
            raise item
        yield item


async def asource(*items: Any) -> AsyncGenerator[Any, None]:
    for item in items:
        if isinstance(item, BaseException):
            raise item
        yield item


def read(*items: Any, name: str = "s", **options: Any) -> list[Any]:
    return list(streamgauge.wrap(source(*items), agent_name=name, **options))


def fail(name: str = "s", error: BaseException | None = None) -> None:
    with pytest.raises(type(error or Boom())):
        read(error or Boom("x"), name=name)


def only(seen: Any, name: str) -> dict[str, Any]:
    (span,) = [span for span in seen.spans if span["name"] == name]
    found: dict[str, Any] = span
    return found


@pytest.fixture(autouse=True)
def _context_is_left() -> Any:
    before = otel_context.get_current()
    yield
    assert otel_context.get_current() is before


# Nesting ----------------------------------------------------------------------------------------------------------


def test_nesting(seen: Any) -> None:
    with streamgauge.run("outer") as outer, streamgauge.run("inner"):
        assert isinstance(outer, streamgauge.Run)
        assert read("a") == ["a"]
    with streamgauge.run("next"):
        assert read("b", name="t") == ["b"]
    assert seen.tree() == [
        "invoke_agent outer", "  invoke_agent inner", "    invoke_agent s", "invoke_agent next", "  invoke_agent t",
    ]  # fmt: skip
    assert seen.value("streamgauge.streams") == 2, "a run is no stream"
    assert seen.count("gen_ai.invoke_agent.duration") == 5


async def test_nesting_in_tasks(seen: Any) -> None:
    """What is opened in tasks and threads that were started inside is below the run too."""

    async def task(name: str) -> None:
        async for _ in streamgauge.wrap(asource("x"), agent_name=name):
            await asyncio.sleep(0)

    async with streamgauge.run("outer"):
        await asyncio.gather(task("a"), task("b"))
        assert await asyncio.to_thread(read, "x", name="c") == ["x"]
    assert sorted(seen.tree()) == ["  invoke_agent a", "  invoke_agent b", "  invoke_agent c", "invoke_agent outer"]


def test_below_the_callers_own_span(seen: Any) -> None:
    tracer = seen.pipeline.recorder.tracer
    with tracer.start_as_current_span("request") as request, streamgauge.run("r"):
        assert trace.get_current_span() is not request
        with tracer.start_as_current_span("inside"):
            read("a")
    assert seen.tree() == ["request", "  invoke_agent r", "    inside", "      invoke_agent s"]


def test_a_stream_inside_a_streams_source(seen: Any) -> None:
    def agent() -> Generator[str, None, None]:
        with streamgauge.run("step"):
            got = read("a", name="model")
        yield from got

    with streamgauge.run("outer"):
        assert list(streamgauge.wrap(agent(), agent_name="agent")) == ["a"]
    assert seen.tree() == [
        "invoke_agent outer", "  invoke_agent agent", "    invoke_agent step", "      invoke_agent model",
    ]  # fmt: skip


def test_no_stream_at_all(seen: Any) -> None:
    with streamgauge.run("idle", provider_name="p", model="m", attributes={"tenant": "x"}):
        pass
    found = only(seen, "invoke_agent idle")
    assert (found["kind"], found["status"], found["parent"]) == ("INTERNAL", "UNSET", None)
    assert found["attributes"] == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "idle",
        "gen_ai.provider.name": "p",
        "gen_ai.request.model": "m",
        "streamgauge.dialect": "generic",
        "streamgauge.transport": "inprocess",
        "streamgauge.outcome": "completed",
        "tenant": "x",
    }


def test_calls_of_streams_below_are_the_runs(seen: Any) -> None:
    with streamgauge.run("r"):
        read("a", operation="chat", model="m", name="")
        read("b", operation="chat", model="m", name="")
        read("c", name="other")
    assert seen.value("gen_ai.invoke_agent.inference_calls", gen_ai_agent_name="r") == 2
    assert seen.value("gen_ai.invoke_agent.inference_calls", gen_ai_agent_name="other") == 0


# What is inherited ------------------------------------------------------------------------------------------------


def test_the_conversation_is_inherited(seen: Any) -> None:
    with streamgauge.run("a", conversation_id="c"), streamgauge.run("b"):
        read("x")
        read("x", name="own", conversation_id="d")
    ids = {span["name"]: span["attributes"].get("gen_ai.conversation.id") for span in seen.spans}
    assert ids == {"invoke_agent a": "c", "invoke_agent b": "c", "invoke_agent s": "c", "invoke_agent own": "d"}


DEADLINES = {
    # run's deadline s, its age at the opening ms, the stream's own deadline s, cancelled after ms: outcome
    "none": (0, 1_000, 0, 60_000, Outcome.CANCELLED),
    "its own": (0, 1_000, 2, 2_000, Outcome.TIMED_OUT),
    "before its own": (0, 1_000, 2, 1_999, Outcome.CANCELLED),
    "the run's, counted from the run's opening": (5, 4_000, 0, 1_000, Outcome.TIMED_OUT),
    "before the run's": (5, 4_000, 0, 999, Outcome.CANCELLED),
    "the run's, before its own": (5, 4_000, 30, 1_000, Outcome.TIMED_OUT),
    "its own, before the run's": (5, 1_000, 2, 2_000, Outcome.TIMED_OUT),
    "opened after it": (5, 6_000, 0, 0, Outcome.CANCELLED),
    "and cancelled later": (5, 6_000, 0, 1, Outcome.TIMED_OUT),
}


@pytest.mark.parametrize("case", DEADLINES)
async def test_deadlines(case: str, clock: Any, seen: Any) -> None:
    of_run, age, own, after, outcome = DEADLINES[case]
    with streamgauge.run("r", timeout_s=of_run):
        clock.pass_ms(age)
        stream = streamgauge.wrap(asource("x", asyncio.CancelledError()), agent_name="s", timeout_s=own)
        assert await anext(stream) == "x"
        clock.pass_ms(after)
        with pytest.raises(asyncio.CancelledError):
            await anext(stream)
    found = only(seen, "invoke_agent s")
    assert found["attributes"]["streamgauge.outcome"] == outcome
    assert found["attributes"].get("error.type") == ("timeout" if outcome is Outcome.TIMED_OUT else None)


@pytest.mark.parametrize("inner", [0, 60])
def test_a_run_in_a_run_has_its_deadline(inner: float, clock: Any, seen: Any) -> None:
    def cancelled() -> None:
        with streamgauge.run("a", timeout_s=5):
            clock.pass_ms(4_000)
            with streamgauge.run("b", timeout_s=inner):
                clock.pass_ms(1_000)
                raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        cancelled()
    outcomes = [span["attributes"]["streamgauge.outcome"] for span in seen.spans]
    assert outcomes == [Outcome.TIMED_OUT, Outcome.TIMED_OUT]


# Endings ----------------------------------------------------------------------------------------------------------

ENDINGS: dict[str, tuple[BaseException, Outcome, str | None, str]] = {
    "exception": (Boom("why"), Outcome.FAILED, f"{Boom.__module__}.Boom", "why"),
    "one without text": (Mute(), Outcome.FAILED, f"{Mute.__module__}.Mute", "failed"),
    "builtin": (ValueError("v"), Outcome.FAILED, "ValueError", "v"),
    "cancelled": (asyncio.CancelledError(), Outcome.CANCELLED, None, ""),
    "closed": (GeneratorExit(), Outcome.ABANDONED, None, ""),
    "interrupted": (KeyboardInterrupt(), Outcome.SHUTDOWN, "shutdown", "shutdown"),
    "exit": (SystemExit(3), Outcome.SHUTDOWN, "shutdown", "shutdown"),
}


@pytest.mark.parametrize("case", ENDINGS)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_endings(kind: str, case: str, seen: Any) -> None:
    """The caller's exception is the caller's."""
    error, outcome, error_type, message = ENDINGS[case]
    raised: BaseException | None = None
    try:
        if kind == "sync":
            with streamgauge.run("r"):
                raise error
        else:
            async with streamgauge.run("r"):
                raise error
    except BaseException as found:
        raised = found
    assert raised is error
    found = only(seen, "invoke_agent r")
    assert found["attributes"]["streamgauge.outcome"] == outcome
    assert found["attributes"].get("error.type") == error_type
    assert found["status_message"] == message


def test_shutdown_inside(seen: Any) -> None:
    with streamgauge.run("r"):
        streamgauge.shutdown()
        assert read("late") == ["late"]
    assert only(seen, "invoke_agent r")["attributes"]["streamgauge.outcome"] == "shutdown"


# Retries ----------------------------------------------------------------------------------------------------------


def test_a_stream_opened_again_is_a_retry(clock: Any, seen: Any) -> None:
    with streamgauge.run("r"):
        fail()
        clock.pass_ms(500)
        fail(error=ValueError("x"))
        clock.pass_ms(1_500)
        stream = streamgauge.wrap(source("a", "b"), agent_name="s")
        clock.pass_ms(30)
        assert next(stream) == "a"
        clock.pass_ms(5)
        assert list(stream) == ["b"]
        read("no retry of what succeeded")
    retries = [span for span in seen.spans if span["name"] == "retry request"]
    assert [span["parent"] for span in retries] == ["invoke_agent r"] * 2
    assert [span["attributes"] for span in retries] == [
        {
            "streamgauge.retry.target": "request",
            "streamgauge.retry.attempt": attempt,
            "streamgauge.retry.reason": reason,
            "streamgauge.retry.delay_s": delay,
        }
        for attempt, reason, delay in ((1, f"{Boom.__module__}.Boom", 0.5), (2, "ValueError", 1.5))
    ]
    assert [span["end"] - span["start"] for span in retries] == [0, 30_000_000]
    assert seen.value("streamgauge.retries", target="request") == 2
    assert only(seen, "invoke_agent r")["status"] == "UNSET"


NO_RETRIES: dict[str, Callable[[], Any]] = {
    "after one that was cancelled": lambda: fail(error=asyncio.CancelledError()),
    "after one that was dropped": lambda: next(streamgauge.wrap(source("a"))),
    "after one that completed": lambda: read("a"),
    "of another dialect": lambda: read(dialect="jaf"),
}


@pytest.mark.parametrize("case", NO_RETRIES)
def test_no_retry(case: str, seen: Any) -> None:
    with streamgauge.run("r"):
        NO_RETRIES[case]()
        read("again")
    assert "retry request" not in {span["name"] for span in seen.spans}


def test_no_retry_in_another_run_or_in_none(seen: Any) -> None:
    fail()
    read("outside")
    with streamgauge.run("a"):
        fail()
    with streamgauge.run("b"):
        read("b")
    assert seen.value("streamgauge.retries") == 0


# Left elsewhere ---------------------------------------------------------------------------------------------------


async def test_left_in_another_task(seen: Any) -> None:
    """A task has a copy of the context: the run is current there too, and is not its to give back."""
    run = streamgauge.run("r")

    async def enter_then_wait(leave: asyncio.Event, left: asyncio.Event) -> None:
        await run.__aenter__()
        closer = asyncio.create_task(close())
        await closer
        left.set()
        await leave.wait()

    async def close() -> None:
        await run.__aexit__(None, None, None)

    leave, left = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(enter_then_wait(leave, left))
    await left.wait()
    assert seen.tree() == ["invoke_agent r"]
    leave.set()
    await task


def test_left_in_another_thread_or_context(seen: Any) -> None:
    for leave in (
        lambda run: contextvars.Context().run(run.__exit__, None, None, None),
        lambda run: contextvars.copy_context().run(run.__exit__, None, None, None),
        lambda run: [(thread := threading.Thread(target=run.__exit__, args=(None, None, None))).start(), thread.join()],
    ):
        context = contextvars.copy_context()
        run = streamgauge.run("r")
        context.run(run.__enter__)
        context.run(leave, run)
    assert seen.tree() == ["invoke_agent r"] * 3
    assert {span["attributes"]["streamgauge.outcome"] for span in seen.spans} == {"completed"}


def test_left_twice(seen: Any) -> None:
    run = streamgauge.run("r")
    with run:
        pass
    assert run.__exit__(None, None, None) is None
    with run:
        read("again")
    assert seen.tree() == ["invoke_agent r", "invoke_agent r", "  invoke_agent s"]


async def test_one_object_in_several_tasks(seen: Any) -> None:
    """Each entering is a run of its own, whichever is left first."""
    shared = streamgauge.run("r")
    order = [asyncio.Event() for _ in range(3)]

    async def one(number: int) -> None:
        with shared:
            await order[number].wait()
            read("x", name=str(number))

    tasks = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(0)
    for number in (1, 2, 0):
        order[number].set()
        await tasks[number]
    assert [span["name"] for span in seen.spans] == [
        name for number in (1, 2, 0) for name in (f"invoke_agent {number}", "invoke_agent r")
    ]
    parents = [span["parent_id"] for span in seen.spans if span["parent_id"]]
    assert parents == [span["span_id"] for span in seen.spans if not span["parent_id"]]


def test_inside_itself(seen: Any) -> None:
    run = streamgauge.run("r")
    with run, run:
        read("x")
    assert seen.tree() == ["invoke_agent r", "  invoke_agent r", "    invoke_agent s"]


@pytest.mark.logs
def test_a_tracer_that_fails(seen: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The block runs all the same."""

    class Failing:
        def start_span(self, *args: Any, **kwargs: Any) -> Any:
            raise Boom("tracer")

    seen.pipeline.recorder.tracer = Failing()
    with streamgauge.run("r"):
        assert read("x") == ["x"]
    assert seen.value("streamgauge.tap.errors", reason="sink") == 1
    assert seen.value("streamgauge.tap.blind", reason="sink") == 1
    assert len(caplog.records) == 2
