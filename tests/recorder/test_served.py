"""Streams that are served: their run's span, and its clocks under the server's names."""

from __future__ import annotations

from typing import Any

import pytest

from recorder.play import MS, attributes, chat, chunk, close, end, note, play, points, run, step, tool, use
from streamgauge import testing
from streamgauge.recorder import current, within
from streamgauge.signals import REASONING, RUN
from streamgauge.wire import Outcome, Request

SERVED = Request(agent_name="a", provider_name="p", transport="asgi", served=True)
MODEL = Request(operation="chat", model="m", transport="asgi", served=True)
DURATION = "gen_ai.server.request.duration"
FIRST = "gen_ai.server.time_to_first_token"
EACH = "gen_ai.server.time_per_output_token"
MESSAGES = {"streamgauge.stream.granularity": "message"}


def agent_run(seen: Any, request: Request) -> None:
    play(
        seen,
        run(),
        chat(10, "c", "m"), chunk(110, "c", "Hi"), chunk(150, "c", "so"), use(160, "c", 100, 20), close(160, "c"),
        tool(160, "t", "x"), close(400, "t"),
        close(600),
        request=request,
    )  # fmt: skip


def gen_ai(seen: Any, operation: str) -> dict[str, Any]:
    """The conventions' metrics of the operations of a kind, without the words that are the same in all."""
    found = points(seen, "gen_ai.")
    return {
        series.replace(f" name={operation}", "", 1): value
        for series, value in found.items()
        if f" name={operation}" in series
    }


AGENT = {
    "gen_ai.invoke_agent.duration name=a": (1, 0.6),
    "gen_ai.invoke_agent.inference_calls name=a": (1, 1),
    "gen_ai.invoke_agent.tool_calls name=a": (1, 1),
}


@pytest.mark.parametrize("profile", ["released", "dev"])
def test_the_runs_own_clocks_are_the_servers(profile: str) -> None:
    with testing.recording(profile=profile) as seen:
        agent_run(seen, SERVED)
        assert gen_ai(seen, "invoke_agent") == AGENT | {
            f"{DURATION} name=a outcome=completed": (1, 0.6),
            f"{FIRST} name=a granularity=token": (1, 0.11),
            f"{EACH} name=a": (1, round(0.04 / 19, 9)),
        }


@pytest.mark.parametrize("profile", ["released", "dev"])
def test_nothing_else_of_the_stream_is_another(profile: str) -> None:
    """What is below the run, and what is of every stream."""
    with testing.recording(profile=profile) as client:
        agent_run(client, Request(agent_name="a", provider_name="p", transport="asgi"))
    with testing.recording(profile=profile) as server:
        agent_run(server, SERVED)
    for operation in ("chat", "execute_tool"):
        assert gen_ai(server, operation) == gen_ai(client, operation)
        assert gen_ai(server, operation)
    assert points(server, "streamgauge.") == points(client, "streamgauge.")
    mine, theirs = gen_ai(client, "invoke_agent"), gen_ai(server, "invoke_agent")
    assert {name for name in mine if name not in theirs} == {name for name in mine if name.startswith("gen_ai.client")}


def test_the_runs_span_alone_is_of_kind_server(seen: Any) -> None:
    agent_run(seen, SERVED)
    kinds = {span["name"]: span["kind"] for span in seen.spans}
    assert kinds == {"invoke_agent a": "SERVER", "chat m": "CLIENT", "execute_tool x": "INTERNAL"}
    assert attributes(seen, "invoke_agent a")["gen_ai.response.time_to_first_chunk"] == 0.11


def test_a_model_that_is_served(seen: Any) -> None:
    play(
        seen, run(0, "m", "chat"), chunk(100, RUN), chunk(120, RUN), chunk(160, RUN), use(170, RUN, 5, 7), close(200),
        request=MODEL,
    )  # fmt: skip
    assert [(span["name"], span["kind"]) for span in seen.spans] == [("chat m", "SERVER")]
    assert gen_ai(seen, "chat") == {
        f"{DURATION} model=m outcome=completed": (1, 0.2),
        f"{FIRST} model=m granularity=token": (1, 0.1),
        f"{EACH} model=m": (1, 0.01),
        "gen_ai.client.operation.time_per_output_chunk model=m": (2, 0.06),
        "gen_ai.client.token.usage model=m type=input": (1, 5),
        "gen_ai.client.token.usage model=m type=output": (1, 7),
    }


# Successful answers only ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.COMPLETED])
def test_an_answer_that_was_not_whole_has_a_duration_only(outcome: Outcome, seen: Any) -> None:
    play(seen, run(0, "m", "chat"), chunk(1, RUN), chunk(2, RUN), close(3, RUN, outcome), request=MODEL)
    assert seen.count(DURATION, streamgauge_outcome=outcome) == 1
    assert (seen.count(FIRST), seen.count(EACH)) == (0, 0)


