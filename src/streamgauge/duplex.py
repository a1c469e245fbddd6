"""What the transports of conversations (WebSocket, stdio) watch with: which dialect one is of, and how it is opened."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from streamgauge import dialects, recorder, semconv
from streamgauge.pipeline import Pipeline, current_pipeline, known_dialect
from streamgauge.tap import Tap
from streamgauge.transports._conversation import Conversation
from streamgauge.wire import Aside, Request

__all__ = ["GENERIC", "Watch", "watch"]

log = logging.getLogger("streamgauge")

GENERIC = "generic-messages"
"""The dialect of a conversation that no other claims."""

Watch = Callable[..., Conversation]

_SUBCOMMAND = re.compile(r"[a-z][a-z-]{0,11}")
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")


def watch(
    transport: str,
    *,
    dialect: str | None = None,
    pipeline: Callable[[], Pipeline] = current_pipeline,
    eager: bool = True,
    inherits: bool = False,
    served: bool = False,
    **fields: Any,
) -> Watch:
    """What a transport makes its conversations with: `watched(target, carrier, ...) -> Conversation`, which never
    raises.

    Args:
        transport: its name, for labels.
        dialect: of every conversation; by default the one that claims the handshake's path, else `GENERIC`.
        eager: see `Conversation`.
        inherits: the parent is what is current, and the handshake's headers say it only where nothing is.
        served: the agent is here, and the caller somebody else.
        fields: more of `Request`.
    Raises: as `known_dialect`; a dialect that opens no runs itself is none of a conversation's.
    """
    if dialect is not None:
        known_dialect(dialect)
    given = {name: value for name, value in fields.items() if value}

    def opened(
        target: str,
        carrier: Mapping[str, str],
        *,
        at: int | None = None,
        method: str = "GET",
        server_address: str = "",
        server_port: int = 0,
        name: str = "",
        command: Sequence[str] = (),
    ) -> Tap:
        path = target.partition("?")[0]
        kind = known_dialect(dialect or dialects.by_socket(path) or GENERIC)
        known: dict[str, Any] = {"server_address": server_address, "server_port": server_port}
        told = kind.asked(shlex.join(command) if command else target, None)
        known.update(told)
        known.update(given)
        facts = {semconv.HTTP_REQUEST_METHOD: method, semconv.URL_PATH: path} if path else {}
        if name:
            facts[semconv.STREAMGAUGE_SESSION_NAME] = name
        known["attributes"] = {**facts, **told.get("attributes", {}), **given.get("attributes", {})}
        request = Request(dialect=kind.name, transport=transport, served=served, **known)
        inherited = inherits and (recorder.is_traced() or not carrier)
        tap = pipeline().open(request, at=at, carrier=None if inherited else carrier)
        if command:
            tap.aside_at(Aside("started", {"command": shlex.join(_told(command))}), tap.sink.at)
        return tap

    def watched(target: str = "", carrier: Mapping[str, str] | None = None, **about: Any) -> Conversation:
        """
        Args:
            target: the handshake's path, with its query.
            carrier: its trace context, by headers in lower case; or the environment's.
            about: `at`, when it began, where that is not now; `method`, `server_address`, `server_port`; `name`, of the
                session; `command`, of a process, with its arguments.
        """
        try:
            tap: Tap | None = opened(target, carrier or {}, **about)
        except Exception:  # nothing of it may reach the stream
            log.warning("A conversation could not be watched; it goes on, unchanged.", exc_info=True)
            tap = None
        return Conversation(tap, lambda tap: recorder.carried(tap.sink.context), eager=eager)

    return watched


def _told(command: Sequence[str]) -> list[str]:
    """What a dialect, and with it a capture, may see of a command line: the program, its subcommands and the names of
    its options. A prompt and a key are among the rest."""
    words = list(takewhile(lambda word: word != "--", command[1:]))
    subcommands = takewhile(_SUBCOMMAND.fullmatch, words)
    named = (_OPTION.match(word) for word in words)
    return [command[0].rpartition("/")[2], *subcommands, *(option[0] for option in named if option)]
