"""Tables: of series, one row for each set of labels; and of spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from dashboards.generate.boards import sdk
from dashboards.generate.boards.links import Link
from dashboards.generate.boards.panels import IDLE, Steps, Target, common, override

__all__ = ["Column", "spans_table", "table"]


@dataclass(frozen=True, slots=True)
class Column:
    """A value in a table."""

    name: str
    expr: str
    unit: str
    steps: Steps = ()
    decimals: int | None = None


def table(
    title: str,
    description: str,
    labels: Mapping[str, str],
    columns: Sequence[Column],
    *,
    span: int = 24,
    height: int = 10,
    no_value: str = IDLE,
    sort: str = "",
    links: Sequence[Link] = (),
    hidden: Sequence[str] = (),
) -> Any:
    """One row for each set of labels.

    Args:
        labels: the labels to show, in this order, with what they are called.
        sort: the column that is sorted by, its largest value first.
        hidden: columns that say no more than that there is a row.
    """
    panel = sdk.table.Panel()
    targets = [Target(column.expr, instant=True, form="table") for column in columns]
    common(
        panel, title, description, "none", targets, span=span, height=height, no_value=no_value,
        steps=((None, "text"),), links=links,
    )  # fmt: skip
    values = (
        ["Value"] if len(columns) == 1 else [f"Value #{ref}" for ref, _ in zip(ascii_uppercase, columns, strict=False)]
    )
    order = [*labels, *values]
    if len(columns) > 1:
        panel.with_transformation(sdk.m_dashboard.DataTransformerConfig(id_val="merge", options={}))
    named = {**labels, **dict(zip(values, (column.name for column in columns), strict=True))}
    organized = {
        "excludeByName": {"Time": True, **{value: True for value in values if named[value] in hidden}},
        "indexByName": {name: index for index, name in enumerate(order)},
        "renameByName": named,
    }
    panel.with_transformation(sdk.m_dashboard.DataTransformerConfig(id_val="organize", options=organized))
    for column in columns:
        if column.name in hidden:
            continue
        properties = [override("unit", column.unit)]
        if column.decimals is not None:
            properties.append(override("decimals", column.decimals))
        if column.steps:
            steps = [{"value": value, "color": color} for value, color in column.steps]
            properties += [
                override("thresholds", {"mode": "absolute", "steps": steps}),
                override("custom.cellOptions", {"type": "color-text"}),
            ]
        panel.override_by_name(column.name, properties)
    if sort:
        panel.sort_by([sdk.common.TableSortByFieldState().display_name(sort).desc(True)])
    return panel.filterable(True)


def spans_table(title: str, description: str, query: str, *, span: int = 24, height: int = 9) -> Any:
    """The latest spans that a TraceQL query finds in the trace data source."""
    source = sdk.m_common.DataSourceRef(type_val="tempo", uid="${traces}")
    asked = sdk.tempo.Dataquery().datasource(source).ref_id("A").query_type("traceql").query(query).limit(20)
    panel = sdk.table.Panel().title(title).description(description).unit("none").no_value("no spans")
    panel.datasource(source).span(span).height(height)
    return panel.with_target(asked.table_type(sdk.m_tempo.SearchTableType.SPANS))
