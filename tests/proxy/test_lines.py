"""On which line a key of a TOML file stands. In these documents each number is that of its own line, so that `tomllib`
itself says what is right."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.proxy.lines import Path, key_lines, shown

DOCUMENTS = {
    "pairs": "a = 1\nb = 2\n\n# c = 9\nd = 5 # [e]\n",
    "tables": "a = 1\n[b]\nc = 3\n[d.e]\n  f = 5\n[ g . h ]\ni = 7\n[b.x]\nj = 9\n",
    "dotted keys": "a.b.c = 1\na.b.d = 2\n[x]\ny.z = 4\n",
    "quoted keys": '"a b" = 1\n\'c.d\' = 2\n"e\\u0041\\"]" = 3\n["t.u".v]\nw = 5\n',
    "arrays of tables": "[[r]]\na = 2\n[[r]]\na = 4\n[r.s]\nb = 6\n[[r.t]]\nc = 8\n[[r.t]]\nc = 10\n[[r]]\na = 12\n",
    "arrays": "a = [1,\n  2, # x ]\n\n 4 ]\nb = [[5], [\n6]]\nc = [\n]\nd = 9\n",
    "inline tables": "a = { b = 1, c.d = 1, e = [1, { f = 1 }] }\nr = [{p = 2},\n {p = 3}]\ng = 4\n",
    "strings": (
        'a = "[b]\\" # = 9"\nb = \'x\\\'\nc = 3\nd = """\ne = 9\n[f] \\""" \n"""\ng = 8\n'
        "h = '''\n[i]\n'' \\'''\nj = 12\nk = \"\"\"x\"\"\"\"\"\nl = 14\nm = ''\nn = 16\n"
    ),
    "bare values": "a = 1979-05-27 07:32:00Z\nb = 2\nc = -inf\nd = true\ne = [1979-05-27 07:32:00]\nf = 6\n",
    "line ends": "a = 1\r\n\r\n[b]\r\nc = 4\r\nd = [\r\n6]\r\n",
    "no line end": "a = 1\nb = 2",
    "a comment at the end": "a = 1\n#",
    "empty": "",
    "a super-table later": "[a.b]\nc = 2\n[a]\nd = 4\n",
}


def numbers(value: Any, path: Path = ()) -> Iterator[tuple[Path, int]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers(inner, (*path, index))
    elif type(value) is int:
        yield path, value


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from paths(below, (*path, key))


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
def test_each_key_is_on_its_line(text: str) -> None:
    document = tomllib.loads(text)
    found = key_lines(text)
    assert {path: found[path] for path, _ in numbers(document)} == dict(numbers(document))
    assert set(found) == set(paths(document))


def test_headers_have_their_line_too() -> None:
    found = key_lines("[a]\n[[r]]\n\n[[r]]\n[b.c]\n")
    assert found == {("a",): 1, ("r",): 2, ("r", 0): 2, ("r", 1): 4, ("b",): 5, ("b", "c"): 5}


TEXT = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))
VALUES = st.recursive(
    st.one_of(
        st.just(None),
        st.text(TEXT, max_size=8).map(lambda text: ("text", text)),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["pair", "table", "array"]), VALUES), max_size=12), st.data())
def test_any_document(parts: list[tuple[str, Any]], data: st.DataObject) -> None:
    """Written so that each number is that of its line."""
    written = _Written()
    for number, (kind, value) in enumerate(parts):
        for _ in range(data.draw(st.integers(0, 2))):
            written.line("# [x] = \"'")
        if kind == "pair":
            written.raw(f"k{number} = ")
            written.value(value)
            written.line("")
        else:
            written.line(f"[t{number}]" if kind == "table" else "[[many]]")
    document = tomllib.loads(written.text)
    found = key_lines(written.text)
    assert {path: found[path] for path, _ in numbers(document)} == dict(numbers(document))
    assert set(found) == set(paths(document))


class _Written:
    def __init__(self) -> None:
        self.text = ""

    def raw(self, text: str) -> None:
        self.text += text

    def line(self, text: str) -> None:
        self.text += f"{text}\n"

    def value(self, value: Any) -> None:
        match value:
            case None:
                self.raw(str(self.text.count("\n") + 1))
            case ("text", str(text)):
                if "'''" in text or text.endswith("'"):
                    text = ""
                self.raw(f"'''\n{text}'''")
            case list():
                self.raw("[")
                for inner in value:
                    self.line(" # ]")
                    self.value(inner)
                    self.raw(",")
                self.raw("]")
            case dict():
                self.raw("{")
                for index, (key, inner) in enumerate(value.items()):
                    self.raw(f"{', ' if index else ''}{key} = ")
                    self.value(inner)
                self.raw("}")


def test_a_path_is_shown_as_one_looks_for_it() -> None:
    assert shown(("proxy", "route", 1, "limits", "max_streams")) == "proxy.route[2].limits.max_streams"
    assert shown(("port",)) == "port"
