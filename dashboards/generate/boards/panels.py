"""The kinds of panels that the boards have: lines, one number, a heatmap (and in `tables`, a table). What all of a kind
have in common is here: the data source is the variable, an empty panel says what that means, exemplars are on where
there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards import queries, sdk
from dashboards.generate.boards.links import SPAN_LINK, Link
from streamgauge.semconv import Metric

__all__ = ["IDLE", "Steps", "Target", "above", "below", "common", "heat", "lines", "number", "override", "ranks"]

GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"
BLUE: Final = "blue"

IDLE: Final = "no streams"
"""What a panel says where there is nothing to show, so that idle is told from broken."""

Steps = Sequence[tuple[float | None, str]]
"""A threshold's (value from which on, colour); the first has no value."""

DATASOURCE: Final = sdk.m_common.DataSourceRef(type_val="prometheus", uid="${datasource}")
_LAST_MINUTES: Final = "5m"
"""The least interval of single numbers: they are of the last five minutes, not of the last scrapes."""


@dataclass(frozen=True, slots=True)
class Target:
    """One query."""

    expr: str
    legend: str = ""
    exemplar: bool = False
    instant: bool = False
    form: str = "time_series"


def above(warn: float, bad: float | None = None) -> Steps:
    """The more, the worse."""
    return ((None, GREEN), (warn, RED)) if bad is None else ((None, GREEN), (warn, ORANGE), (bad, RED))


def below(bad: float, warn: float | None = None) -> Steps:
    """The less, the worse."""
    return ((None, RED), (bad, GREEN)) if warn is None else ((None, RED), (bad, ORANGE), (warn, GREEN))


def ranks(
    metric: Metric,
    *ranks: float,
    name: str = "",
    matchers: Sequence[str] = (),
    by: tuple[str, ...] = (),
    only: queries.Only = queries.everything,
) -> list[Target]:
    """A metric's quantiles, with the exemplars that lead to a trace."""
    named = [f"{{{{{label}}}}}" for label in by]
    return [
        Target(
            queries.quantile(rank, metric, *matchers, by=by, only=only),
            " ".join(filter(None, (name, *named, f"p{rank * 100:g}"))),
            exemplar=metric not in metrics.WITHOUT_EXEMPLARS,
        )
        for rank in ranks
    ]


# What all have ------------------------------------------------------------------------------------------------


def common(
    panel: Any,
    title: str,
    description: str,
    unit: str,
    targets: Sequence[Target],
    *,
    span: int,
    height: int,
    no_value: str,
    steps: Steps,
    links: Sequence[Link],
) -> Any:
    """What panels of all kinds have."""
    panel.title(title).description(description).unit(unit).no_value(no_value).span(span).height(height)
    panel.datasource(DATASOURCE).thresholds(_thresholds(steps))
    for ref, target in zip(ascii_uppercase, targets, strict=False):
        panel.with_target(_query(target, ref))
    if links:
        panel.data_links([link.built() for link in links])
    return panel


def _thresholds(steps: Steps) -> Any:
    made = [sdk.m_dashboard.Threshold(value=value, color=color) for value, color in steps]
    return sdk.dashboard.ThresholdsConfig().mode(sdk.m_dashboard.ThresholdsMode.ABSOLUTE).steps(made)


def _query(target: Target, ref: str) -> Any:
    query = sdk.prometheus.Dataquery().datasource(DATASOURCE).expr(target.expr).ref_id(ref)
    query.editor_mode(sdk.m_prometheus.QueryEditorMode.CODE).format(sdk.m_prometheus.PromQueryFormat(target.form))
    if target.legend:
        query.legend_format(target.legend)
    if target.exemplar:
        query.exemplar(True)
    return query.instant() if target.instant else query.range()


# The kinds ----------------------------------------------------------------------------------------------------


