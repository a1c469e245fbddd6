"""JAF 2.6.22: the events of `run_streaming`, as objects, as dicts, or framed.

`run_streaming` cuts the finished answer into slices, so its own chunks say nothing of the model's pace. Where a proxy
around the model provider tells the model calls by asides (`_model_calls` lists them), those are counted and the slices
are not.

Source: jaf/core/streaming.py, types.py and engine.py, providers/model.py, server/server.py.
"""

from __future__ import annotations

from streamgauge.dialects._jaf_stream import JafStream

__all__ = ["Jaf"]


class Jaf(JafStream):
    """The events of one `run_streaming`, as objects, as dicts, or as JAF's server sends them."""

    name = "jaf"
    system = "JAF (jaf-py 2.6.22), run_streaming"

    __slots__ = ()