def test_an_error_has_its_type(seen: Any) -> None:
    play(seen, run(), close(3, RUN, Outcome.FAILED, "Boom"), request=SERVED)
    assert seen.count(DURATION, error_type="Boom") == 1


def test_several_runs_of_one_stream(seen: Any) -> None:
    runs = [run(), chunk(10, RUN), chunk(30, RUN), close(40), run(100), chunk(110, RUN), chunk(130, RUN), close(140)]
    end(play(seen, *runs, request=SERVED))
    assert (seen.count(DURATION), seen.value(DURATION)) == (2, pytest.approx(0.08))
    assert (seen.count(EACH), seen.value(EACH)) == (2, pytest.approx(0.04))


# Time per output token ----------------------------------------------------------------------------------------------

TWO = [chunk(10, "c"), chunk(20, "c"), chunk(40, "c")]
"""30 ms."""
PER_TOKEN: dict[str, tuple[list[Any], float | None]] = {
    # what is below the run: milliseconds per token
    "the calls know their tokens": ([chat(1, "c", "m"), *TWO, use(41, "c", 1, 4), close(42, "c")], 10),
    "only the run does": ([chat(1, "c", "m"), *TWO, close(42, "c"), use(43, RUN, 1, 7)], 5),
    "nobody does": ([chat(1, "c", "m"), *TWO, close(42, "c")], 15),
    "the run says again what its calls said": (
        [chat(1, "c", "m"), *TWO, use(41, "c", 1, 4), close(42, "c"), use(43, RUN, 1, 99)], 10,
    ),
    "two calls, and time between them": (
        [
            chat(1, "c", "m"), *TWO, use(41, "c", 1, 4), close(42, "c"), tool(42, "t", "x"), close(900, "t"),
            chat(900, "d", "m"), chunk(910, "d"), chunk(930, "d"), use(931, "d", 1, 3), close(932, "d"),
        ], 10,
    ),
    "two calls of which one knows": (
        [
            chat(1, "c", "m"), *TWO, use(41, "c", 1, 4), close(42, "c"),
            chat(900, "d", "m"), chunk(910, "d"), chunk(940, "d"), close(950, "d"),
        ], 15,
    ),
    "two calls, and the run alone knows": (
        [
            chat(1, "c", "m"), *TWO, close(42, "c"), chat(900, "d", "m"), chunk(910, "d"), chunk(940, "d"),
            close(950, "d"), use(951, RUN, 1, 8),
        ], 10,
    ),
    "tokens of reasoning that is not shown": (
        [chat(1, "c", "m"), *TWO, use(41, "c", 1, 104, None, None, 100), close(42, "c")], 10,
    ),
    "tokens of reasoning that is": (
        [chat(1, "c", "m"), chunk(5, "c", "hm", REASONING), *TWO, use(41, "c", 1, 8, None, None, 4), close(42, "c")], 5,
    ),
    "fewer tokens than can be": ([chat(1, "c", "m"), *TWO, use(41, "c", 1, 1), close(42, "c")], 15),
    "no count at all": ([chat(1, "c", "m"), *TWO, use(41, "c", 1, "many"), close(42, "c")], 15),
    "one chunk": ([chat(1, "c", "m"), chunk(10, "c"), use(11, "c", 1, 50), close(12, "c")], None),
    "none": ([chat(1, "c", "m"), close(12, "c")], None),
    "chunks of a step": ([step(1, "c", "1"), *TWO, close(42, "c")], 15),
    "whole messages": ([note(1, RUN, MESSAGES), chat(1, "c", "m"), *TWO, use(41, "c", 1, 4), close(42, "c")], None),
}  # fmt: skip


@pytest.mark.parametrize("case", PER_TOKEN)
def test_time_per_output_token(case: str, seen: Any) -> None:
    signals, expected = PER_TOKEN[case]
    play(seen, run(), *signals, close(1_000), request=SERVED)
    assert seen.count(EACH) == (expected is not None)
    if expected is not None:
        assert seen.value(EACH) == pytest.approx(expected / 1_000)
    assert seen.count(DURATION) == 1


def test_a_stream_that_is_not_served_has_none_of_them(seen: Any) -> None:
    agent_run(seen, Request(agent_name="a"))
    assert not [series for series in points(seen) if series.startswith("gen_ai.server")]


# The context inside ------------------------------------------------------------------------------------------------


def test_what_is_current_elsewhere_stays_so_inside(seen: Any) -> None:
    from opentelemetry import baggage
    from opentelemetry import context as otel
    from opentelemetry.context import Context

    stream = seen.pipeline.recorder.stream(SERVED, at=0, anchor=0, parent=Context())
    stream.apply((run(),))
    assert within(stream.context) is stream.context
    token = otel.attach(baggage.set_baggage("user", "1"))
    inner = otel.attach(within(stream.context))
    assert (baggage.get_baggage("user"), current()) == ("1", stream)
    otel.detach(inner)
    otel.detach(token)
    stream.finish(1 * MS)
