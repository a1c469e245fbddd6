"""shipit_agent: the event stream of an agent, in its three vocabularies and in all of its wire forms.

In go `AgentEvent`s of `Agent.stream`, `astream` and `stream_v2` and of the classes above them, their `to_dict` form,
the packets of `packets.py` (SSE, WebSocket, callback) and the frames of `streaming.py`. Out come the run, per iteration
a step with its model call, tool calls, retries, and sub-agents as nested runs.

Promised: the set of event types is open, an unknown one says nothing. Times are the events' own, except for chunks and
for the run's end, which are the caller's. A model call has no end event: it ends where its usage is told, else where
the first thing begins that needs its result.

Source: shipit-agent 2.2.1, `models.py`, `runtime.py`, `runtime_core.py`, `async_runtime.py`, `graph.py`,
`subagents.py`, `streaming.py`, `packets.py`, `serve.py`; the `stream` methods of `deep/`, `team/`, `pipeline/` and
`computer_use/`.
"""

from __future__ import annotations

from typing import Final

from streamgauge.dialects._shipit_stream import DEEPEST, STOPPED, ShipitStream

__all__ = ["CANCEL", "ShipitAgent"]

CANCEL: Final = STOPPED
"""The aside that says: the agent was told to stop. Its stream then just ends."""

MAX_DEPTH: Final = DEEPEST
"""Of sub-agents below sub-agents; the package itself stops at 2."""


class ShipitAgent(ShipitStream):
    """The stream of an `Agent`, of a chat session, or of one of the classes that drive agents."""

    name = "shipit-agent"
    system = "shipit_agent 2.2"
    paths = (r"/v1/stream$", r"^/stream$")

    __slots__ = ()
