"""OpenAI Responses: the events of a streamed response, or the whole response, in; one model call out.

In go event-stream events, JSON documents (WebSocket messages, a plain answer), their `dict` form, or the SDK's own
objects. The run is the model call; tools that the service runs itself are `execute_tool` spans below it, from where
the model has written what they need to where they are done. Tools that the caller is to run are asked for, no more.

One connection may bring several responses, one after the other, as a WebSocket does: each `response.created` after an
end is a new run. Several at one time, as lanes of a WebSocket, are not told apart.

Source: openai 3.54.0, `types/responses/response_stream_event.py`, `responses_server_event.py`,
`response_output_item.py`, `response.py`, `response_usage.py`, `response_create_params.py`.
"""

from __future__ import annotations

from streamgauge.dialects._response_events import ResponseEvents

__all__ = ["OpenAIResponses"]


class OpenAIResponses(ResponseEvents):
    """The responses of one stream or connection."""

    name = "openai-responses"
    system = "OpenAI Responses API (openai 3.54)"
    paths = (r"/responses$",)

    __slots__ = ()
