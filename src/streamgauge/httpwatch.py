"""What the HTTP transports watch with: which dialect an exchange is of, and what its request tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from streamgauge import dialects, recorder, semconv
from streamgauge.answer import STREAMING, media_type
from streamgauge.pipeline import HTTP, Pipeline, current_pipeline, known_dialect
from streamgauge.tap import Tap
from streamgauge.transports._exchange import Asked, Watch
from streamgauge.wire import Request

__all__ = ["ANSWERING", "warm", "watch"]

log = logging.getLogger("streamgauge")

ANSWERING = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose answer is known to be the dialect's before it comes: what a model is asked with. Others (a list of
models, a stream that is joined again) are watched if their answer is a stream."""


def watch(
    transport: str,
    *,
    dialect: str | None = None,
    pipeline: Callable[[], Pipeline] = current_pipeline,
    eager: bool = True,
    inherits: bool = False,
    served: bool = False,
    answering: Collection[str] = ANSWERING,
    **fields: Any,
) -> Watch:
    """What a transport makes its exchanges with.

    Args:
        transport: its name, for labels.
        dialect: of every exchange; by default the one that claims the request's path.
        eager: see `Watch`.
        inherits: the parent is what is current, and a request's headers say it only where nothing is.
        served: the stream is made here, and is not a client's.
        answering: the methods whose answer is the dialect's whatever its form; that of any other, if it is a stream.
        fields: more of `Request`; they win over what a dialect reads from the request.
    Raises: as `known_dialect`.
    """
    if dialect is not None:
        known_dialect(dialect)
    given = {name: value for name, value in fields.items() if value}

    def opener(asked: Asked) -> Tap | None:
        try:
            return _open(asked)
        except Exception:  # nothing of it may reach the stream
            log.warning("An exchange could not be watched; it goes on, unchanged.", exc_info=True)
            return None

    def _open(asked: Asked) -> Tap | None:
        path = asked.target.partition("?")[0]
        streams = asked.media_type is not None and media_type(asked.media_type) in STREAMING
        name = dialect or dialects.by_path(path)
        if name is None or (asked.method not in answering and asked.media_type != ""):
            if not streams and asked.media_type != "":
                return None  # not yet, or not at all
            name = name or "generic"
        kind = known_dialect(name)
        known: dict[str, Any] = {
            "provider_name": kind.provider_name,
            "server_address": asked.server_address,
            "server_port": asked.server_port,
        }
        body = dialects.loaded(asked.body) if asked.body else None
        told = kind.asked(asked.target, body)
        known.update(told)
        known.update(given)
        known["attributes"] = {
            semconv.HTTP_REQUEST_METHOD: asked.method,
            semconv.URL_PATH: path,
            **told.get("attributes", {}),
            **given.get("attributes", {}),
        }
        request = Request(dialect=name, transport=transport, served=served, **known)
        carrier = None if inherits and (recorder.is_traced() or not asked.carrier) else asked.carrier
        return pipeline().open(request, at=asked.at, framing=HTTP, carrier=carrier)

    return Watch(opener, lambda tap: recorder.carried(tap.sink.context), eager=eager)


def warm() -> None:
    """Import what a first exchange would: for a server, whose other callers would wait for it."""
    dialects.by_path("/")
    dialects.loaded("{}")
    recorder.parent_of({"traceparent": ""})
