"""grafana-foundation-sdk, as the boards use it: builders of the Classic model, and its JSON.

The release is pinned to 0.0.21. An unpinned install takes `1769699998!10.1.0`, which an epoch in its version makes the
newest, and which is older: a build for Grafana 10.1.
"""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from typing import Any, Final

__all__ = [
    "PINNED", "common", "dashboard", "heatmap", "installed", "m_common", "m_dashboard", "m_heatmap", "m_prometheus",
    "m_tempo", "plain", "prometheus", "stat", "table", "tempo", "timeseries",
]  # fmt: skip

with warnings.catch_warnings():
    # It advises the model V2, which Grafana 11 does not read; Grafana 13 still imports and provisions the Classic one.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import (
        common,
        dashboard,
        heatmap,
        prometheus,
        stat,
        table,
        tempo,
        timeseries,
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common as m_common
    from grafana_foundation_sdk.models import dashboard as m_dashboard
    from grafana_foundation_sdk.models import heatmap as m_heatmap
    from grafana_foundation_sdk.models import prometheus as m_prometheus
    from grafana_foundation_sdk.models import tempo as m_tempo

PINNED: Final = "0.0.21"


def installed() -> str:
    """The version that is installed."""
    return version("grafana-foundation-sdk").removeprefix("v")


def plain(built: object) -> Any:
    """What was built, as Grafana reads it from JSON."""
    return json.loads(json.dumps(built, cls=JSONEncoder))
