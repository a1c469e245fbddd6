"""What can be chosen at the top of every board, and is kept from one board to the next."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards import sdk
from streamgauge import semconv

__all__ = ["ALL", "variables"]

ALL: Final = ".*"
"""What "All" stands for in a query: also series whose label is empty."""
_BUILD = "streamgauge_build_info"


def _known(*narrowed: str) -> str:
    """Where the values of a stream's labels are to be found, also before the first stream has ended."""
    names = (
        metrics.name(semconv.ACTIVE),
        metrics.name(semconv.STREAMS),
        metrics.count(semconv.RELEASED.inference_duration),
    )
    any_of = f'__name__=~"{"|".join(names)}"'
    return f"{{{','.join((any_of, *narrowed))}}}"


def _source(name: str, label: str, plugin: str, description: str) -> Any:
    variable = sdk.dashboard.DatasourceVariable(name).label(label).type(plugin).description(description)
    return variable.hide(sdk.m_dashboard.VariableHide.DONT_HIDE)


def _query(name: str, label: str, query: str, description: str) -> Any:
    everything = sdk.m_dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = sdk.dashboard.QueryVariable(name).label(label).description(description).hide(
        sdk.m_dashboard.VariableHide.DONT_HIDE
    )  # fmt: skip
    source = sdk.m_common.DataSourceRef(type_val="prometheus", uid="${datasource}")
    variable.datasource(source).query({"qryType": 5, "query": query, "refId": f"variable-{name}"}).definition(query)
    variable.refresh(sdk.m_dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(
        sdk.m_dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC
    )
    return variable.multi(True).include_all(True).all_value(ALL).current(everything)


def variables() -> list[Any]:
    """In the order in which they narrow one another."""
    job, instance = 'job=~"$job"', 'instance=~"$instance"'
    dialect = metrics.label(semconv.STREAMGAUGE_DIALECT)
    provider = metrics.label(semconv.GEN_AI_PROVIDER_NAME)
    model = metrics.label(semconv.GEN_AI_REQUEST_MODEL)
    agent = metrics.label(semconv.GEN_AI_AGENT_NAME)
    spoken, given = f'{dialect}=~"$dialect"', f'{provider}=~"$provider"'
    return [
        _source("datasource", "Metrics", "prometheus", "The Prometheus that scrapes streamgauge."),
        _source("traces", "Traces", "tempo", "Where links and exemplars lead to."),
        _query("job", "Job", f"label_values({_BUILD}, job)", "Scrape jobs that have streamgauge in them."),
        _query("instance", "Instance", f"label_values({_BUILD}{{{job}}}, instance)", "Processes, or proxies."),
        _query("dialect", "Dialect", f"label_values({_known(job, instance)}, {dialect})", "How events are read."),
        _query(
            "provider", "Provider", f"label_values({_known(job, instance, spoken)}, {provider})",
            "Of a model. Runs of agents mostly have none, and are then not chosen with one.",
        ),
        _query(
            "model", "Model", f"label_values({_known(job, instance, spoken, given)}, {model})",
            "That was asked for. Runs of agents mostly have none, and are then not chosen with one.",
        ),
        _query("agent", "Agent", f"label_values({_known(job, instance, spoken)}, {agent})", "By its name."),
    ]  # fmt: skip
