"""The items that a response of the Responses API puts out, as far as they are tool calls.

Three kinds. A tool that the service runs in one item (a search, code, an image, an MCP tool) is a span: from where the
model has written what it needs, or from the item's start where it writes nothing, to its end. A tool that the service
runs between two items (a shell in its container, a program) is a span from the end of the one to the end of the other.
All others are for the caller to run: they are asked for.

Source: openai 3.54.0, `types/responses/response_output_item.py` and the items that it names.
"""

from __future__ import annotations

from typing import Any, Final

from streamgauge import semconv
from streamgauge.dialects._answers import requested, word
from streamgauge.dialects._dialect import field
from streamgauge.signals import TOOL_QUEUED, TOOL_REQUESTED, Closed, Opened, Signal
from streamgauge.wire import Outcome

__all__ = ["Items"]

_EXTENSION: Final = "extension"
_DATASTORE: Final = "datastore"

_AT_ONCE: Final = {
    "web_search_call": ("web_search", _EXTENSION),
    "file_search_call": ("file_search", _DATASTORE),
    "image_generation_call": ("image_generation", _EXTENSION),
}
"""Items that are a tool at work from their start: the tool's name and type."""
_ONCE_WRITTEN: Final = {
    "code_interpreter_call": ("code_interpreter", _EXTENSION),
    "mcp_call": ("", _EXTENSION),
}
"""Items that the model first writes; an MCP tool has a name of its own."""
_IN_TWO: Final = {"shell_call": "shell", "program": "program", "tool_search_call": "tool_search"}
_RESULTS: Final = frozenset({"shell_call_output", "program_output", "tool_search_output"})
_ASKED: Final = {
    "function_call": "",
    "custom_tool_call": "",
    "mcp_approval_request": "",
    "apply_patch_call": "apply_patch",
    "computer_call": "computer",
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "tool_search_call": "tool_search",
}
"""Items that ask the caller to do something; where it is empty, they have the tool's name."""


class Items:
    """The tool calls of one response."""

    __slots__ = ("_open", "_waiting", "asked")

    def __init__(self) -> None:
        self.asked: set[str] = set()
        """The ids of the tool calls that the caller is to make."""
        self._waiting: dict[str, Opened] = {}  # tools whose arguments are still being written
        self._open: set[str] = set()

    def added(self, item: Any, at: int, signals: list[Signal]) -> None:
        """An item has begun."""
        kind, id_ = word(field(item, "type")), word(field(item, "id"))
        at_once = kind in _AT_ONCE
        if id_ and (at_once or kind in _ONCE_WRITTEN):
            name, type_ = _AT_ONCE[kind] if at_once else _ONCE_WRITTEN[kind]
            self._waiting[id_] = _opened(id_, at, name or word(field(item, "name")), type_)
            if at_once:
                self.runs(id_, at, signals)

    def runs(self, id_: str, at: int, signals: list[Signal]) -> None:
        """A tool has what it needs, and is at work now."""
        opened = self._waiting.pop(id_, None)
        if opened is not None and id_ not in self._open:
            opened.at = at
            self._open.add(id_)
            signals.append(opened)

    def ran(self, id_: str, at: int, signals: list[Signal], error_type: str = "") -> None:
        """A tool is done. One whose beginning was not told began with its item."""
        opened = self._waiting.get(id_)
        if opened is not None:
            self.runs(id_, opened.at, signals)
        if id_ in self._open:
            self._open.discard(id_)
            outcome = Outcome.FAILED if error_type else Outcome.COMPLETED
            signals.append(Closed(_key(id_), at, outcome, error_type))

    def done(self, item: Any, at: int, signals: list[Signal]) -> None:
        """An item is complete."""
        kind = word(field(item, "type"))
        if kind in _AT_ONCE or kind in _ONCE_WRITTEN:
            status = word(field(item, "status"))
            failed = status == "failed" or bool(field(item, "error"))
            error_type = "tool_error" if failed else "incomplete" if status == "incomplete" else ""
            self.ran(word(field(item, "id")), at, signals, error_type)
        elif kind in _RESULTS:
            self.ran(_call_of(item, kind.removesuffix("_output")), at, signals)
        elif kind in _IN_TWO and _at_the_service(item, kind):
            id_ = _call_of(item, kind.removesuffix("_call"))
            self._waiting[id_] = _opened(id_, at, _IN_TWO[kind], _EXTENSION)
            self.runs(id_, at, signals)
        else:
            self.ask(item, at, signals)

    def ask(self, item: Any, at: int, signals: list[Signal]) -> None:
        """An item that may ask the caller to do something: it is told once."""
        kind = word(field(item, "type"))
        name = _ASKED.get(kind)
        if name is None or (kind in _IN_TWO and _at_the_service(item, kind)):
            return
        id_ = word(field(item, "call_id")) or word(field(item, "id"))
        if id_ not in self.asked:
            self.asked.add(id_)
            arguments = field(item, "arguments") or field(item, "input")
            event = TOOL_QUEUED if kind == "mcp_approval_request" else TOOL_REQUESTED
            signals.append(requested(at, name or word(field(item, "name")), id_, arguments, event))


def _opened(id_: str, at: int, name: str, type_: str) -> Opened:
    attributes = {semconv.GEN_AI_TOOL_CALL_ID: id_, semconv.GEN_AI_TOOL_TYPE: type_}
    return Opened(_key(id_), at, semconv.EXECUTE_TOOL, name, attributes=attributes)


def _key(id_: str) -> str:
    return f"tool:{id_}"


def _call_of(item: Any, name: str) -> str:
    """What an item and its result have in common. A tool search of the service's own has no id, and no other beside."""
    return word(field(item, "call_id")) or name


def _at_the_service(item: Any, kind: str) -> bool:
    """It is run by the service, not by the caller."""
    if kind == "shell_call":
        return word(field(field(item, "environment"), "type")) == "container_reference"
    return kind == "program" or word(field(item, "execution")) == "server"
