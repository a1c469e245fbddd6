"""Agents that are driven over pipes, from Python: asyncio's own processes, watched.

    process = await streamgauge.stdio.create_subprocess_exec("claude", "-p", "Hi", stdout=PIPE)

What is given is asyncio's `Process`, with its own reader and writer. For a command line, see `streamgauge exec`.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from streamgauge import dialects, duplex
from streamgauge.errors import UsageError
from streamgauge.pipeline import known_dialect

if TYPE_CHECKING:
    from asyncio.subprocess import Process

__all__ = ["GENERIC", "Fields", "by_command", "create_subprocess_exec", "of_lines", "wrap"]

GENERIC = duplex.GENERIC

_FRAMED = frozenset({"sse", "json", "aws-event-stream"})


class Fields(TypedDict, total=False):
    """What is known of the agent, for spans and labels."""

    agent_name: str
    model: str
    provider_name: str
    conversation_id: str
    server_address: str
    attributes: Mapping[str, Any]


def by_command(command: Sequence[str]) -> str:
    """The dialect that claims a command line; else any conversation's."""
    return dialects.by_command(shlex.join(command)) or duplex.GENERIC


def of_lines(name: str) -> type[dialects.Dialect]:
    """The dialect of that name, if lines are what it reads.

    Raises: UsageError, also as `known_dialect`.
    """
    kind = known_dialect(name)
    if not kind.opens_runs and kind.framing in _FRAMED:
        raise UsageError(f"the dialect {name!r} reads {kind.framing}, and a process prints lines")
    return kind


async def create_subprocess_exec(
    program: str | os.PathLike[str],
    *arguments: str | os.PathLike[str],
    dialect: str | None = None,
    fields: Fields | None = None,
    **options: Any,
) -> Process:
    """`asyncio.create_subprocess_exec`, watched.

    The process has the session's trace context in its environment, as TRACEPARENT, where it is traced.

    Args:
        dialect: how its lines are read; by default that of the command line.
        fields: see `Fields`.
        options: asyncio's own.
    Raises: what asyncio raises; UnknownDialectError; UsageError for a dialect that reads no lines, or from outside that
        cannot be loaded.
    """
    import asyncio  # 25 ms, which who uses this has spent already

    from streamgauge.transports.stdio import _asyncio

    command = [os.fsdecode(part) for part in (program, *arguments)]
    name = dialect or by_command(command)
    conversation = _opened(name, os.path.basename(command[0]), fields or {}, command)
    variables = {field.upper(): text for field, text in conversation.traceparent().items()}
    if variables:
        env = options.get("env")
        options["env"] = {**(os.environ if env is None else env), **variables}
    try:
        process = await asyncio.create_subprocess_exec(program, *arguments, **options)
    except BaseException as error:
        conversation.end(error)
        raise
    _asyncio.watch(process, conversation)
    return process


def wrap(process: Process, *, dialect: str = duplex.GENERIC, name: str = "", **fields: Unpack[Fields]) -> Process:
    """Watch a process of asyncio's that there is already. What has passed before is not told.

    Args:
        dialect: how its lines are read: it cannot be told what was started.
        name: of the session; by default the dialect's.
        fields: see `Fields`.
    Returns: the same object.
    Raises: as `create_subprocess_exec`, but nothing of asyncio's.
    """
    from streamgauge.transports.stdio import _asyncio

    if not _asyncio.watched(process):
        _asyncio.watch(process, _opened(dialect, name, fields))
    return process


def _opened(dialect: str, name: str, fields: Fields, command: Sequence[str] = ()) -> Any:
    kind = of_lines(dialect)
    known: dict[str, Any] = dict(fields)
    if not kind.opens_runs and name:
        known.setdefault("agent_name", name)
    watch = duplex.watch("stdio", dialect=dialect, inherits=True, **known)
    return watch("", {}, at=time.monotonic_ns(), name=name if kind.opens_runs else "", command=command)
