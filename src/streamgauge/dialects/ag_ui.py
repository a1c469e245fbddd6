"""AG-UI 1.0: the events of an agent's runs, as an event stream, as JSON, or as the package's own objects.

Several runs may follow each other in one stream; each is a run here. Below it are its steps, its sub-agents, and the
tool calls whose result comes: a call that the caller is to make itself is only requested. A run that stops for an
interrupt has asked a person, and is complete: its continuation is another run.

Promised: camelCase and snake_case names are read alike, and so are the `THINKING_*` events of before 1.0. Times are
those of arrival: the protocol does not say what unit its timestamps have.

Source: ag-ui-protocol 1.0.0, `ag_ui/_generated/models.py` (all of `EventType`) and `encoder/encoder.py`; 0.1.18
`core/events.py` for the older events; the custom event `on_interrupt` from ag-ui-langgraph.
"""

from __future__ import annotations

from streamgauge.dialects._ag_ui_events import AgUiEvents

__all__ = ["AgUi"]


class AgUi(AgUiEvents):
    """The stream of an AG-UI agent."""

    name = "ag-ui"
    system = "AG-UI 1.0 (ag-ui-protocol 1.0.0)"

    __slots__ = ()
