"""Where one goes from a board: to the others, to the traces behind a value; and the marks of deploys and alerts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from dashboards.generate.boards import queries, sdk

__all__ = [
    "BOARDS",
    "SPAN_LINK",
    "Link",
    "alerts_firing",
    "annotations",
    "board_links",
    "runbooks",
    "spans",
    "to_board",
]

BOARDS: Final = {
    "streamgauge-overview": "Overview and SLO",
    "streamgauge-quality": "Stream quality",
    "streamgauge-agents": "Agents and tools",
    "streamgauge-compare": "Compare",
    "streamgauge-health": "Middleware health",
}
"""uid: title."""

_PLACEHOLDER = re.compile(r"\$\{[^}]*}")
_KEPT: Final = "${__url_time_range}&${__all_variables}"


@dataclass(frozen=True, slots=True)
class Link:
    """From a value to somewhere else."""

    title: str
    url: str
    new_tab: bool = True

    def built(self) -> Any:
        return sdk.dashboard.DashboardLink(self.title).url(self.url).target_blank(self.new_tab)


def spans(title: str, query: str) -> Link:
    """To the traces that match, in the trace data source that the board's variable names.

    Args:
        query: in TraceQL; it may have placeholders of Grafana's.
    """
    datasource = {"type": "tempo", "uid": "${traces}"}
    asked = {
        "refId": "A", "datasource": datasource, "queryType": "traceql", "query": query, "limit": 20,
        "tableType": "spans",
    }  # fmt: skip
    pane = {
        "datasource": "${traces}",
        "queries": [asked],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    text = json.dumps({"traces": pane}, separators=(",", ":"))
    parts = zip(_PLACEHOLDER.split(text), [*_PLACEHOLDER.findall(text), ""], strict=True)
    return Link(title, "/explore?schemaVersion=1&panes=" + "".join(quote(part, safe="") + kept for part, kept in parts))


SPAN_LINK: Final = spans("Traces of this time", '{ span.streamgauge.dialect =~ "${dialect:pipe}" }')
"""For panels that have exemplars, beside what the data source makes of each of these."""


def to_board(uid: str) -> Link:
    """To another board, with this one's variables and time."""
    return Link(BOARDS[uid], f"/d/{uid}?{_KEPT}", new_tab=False)


def runbooks(url: str) -> list[Link]:
    """To the page that the alerts' annotations name, where it is one that a browser can open."""
    return [Link("Runbooks", url)] if url.startswith(("http://", "https://")) else []


def board_links(own: str) -> list[Any]:
    """At the top of a board: the others."""
    return [
        sdk.dashboard.DashboardLink(title)
        .type(sdk.m_dashboard.DashboardLinkType.LINK)
        .icon("dashboard")
        .tooltip(f"{title}, with the same variables and time")
        .url(f"/d/{uid}")
        .include_vars(True)
        .keep_time(True)
        for uid, title in BOARDS.items()
        if uid != own
    ]


def alerts_firing(*matchers: str) -> str:
    """The alerts of streamgauge that fire. Some are of no job: what is absent has none."""
    ours = ('alertname=~"Streamgauge.+"', 'alertstate="firing"', 'job=~"$job|"')
    return f"ALERTS{{{','.join((*ours, *matchers))}}}"


def marks() -> list[Any]:
    """What happened when: new versions, processes that were started, alerts."""
    build = "streamgauge_build_info"
    process = "target_info"
    version, seen = queries.chosen(build), queries.chosen(build, over="1h", offset="$__interval")
    started, known = queries.chosen(process), queries.chosen(process, over="1h", offset="$__interval")
    ours = f"and on (job, instance) {version}"
    found = (
        (
            "Deploys", "blue", True, "streamgauge {{version}}", "job {{job}}",
            f"count by (job, version) ({version}) unless on (job, version) last_over_time({seen})",
        ),
        (
            "Starts", "purple", True, "started", "job {{job}}, processes that were not there before",
            f"count by (job) (({started} unless last_over_time({known})) {ours})",
        ),
        ("Alerts", "red", True, "{{alertname}}", "{{severity}} {{slo}} {{job}}", alerts_firing()),
    )  # fmt: skip
    return [
        sdk.dashboard.AnnotationQuery()
        .name(name)
        .datasource(sdk.m_common.DataSourceRef(type_val="prometheus", uid="${datasource}"))
        .enable(enable)
        .hide(False)
        .icon_color(color)
        .title_format(title)
        .text_format(text)
        .expr(query)
        for name, color, enable, title, text, query in found
    ]