def lines(
    title: str,
    description: str,
    unit: str,
    targets: Sequence[Target],
    *,
    span: int = 12,
    height: int = 8,
    stacked: bool = False,
    bars: bool = False,
    top: float | None = None,
    no_value: str = IDLE,
    steps: Steps = ((None, GREEN),),
    colors: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
    links: Sequence[Link] = (),
    legend: str = "bottom",
) -> Any:
    """What was when.

    Args:
        top: the axis' end, where the value has one.
        steps: beyond the first they are drawn as lines.
        colors: of series by their legend.
        dashed: legends of series that are there to compare with.
    """
    panel = sdk.timeseries.Panel()
    exemplars = any(target.exemplar for target in targets)
    common(
        panel, title, description, unit, targets, span=span, height=height, no_value=no_value, steps=steps,
        links=[*links, SPAN_LINK] if exemplars and not links else links,
    )  # fmt: skip
    style = sdk.m_common.GraphDrawStyle
    panel.draw_style(style.BARS if bars else style.LINE).line_width(0 if bars else 1)
    panel.fill_opacity(80 if bars else 40 if stacked else 0).show_points(sdk.m_common.VisibilityMode.AUTO)
    panel.point_size(4).min(0).axis_soft_min(0)
    if top is not None:
        panel.max(top)
    mode = sdk.m_common.StackingMode
    panel.stacking(sdk.common.StackingConfig().mode(mode.NORMAL if stacked else mode.NONE).group("A"))
    if len(steps) > 1:
        panel.thresholds_style(
            sdk.common.GraphThresholdsStyleConfig().mode(sdk.m_common.GraphThresholdsStyleMode.DASHED)
        )
    shown = sdk.common.VizLegendOptions().display_mode(sdk.m_common.LegendDisplayMode.TABLE).show_legend(True)
    panel.legend(shown.placement(sdk.m_common.LegendPlacement(legend)).calcs(["lastNotNull", "max"]))
    tooltip = sdk.common.VizTooltipOptions().mode(sdk.m_common.TooltipDisplayMode.MULTI)
    panel.tooltip(tooltip.sort(sdk.m_common.SortOrder.DESCENDING))
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [override("color", {"mode": "fixed", "fixedColor": color})])
    for name in dashed:
        panel.override_by_name(name, [override("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})])
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    targets: Sequence[Target],
    *,
    span: int = 4,
    height: int = 4,
    no_value: str = IDLE,
    steps: Steps = ((None, BLUE),),
    decimals: int | None = None,
    links: Sequence[Link] = (),
    named: bool = False,
) -> Any:
    """How it is: in the last five minutes, or in the time that is shown, by what the query asks. It is asked for its
    end alone, since the last value of a line may be an old one."""
    panel = sdk.stat.Panel()
    asked = [replace(target, instant=True) for target in targets]
    common(
        panel, title, description, unit, asked, span=span, height=height, no_value=no_value, steps=steps, links=links
    )
    panel.interval(_LAST_MINUTES).reduce_options(sdk.common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(sdk.m_common.BigValueGraphMode.NONE).color_mode(sdk.m_common.BigValueColorMode.BACKGROUND)
    text = sdk.m_common.BigValueTextMode
    panel.text_mode(text.VALUE_AND_NAME if named else text.VALUE).justify_mode(sdk.m_common.BigValueJustifyMode.CENTER)
    if named:
        panel.orientation(sdk.m_common.VizOrientation.HORIZONTAL)
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def heat(
    title: str,
    description: str,
    unit: str,
    metric: Metric,
    *,
    span: int = 12,
    height: int = 9,
    no_value: str = IDLE,
    matchers: Sequence[str] = (),
    only: queries.Only = queries.everything,
    links: Sequence[Link] = (),
) -> Any:
    """Where the values lie: the histogram's own buckets, and how many came into each."""
    panel = sdk.heatmap.Panel()
    exemplar = metric not in metrics.WITHOUT_EXEMPLARS
    target = Target(queries.buckets(metric, *matchers, only=only), "{{le}}", exemplar=exemplar, form="heatmap")
    common(
        panel, title, description, unit, [target], span=span, height=height, no_value=no_value,
        steps=((None, GREEN),), links=[*links, SPAN_LINK] if exemplar and not links else links,
    )  # fmt: skip
    panel.calculate(False).y_axis(sdk.heatmap.YAxisConfig().unit(unit)).show_legend()
    panel.cell_values(sdk.heatmap.CellValues().unit("short").decimals(0))
    panel.rows_frame(sdk.heatmap.RowsHeatmapOptions().layout(sdk.m_common.HeatmapCellLayout.AUTO))
    color = sdk.heatmap.HeatmapColorOptions().mode(sdk.m_heatmap.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    panel.color(color.scale(sdk.m_heatmap.HeatmapColorScale.EXPONENTIAL).exponent(0.5).fill("dark-orange"))
    panel.filter_values(sdk.heatmap.FilterValueRange().le(1e-9)).cell_gap(1)
    panel.show_value(sdk.m_common.VisibilityMode.NEVER)
    tooltip = sdk.heatmap.HeatmapTooltip().mode(sdk.m_common.TooltipDisplayMode.SINGLE)
    return panel.tooltip(tooltip.y_histogram(True).show_color_scale(True))


def override(field: str, value: object) -> Any:
    """One property of the series, or of the column, that has some name."""
    return sdk.m_dashboard.DynamicConfigValue(id_val=field, value=value)
