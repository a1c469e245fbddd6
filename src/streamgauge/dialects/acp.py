"""ACP, the Agent Client Protocol: both directions of one agent's process.

In go the lines of the agent's output and, as the aside `sent`, those of its input: JSON-RPC. Each `session/prompt` is a
run, from the line that asks to the line that answers it, with what `_acp_turn` reads between. Its parent is the trace
context in `_meta`, where it has one. Out come its texts and thoughts, a span for each tool call, an `rpc` for what the
agent has its client do (files, terminals), and a wait for a person where it asks for leave.

One process may have several sessions, whose turns overlap. What is about a session is its oldest open turn's. Of turns
that overlap, the oldest is shown while it is open, the others once it is over, as `_overlaps` has it: with their own
times, tools and endings, but without the chunks that came meanwhile.

A session's history, which `session/load` has the agent send again, is in no turn, and tells nothing. The cost that
`usage_update` tells is the session's up to now: a turn has cost the difference, where the session's cost before is
known.

Source: agentclientprotocol/agent-client-protocol at b7f0005 (schema 1.21.0, protocol version 1): `schema/v1/meta.json`,
`schema/v1/schema.json`; of `schema.unstable.json` a tool call's `name` and a prompt's `usage`; "Prompt turn", "Tool
calls", "Cancellation", "Extensibility". Protocol version 2, a draft whose turns end otherwise, is not read. That a tool
call's name may be in its `_meta` as `toolName`: zed-industries/claude-code-acp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from streamgauge import semconv
from streamgauge.dialects._acp_turn import Turn
from streamgauge.dialects._answers import word
from streamgauge.dialects._dialect import NOTHING, Dialect, field
from streamgauge.dialects._jsonrpc import MAX_OPEN, id_of, is_answer, messages
from streamgauge.dialects._overlaps import Overlaps
from streamgauge.dialects._turns import SENT, parent_of
from streamgauge.semconv import INVOKE_AGENT
from streamgauge.signals import RUN, SESSION, Noted, Opened, Signal, Signals
from streamgauge.wire import Aside

__all__ = ["Acp"]

_FOR_PERSONS: Final = frozenset({"session/request_permission", "elicitation/create"})
_OF_CLIENT: Final = (
    "fs/read_text_file", "fs/write_text_file", "terminal/create", "terminal/output", "terminal/release",
    "terminal/wait_for_exit", "terminal/kill",
)  # fmt: skip
_SILENT_CALLS: Final = (
    "authenticate", "logout", "session/set_mode", "session/list", "session/delete", "session/close",
)  # fmt: skip
_SILENT_UPDATES: Final = (
    "user_message_chunk", "plan", "available_commands_update", "current_mode_update", "session_info_update",
)  # fmt: skip
_SETTING: Final = frozenset({"session/new", "session/load", "session/resume", "session/set_config_option"})
"""Requests whose answer may say which model a session has."""


class _Session:
    """What is known of one session."""

    __slots__ = ("cost", "model", "told")

    def __init__(self) -> None:
        self.model = ""
        self.cost: float | None = None
        """Up to the beginning of the open turn; None where that is not known."""
        self.told: float | None = None
        """Up to now."""


class Acp(Dialect):
    """What an agent and its client say to each other."""

    name = "acp"
    system = "Agent Client Protocol, version 1 (schema 1.21)"
    terminal = True
    only_waits_between_chunks = True
    framing = "ndjson"
    opens_runs = True
    commands = (
        r"^((npx|bunx|pnpm|uvx|uv|node|python[\d.]*)(\.exe)?\s(\S+\s+)*?)?\S+-acp(@\S+|\.\w+)?(\s|$)",
        r"^\S+\sacp(\s|$)",
        r"^\S.*\s--(experimental-)?acp(\s|$)",
    )
    events: ClassVar[Mapping[str, str]] = {
        "session/prompt": "a run (from the client); its answer is the end: finish reason, tokens",
        "session/cancel": "how the turns of the session then end: `cancelled` (from the client)",
        "$/cancel_request": "the same of the turn that it names; from the agent: the end of its own request",
        "initialize": "nothing; its answer has the agent's name",
        "session/new": "nothing; its answer has the session's model",
        "session/load": "the same",
        "session/resume": "the same",
        "session/set_config_option": "the same",
        **dict.fromkeys(_SILENT_CALLS, "nothing"),
        "session/request_permission": "a person is asked; the answer to it: the person has answered",
        "elicitation/create": "the same",
        "elicitation/complete": "nothing",
        **dict.fromkeys(_OF_CLIENT, "an `rpc` below the run, until it is answered"),
        "session/update": "by its kind:",
        "agent_message_chunk": "a text chunk; of an image or a sound a chunk of kind `image` or `audio`",
        "agent_thought_chunk": "a chunk of reasoning",
        "tool_call": "a chunk of tool-call arguments; by its status the start of the tool, and its end",
        "tool_call_update": "the same of what has changed",
        "config_option_update": "the session's model",
        "usage_update": "what the turn has cost",
        **dict.fromkeys(_SILENT_UPDATES, "nothing"),
    }

    __slots__ = ("_agent", "_asks", "_calls", "_runs", "_sessions", "_turns")

    def __init__(self) -> None:
        super().__init__()
        self._agent = ""
        self._runs = Overlaps()
        self._turns: dict[str, Turn] = {}  # open ones, by the prompt's id
        self._sessions: dict[str, _Session] = {}
        self._calls: dict[str, tuple[str, str]] = {}  # the client's other requests, by id: method, session
        self._asks: dict[str, str] = {}  # the agent's requests, by id: the turn

    def feed(self, data: Any, at: int) -> Signals:
        if data.__class__ is not Aside:
            found = messages(data)
            if len(found) == 1:
                return self._of_agent(found[0], at)
            return [signal for message in found for signal in self._of_agent(message, at)]
        if data.name != SENT:
            return NOTHING
        return [signal for message in messages(data.data.get("data")) for signal in self._of_client(message, at)]

    def untold(self, at: int) -> Signals:
        return self._runs.untold()

    def finish(self, at: int) -> Signals:
        return self._runs.finish(at)

    # The client's side ----------------------------------------------------------------------------------------

    def _of_client(self, message: dict[str, Any], at: int) -> Signals:
        id_, method, params = id_of(message), word(message.get("method")), message.get("params")
        if is_answer(message):
            turn = self._asks.pop(id_, "")
            if turn not in self._turns:
                return NOTHING
            told = self._turns[turn].answered(id_, message.get("result"), message.get("error"), at)
            return self._runs.tell(turn, told)
        session = word(field(params, "sessionId"))
        if method == "session/cancel":
            for each in self._turns.values():
                if each.session == session:
                    each.how = "cancel"
        elif method == "$/cancel_request":
            cancelled = self._turns.get(id_of(params, "requestId"))
            if cancelled is not None:
                cancelled.how = "cancel"
        elif method == "session/prompt" and id_:
            return self._prompt(id_, session, params, at)
        elif method and id_:
            if len(self._calls) >= MAX_OPEN:
                del self._calls[next(iter(self._calls))]
            self._calls[id_] = method, session
        return NOTHING

    def _prompt(self, id_: str, session: str, params: Any, at: int) -> Signals:
        if id_ in self._turns or self._runs.is_full:
            return NOTHING
        known = self._session(session)
        if not any(turn.session == session for turn in self._turns.values()):
            known.cost = known.told
        self._turns[id_] = Turn(session)
        facts = {semconv.GEN_AI_CONVERSATION_ID: session, semconv.GEN_AI_REQUEST_MODEL: known.model}
        given = {name: value for name, value in facts.items() if value}
        return self._runs.open(id_, Opened(RUN, at, INVOKE_AGENT, self._agent, parent_of(params), given))

    # The agent's side -----------------------------------------------------------------------------------------

    def _of_agent(self, message: dict[str, Any], at: int) -> Signals:
        method, params = word(message.get("method")), message.get("params")
        if method == "session/update":
            return self._update(word(field(params, "sessionId")), field(params, "update"), at)
        id_ = id_of(message)
        if is_answer(message):
            result, error = message.get("result"), message.get("error")
            turn = self._turns.pop(id_, None)
            if turn is not None:
                self._asks = {ask: key for ask, key in self._asks.items() if key != id_}
                return self._runs.tell(id_, turn.end(result, error, at))
            return self._answered(*self._calls.pop(id_, ("", "")), result, at)
        if method == "$/cancel_request":
            dropped = id_of(params, "requestId")
            own = self._asks.pop(dropped, "")
            return self._runs.tell(own, self._turns[own].dropped(dropped, at)) if own in self._turns else NOTHING
        if not id_ or id_ in self._asks or len(self._asks) >= MAX_OPEN:
            return NOTHING
        if method in _FOR_PERSONS:
            return self._ask(id_, params, lambda turn: turn.permission(id_, params, at))
        if method in _OF_CLIENT:
            return self._ask(id_, params, lambda turn: turn.request(id_, method, at))
        return NOTHING

    def _ask(self, id_: str, params: Any, told: Callable[[Turn], list[Signal]]) -> Signals:
        key = self._turn_of(word(field(params, "sessionId")))
        if not key:
            return NOTHING
        self._asks[id_] = key
        return self._runs.tell(key, told(self._turns[key]))

    def _update(self, session: str, update: Any, at: int) -> Signals:
        kind = field(update, "sessionUpdate")
        if kind == "config_option_update":
            return self._configured(session, update, at)
        key = self._turn_of(session)
        if kind == "usage_update":
            return self._spent(session, key, field(update, "cost"), at)
        if not key:
            return NOTHING
        signals = self._turns[key].update(update, at)
        # A chunk of the one turn that is told as it comes is all that most lines are.
        return signals if self._runs.is_told(key) else self._runs.tell(key, signals)

    def _turn_of(self, session: str) -> str:
        """The key of a session's oldest open turn; empty where it has none."""
        return next((key for key, turn in self._turns.items() if turn.session == session), "")

    # Sessions -------------------------------------------------------------------------------------------------

    def _session(self, id_: str) -> _Session:
        found = self._sessions.get(id_)
        if found is None:
            if len(self._sessions) >= MAX_OPEN:
                del self._sessions[next(iter(self._sessions))]
            found = self._sessions[id_] = _Session()
        return found

    def _answered(self, method: str, session: str, result: Any, at: int) -> Signals:
        """The answer to a request that is no prompt."""
        if method == "initialize":
            self._agent = word(field(field(result, "agentInfo"), "name"))
            return [Noted(SESSION, at, {semconv.GEN_AI_AGENT_NAME: self._agent})] if self._agent else NOTHING
        if method not in _SETTING:
            return NOTHING
        if method == "session/new":
            session = word(field(result, "sessionId"))
            self._session(session).told = 0.0
        return self._configured(session, result, at)

    def _configured(self, session: str, told: Any, at: int) -> Signals:
        options = field(told, "configOptions")
        for option in options if options.__class__ is list else ():
            model = word(field(option, "currentValue"))
            if model and field(option, "category") == "model":
                self._session(session).model = model
                key = self._turn_of(session)
                return self._runs.tell(key, [Noted(RUN, at, {semconv.GEN_AI_REQUEST_MODEL: model})]) if key else NOTHING
        return NOTHING

    def _spent(self, session: str, key: str, cost: Any, at: int) -> Signals:
        amount = field(cost, "amount")
        if amount.__class__ not in (int, float) or field(cost, "currency") != "USD" or not 0 <= amount < 1e12:
            return NOTHING
        known = self._session(session)
        known.told = float(amount)
        if not key or known.cost is None:
            return NOTHING
        spent = round(max(0.0, known.told - known.cost), 12)
        return self._runs.tell(key, [Noted(RUN, at, {semconv.STREAMGAUGE_COST_USD: spent})])
