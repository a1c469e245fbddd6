"""What a board must keep to, as it stands in its file. In: the JSON of all boards. Out: what is wrong, in words.

`query_rules` has what is about the queries alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from dashboards.generate.boards import query_rules
from dashboards.generate.boards.board import COLUMNS
from dashboards.generate.boards.promql import Aggregate, Binary, Call, PromQLError, Selector, parse, selectors, walk
from dashboards.generate.metrics import WITHOUT_EXEMPLARS

__all__ = ["faults", "panels", "queries"]

METRICS: Final = {"type": "prometheus", "uid": "${datasource}"}
TRACES: Final = {"type": "tempo", "uid": "${traces}"}
SOURCES: Final = {"datasource": "prometheus", "traces": "tempo"}
CHOICES: Final = ("job", "instance", "dialect", "provider", "model", "agent")
_SCHEMAS: Final = range(39, 43)
"""Grafana 11 reads all of them, and Grafana 13 imports them."""
_OURS: Final = re.compile(r"\$\{?(\w+)")
_FIELD_LABEL: Final = re.compile(r"__field\.labels\.(\w+)")
_LEGEND: Final = re.compile(r"\{\{\s*(\w+)\s*}}")
_BOARD: Final = re.compile(r"/d/([\w-]+)")
_SHORTEST: Final = 40
"""A description of fewer characters says the title again."""

Board = Mapping[str, Any]


def panels(board: Board) -> Iterator[dict[str, Any]]:
    """All panels, also those that are folded away, without the rows."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def queries(board: Board) -> Iterator[tuple[str, str, bool]]:
    """All PromQL of a board: (where, query, whether it is asked once, for the end of the time that is shown)."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            if "expr" in target:
                yield f"{panel['title']} {target['refId']}", target["expr"], bool(target.get("instant"))
    for annotation in board["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"], False


def faults(boards: Sequence[Board]) -> list[str]:
    """What is wrong with the boards, each fault with where it is."""
    uids = [str(board.get("uid")) for board in boards]
    found = [f"two boards have the uid {uid}" for uid in sorted({uid for uid in uids if uids.count(uid) > 1})]
    for board in boards:
        whole = (_form, _variables, _sources, _grid, _ids, _titles)
        found += [f"{board['uid']}: {fault}" for rule in whole for fault in rule(board)]
        found += [f"{board['uid']}: {fault}" for fault in _links(board, uids)]
        for where, query, instant in queries(board):
            found += [f"{board['uid']}, {where}: {fault}" for fault in query_rules.faults(query, instant=instant)]
        for panel in panels(board):
            each = (_words, _targets, _heatmap, _exemplars, _legends)
            found += [f"{board['uid']}, {panel.get('title')}: {fault}" for rule in each for fault in rule(panel)]
    return found


# A board ------------------------------------------------------------------------------------------------------


def _form(board: Board) -> Iterator[str]:
    if board.get("schemaVersion") not in _SCHEMAS:
        yield f"schemaVersion {board.get('schemaVersion')} is not of the Classic model that Grafana 11 to 13 read"
    if board.get("editable") is not False:
        yield "it can be edited where it is provisioned: changes would be lost"
    if board.get("graphTooltip") != 1:
        yield "the cursor is not shared between the panels"
    if board.get("id") is not None:
        yield "it has the id of somebody's Grafana"
    for key in ("__inputs", "__requires", "__elements"):
        if key in board:
            yield f"{key} is asked for at import, and breaks a board that is provisioned"
    if not board.get("title") or len(board.get("description", "")) < _SHORTEST:
        yield "it has no title, or no description"


def _variables(board: Board) -> Iterator[str]:
    given = {variable["name"]: variable for variable in board["templating"]["list"]}
    if list(given) != [*SOURCES, *CHOICES]:
        yield f"the variables are {list(given)}"
    for name, kind in SOURCES.items():
        variable = given.get(name, {})
        if (variable.get("type"), variable.get("query")) != ("datasource", kind):
            yield f"${name} chooses no data source of the type {kind}"
        if variable.get("current", {}).get("value"):
            yield f"${name} points at the author's own data source"
    for name in CHOICES:
        variable = given.get(name, {})
        if variable.get("type") != "query" or variable.get("datasource") != METRICS:
            yield f"${name} is not asked of $datasource"
        if variable.get("refresh") != 2:
            yield f"${name} is not asked again when the time changes"
        if not (variable.get("multi") and variable.get("includeAll") and variable.get("allValue") == ".*"):
            yield f"${name} does not take several values, or all"
        if variable.get("current", {}).get("value") != ["$__all"]:
            yield f"${name} does not begin with all"
    for used in sorted({found for found in _OURS.findall(json.dumps(board)) if not found.startswith("__")}):
        if used not in given:
            yield f"${used} is no variable"


def _sources(board: Board) -> Iterator[str]:
    def each(where: str, node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "datasource" and value not in (METRICS, TRACES):
                    yield f"{where} asks {value!r}, not the variable"
                yield from each(where, value)
        elif isinstance(node, list):
            for value in node:
                yield from each(where, value)

    for panel in panels(board):
        targets = panel.get("targets", ())
        if not targets or "datasource" not in panel or any("datasource" not in target for target in targets):
            yield f"{panel.get('title')} has no target, or one without a data source"
        yield from each(str(panel.get("title")), panel)
    yield from each("an annotation", board["annotations"])


def _grid(board: Board) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    folded = [panel for row in board["panels"] for panel in row.get("panels", ())]
    for panel in board["panels"]:
        yield from _placed(panel, taken)
    for row in board["panels"]:
        own: dict[tuple[int, int], str] = {}
        for panel in row.get("panels", ()):
            yield from _placed(panel, own)
    if folded and not all(row.get("collapsed") for row in board["panels"] if row.get("panels")):
        yield "a row that is open has panels of its own: Grafana shows them twice, or not"


def _placed(panel: Mapping[str, Any], taken: dict[tuple[int, int], str]) -> Iterator[str]:
    at, title = panel["gridPos"], str(panel.get("title"))
    if at["x"] < 0 or at["y"] < 0 or at["w"] < 1 or at["h"] < 1 or at["x"] + at["w"] > COLUMNS:
        yield f"{title} is not within the {COLUMNS} columns"
    cells = [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    for other in sorted({taken[cell] for cell in cells if cell in taken}):
        yield f"{title} lies over {other}"
    taken.update(dict.fromkeys(cells, title))


def _ids(board: Board) -> Iterator[str]:
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    ids = [panel.get("id") for panel in (*rows, *panels(board))]
    for identity in sorted({str(each) for each in ids if ids.count(each) > 1 or not isinstance(each, int)}):
        yield f"the id {identity} is there twice, or is none"


def _titles(board: Board) -> Iterator[str]:
    titles = [panel.get("title") for panel in panels(board)]
    for title in sorted({str(title) for title in titles if titles.count(title) > 1}):
        yield f"two panels are called {title}"


def _links(board: Board, uids: Sequence[str]) -> Iterator[str]:
    own = board["uid"]
    linked = set()
    for link in board.get("links", ()):
        linked |= set(_BOARD.findall(link.get("url", "")))
        if not (link.get("includeVars") and link.get("keepTime")):
            yield f"the link {link.get('title')} loses the variables, or the time"
    for uid in uids:
        if uid != own and uid not in linked:
            yield f"there is no link to {uid}"
    for panel in panels(board):
        for link in _data_links(panel):
            url = unquote(link["url"])
            linked |= set(_BOARD.findall(url))
            if "/d/" in url and not ("${__all_variables}" in url and "${__url_time_range}" in url):
                yield f"{panel['title']}: the link {link['title']} loses the variables, or the time"
            if "/explore" in url and '"datasource":"${traces}"' not in url:
                yield f"{panel['title']}: the link {link['title']} is not to $traces"
    for uid in sorted(linked - set(uids)):
        yield f"there is a link to {uid}, which is no board"


def _data_links(panel: Mapping[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = panel.get("fieldConfig", {}).get("defaults", {}).get("links", [])
    return found


# A panel ------------------------------------------------------------------------------------------------------


def _words(panel: Mapping[str, Any]) -> Iterator[str]:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not panel.get("title"):
        yield "it has no title"
    if len(panel.get("description", "")) < _SHORTEST:
        yield "it has no description"
    if not defaults.get("unit"):
        yield "it has no unit"
    if not defaults.get("noValue"):
        yield "it does not say what it means that there is nothing to show"


def _targets(panel: Mapping[str, Any]) -> Iterator[str]:
    refs = [target.get("refId") for target in panel.get("targets", ())]
    if len(set(refs)) != len(refs) or not all(refs):
        yield f"the targets are called {refs}"
    for target in panel.get("targets", ()):
        if panel.get("type") in ("stat", "table") and "expr" in target and not target.get("instant"):
            yield "one value, of a line: the last one there is may be an old one"


def _heatmap(panel: Mapping[str, Any]) -> Iterator[str]:
    if panel.get("type") != "heatmap":
        return
    for target in panel["targets"]:
        if target.get("format") != "heatmap" or target.get("legendFormat") != "{{le}}":
            yield "a heatmap wants buckets: format heatmap, named by le"
        if panel.get("options", {}).get("calculate"):
            yield "buckets of buckets"
        try:
            tree = parse(target["expr"])
        except PromQLError:
            continue  # the rules of queries tell
        if not isinstance(tree, Aggregate) or tree.operator != "sum" or tree.labels != ("le",):
            yield "a heatmap of something else than buckets, summed up by le"
            continue
        inner = tree.arguments[0]
        while isinstance(inner, Binary) and inner.operator in ("and", "unless"):
            inner = inner.left
        match inner:
            case Call("increase", (Selector(name=name),)) if name.endswith("_bucket"):
                pass
            case _:
                yield "a heatmap of something else than the increase of buckets"


def _exemplars(panel: Mapping[str, Any]) -> Iterator[str]:
    for target in panel.get("targets", ()):
        if "expr" not in target:
            continue
        try:
            tree = parse(target["expr"])
        except PromQLError:
            continue
        buckets = [
            found for each in selectors(tree) if (found := query_rules.known(each.name)) and "le" in found.labels
        ]
        of_spans = [each for each in buckets if each.metric not in WITHOUT_EXEMPLARS]
        shown = panel.get("type") in ("timeseries", "heatmap") and not target.get("instant")
        wanted = bool(of_spans) and shown and (panel["type"] == "heatmap" or _has_quantile(target["expr"]))
        if wanted != bool(target.get("exemplar")):
            yield "exemplars are off" if wanted else "exemplars are on, where there are none"


def _has_quantile(query: str) -> bool:
    return any(isinstance(each, Call) and each.function == "histogram_quantile" for each in walk(parse(query)))


def _legends(panel: Mapping[str, Any]) -> Iterator[str]:
    """Labels that a legend, a link or a column names are there."""
    results = []
    for target in panel.get("targets", ()):
        if "expr" not in target:
            return
        try:
            labels = query_rules.labels_of(parse(target["expr"]))
        except PromQLError:
            return
        results.append(labels)
        for label in _LEGEND.findall(target.get("legendFormat", "")):
            if label not in labels:
                yield f"the legend names {label}, which the query does not give"
        named = set(_LEGEND.findall(target.get("legendFormat", "")))
        if panel.get("type") == "timeseries" and labels - named:
            yield f"the legend does not tell series apart by {', '.join(sorted(labels - named))}"
    for link in _data_links(panel):
        for label in _FIELD_LABEL.findall(unquote(link["url"])):
            if not all(label in labels for labels in results):
                yield f"a link names {label}, which a query does not give"
    for transformation in panel.get("transformations", ()):
        for column in transformation["options"].get("renameByName", {}):
            if not column.startswith("Value") and not all(column in labels for labels in results):
                yield f"a column is made of {column}, which a query does not give"
