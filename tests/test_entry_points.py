"""A dialect from outside: a package with an entry point, found by name; a broken one is told as what it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamgauge
from streamgauge import dialects
from streamgauge.errors import UnknownDialectError, UsageError
from streamgauge.wire import Request

Install = Callable[..., None]

GOOD = """
from streamgauge import Dialect, Outcome
from streamgauge.dialects import NOTHING
from streamgauge.signals import RUN, TEXT, Chunk, Closed

class Mine(Dialect):
    name = "mine"
    system = "a system of mine, 1.0"
    terminal = True
    provider_name = "me"
    events = {"word": "a chunk", "end": "the end"}

    def feed(self, data, at):
        if data == "end":
            return (Closed(RUN, at, Outcome.COMPLETED),)
        return Chunk(RUN, at, TEXT, data)
"""
GENERATOR = (
    GOOD.replace("return (Closed(RUN, at, Outcome.COMPLETED),)", "yield Closed(RUN, at, Outcome.COMPLETED)")
    .replace("        return Chunk", "        else:\n            yield Chunk")
)  # fmt: skip


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with a module and an entry point, as an installer leaves it."""

    def installed(source: str, name: str = "mine", target: str = ":Mine") -> None:
        module = f"dialect_{tmp_path.name}_{name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{module}.py,,\n")
        (info / "entry_points.txt").write_text(f"[streamgauge.dialects]\n{name} = {module}{target}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(dialects, "_found", dict(dialects._found))
    return installed


@pytest.mark.parametrize("source", [GOOD, GENERATOR], ids=["returns", "yields"])
@pytest.mark.parametrize("watched", [False, True], ids=["", "observed"])
@pytest.mark.parametrize("captured", ["NO_CONTENT", "SPAN_ONLY"])
def test_it_works(captured: str, watched: bool, source: str, install: Install) -> None:
    """Also one that is a generator, and has its signals read by several."""
    install(source)
    assert dialects.names() == (*dialects.BUILT_IN, "mine")
    shown: list[Any] = []
    with streamgauge.testing.recording(capture_content=captured) as seen:
        if watched:
            streamgauge.observe(lambda signal, request: shown.append(signal))
        words = ["to", "be", "end"]
        assert list(streamgauge.wrap(iter(words), dialect="mine", agent_name="a")) == words
        seen.pipeline.observers.stop(10)
        (span,) = seen.spans
        assert seen.value("streamgauge.stream.chunks", streamgauge_dialect="mine", gen_ai_provider_name="me") == 2
    assert span["attributes"]["streamgauge.dialect"] == "mine"
    assert span["attributes"]["gen_ai.provider.name"] == "me"
    assert span["attributes"]["streamgauge.outcome"] == "completed"
    assert ("gen_ai.output.messages" in span["attributes"]) == (captured == "SPAN_ONLY")
    assert [type(signal).__name__ for signal in shown] == (["Opened", "Chunk", "Chunk", "Closed"] if watched else [])


def test_its_end_without_a_terminal_event(install: Install, seen: Any) -> None:
    install(GOOD)
    list(streamgauge.wrap(iter(["to"]), dialect="mine"))
    assert seen.value("streamgauge.streams", streamgauge_outcome="truncated") == 1


def test_a_built_in_one_cannot_be_replaced(install: Install, seen: Any) -> None:
    install(GOOD, name="zag")
    assert dialects.names() == tuple(dialects.BUILT_IN)
    found = dialects.find("zag")
    assert found is not None
    assert found.__module__ == "streamgauge.dialects.zag"


NOT_LOADED = "the dialect 'mine' cannot be loaded: "
NO_DIALECT = "what is registered as the dialect 'mine' is no subclass of streamgauge.Dialect: "
BROKEN = {
    "its module is missing": ("", ".gone:Mine", f"{NOT_LOADED}ModuleNotFoundError: No module named"),
    "its module fails": ("raise RuntimeError('at import')", ":Mine", f"{NOT_LOADED}RuntimeError: at import"),
    "its syntax": ("class Mine(:", ":Mine", f"{NOT_LOADED}SyntaxError: "),
    "its class is missing": ("", ":Mine", f"{NOT_LOADED}AttributeError: "),
    "it is no dialect": ("class Mine: pass", ":Mine", NO_DIALECT),
    "it is an object": (GOOD + "mine = Mine()", ":mine", NO_DIALECT),
    "it is a module": ("", "", NO_DIALECT),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_one(case: str, install: Install, seen: Any) -> None:
    """Told where it is asked for, before any stream is opened; the caller's stream is not touched."""
    source, target, message = BROKEN[case]
    install(source, target=target)
    stream = iter("ab")
    for ask in (
        lambda: streamgauge.wrap(stream, dialect="mine"),
        lambda: streamgauge.wrap(lambda: stream, dialect="mine"),
        lambda: seen.pipeline.open(Request(dialect="mine")),
    ):
        with pytest.raises(UsageError) as raised:
            ask()
        assert str(raised.value).startswith(message)
    assert list(stream) == ["a", "b"]


def test_what_is_no_dialect_is_not_kept(install: Install, seen: Any) -> None:
    """Once the entry point's object is a dialect, it is found."""
    install(GOOD + "mine = Mine()", target=":mine")
    with pytest.raises(UsageError):
        streamgauge.wrap(iter("ab"), dialect="mine")
    made: Any = dialects.find("mine")
    module = sys.modules[type(made).__module__]
    module.mine = type(made)  # type: ignore[attr-defined]
    assert list(streamgauge.wrap(iter(["a", "end"]), dialect="mine")) == ["a", "end"]
    module.mine = made  # type: ignore[attr-defined]
    assert dialects.find("mine") is type(made), "a dialect is kept"


def test_one_that_is_not_installed(seen: Any) -> None:
    with pytest.raises(UnknownDialectError, match=r"no dialect 'mine'; known are generic, .*'streamgauge\.dialects'"):
        streamgauge.wrap(iter("ab"), dialect="mine")


@pytest.mark.logs
@pytest.mark.parametrize(
    "source",
    [
        GOOD + "    def __init__(self): raise RuntimeError('at once')",
        GOOD + "    def __init__(self): pass\n    __setattr__ = None",
    ],
    ids=["raises", "takes nothing"],
)
def test_one_that_cannot_be_made(source: str, install: Install, seen: Any) -> None:
    """The stream goes on, not decoded."""
    install(source)
    assert list(streamgauge.wrap(iter("ab"), dialect="mine", agent_name="a")) == ["a", "b"]
    assert seen.value("streamgauge.tap.blind", reason="dialect") == 1
    assert seen.value("streamgauge.streams", streamgauge_dialect="mine", streamgauge_outcome="completed") == 1
