"""A proxy around the model provider of one JAF run: it tells the run's tap of each model call (first token, usage,
retries, errors), which JAF's own stream does not show.

Source: jaf 2.6.22, core/engine.py, providers/model.py.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count
from typing import Any

from streamgauge.clients._jaf_objects import argument, changed, configured, field, text
from streamgauge.clients._twin import twin

__all__ = ["watched"]


def watched(config: Any, state: Any, tap: Any) -> Any:
    """The configuration's model provider, with its calls told to the tap; the provider itself where that cannot be."""
    provider: Any = getattr(config, "model_provider", None)
    if not callable(getattr(provider, "get_completion", None)):
        return provider
    numbers = count(1)
    run_id = text(state, "run_id")

    async def get_completion(*args: Any, **kwargs: Any) -> Any:
        call = _Call(tap, str(next(numbers)), run_id, args, kwargs, stream=False)
        call.open()
        try:
            response = await provider.get_completion(*call.heard[0], **call.heard[1])
        except BaseException as error:
            call.failed(error)
            raise
        call.responded(response)
        return response

    def get_completion_stream(*args: Any, **kwargs: Any) -> Any:
        call = _Call(tap, str(next(numbers)), run_id, args, kwargs, stream=True)
        chunks = provider.get_completion_stream(*call.heard[0], **call.heard[1])
        return _told(chunks, call) if hasattr(chunks, "__aiter__") else chunks

    # As properties: what was set on the provider object itself is not to come first.
    own = {"get_completion": property(lambda _: get_completion)}
    if callable(getattr(provider, "get_completion_stream", None)):  # JAF streams wherever there is one
        own["get_completion_stream"] = property(lambda _: get_completion_stream)
    try:
        return twin(provider, own)
    except TypeError:  # a type without subclasses, or a module
        return provider


async def _told(chunks: Any, call: _Call) -> AsyncIterator[Any]:
    call.open()
    try:
        async for chunk in chunks:
            call.came(chunk)
            yield chunk
    except BaseException as error:
        call.failed(error)
        raise
    else:
        call.closed()
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


class _Call:
    """One call of the model provider, as the tap is told of it. It never raises."""

    __slots__ = ("_arguments", "_nested", "_number", "_said", "_stream", "_tap", "_tool_calls", "heard")

    def __init__(
        self, tap: Any, number: str, run_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, stream: bool
    ) -> None:
        """
        Args:
            run_id: the outermost run's.
            args, kwargs: `(state, agent, config)`, as the provider gets them.
        """
        self._tap = tap
        self._number = number
        self._stream = stream
        self._said: dict[str, Any] = {}
        """What the answer says of itself."""
        self._tool_calls: list[str] = []
        self._arguments = tuple(argument(args, kwargs, i, name) for i, name in enumerate(("state", "agent", "config")))
        state, _, config = self._arguments
        self._nested = text(state, "run_id") != run_id
        theirs = getattr(config, "on_event", None)
        self.heard = (args, kwargs)
        """The arguments, with a configuration in which we hear of retries: `run_streaming` drops those events."""
        if theirs:
            self.heard = configured(args, kwargs, changed(config, on_event=self._hearing(theirs)), 2)

    def _hearing(self, theirs: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def on_event(event: Any) -> Any:
            try:
                return theirs(event)
            finally:
                if getattr(event, "type", None) == "retry":
                    self._retried(getattr(event, "data", None))

        return on_event

    def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        self._tap.aside(name, {"call": self._number, **data})

    def open(self) -> None:
        state, agent, config = self._arguments
        self._tell(
            "model.opened",
            {
                "model": text(config, "model_override") or text(field(agent, "model_config"), "name"),
                "agent": text(agent, "name"),
                "stream": self._stream,
                "turn": field(state, "turn_count"),
                "nested": self._nested,
            },
        )

    def came(self, chunk: Any) -> None:
        """A chunk of a stream."""
        try:
            delta = text(chunk, "delta")
            if delta:
                self._tell("model.chunk", {"kind": "text", "text": delta})
            tool_call = field(chunk, "tool_call_delta")
            if tool_call is not None:
                self._asks(int(field(tool_call, "index") or 0), tool_call, "arguments_delta")
            if text(chunk, "finish_reason"):
                self._said["finish_reason"] = chunk.finish_reason
            self._says(field(chunk, "raw"))
        except Exception:  # a provider may send what it likes, and JAF decides what of it is an error
            pass

    def responded(self, response: Any) -> None:
        """The answer of a call that does not stream."""
        try:
            message = field(response, "message")
            content = text(message, "content")
            if content:
                self._tell("model.chunk", {"kind": "text", "text": content})
            for index, tool_call in enumerate(field(message, "tool_calls") or ()):
                self._asks(index, tool_call, "arguments")
            self._says(response)
        except Exception:  # as above
            pass
        self.closed()

    def _asks(self, index: int, tool_call: Any, arguments: str) -> None:
        while len(self._tool_calls) <= index:
            self._tool_calls.append(f"call_{len(self._tool_calls)}")  # JAF's own name for one without an id
        self._tool_calls[index] = text(tool_call, "id") or self._tool_calls[index]
        piece = text(field(tool_call, "function"), arguments)
        if piece:
            self._tell("model.chunk", {"kind": "tool_call", "text": piece})

    def _says(self, answer: Any) -> None:
        for name in ("model", "id", "usage"):
            value = field(answer, name)
            if value:
                self._said[name] = value

    def _retried(self, data: Any) -> None:
        details = field(data, "error_details")
        reason = str(field(details, "status_code") or "") or text(details, "error_type")
        told = {"attempt": field(data, "attempt"), "delay_s": field(data, "delay"), "reason": reason}
        self._tell("model.retried", told)

    def closed(self, **failure: str) -> None:
        told = {**self._said, "tool_calls": self._tool_calls, "nested": self._nested, **failure}
        self._tell("model.closed", told)

    def failed(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            kind = type(error)
            module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
            self.closed(outcome="failed", error_type=f"{module}{kind.__qualname__}", message=_message(error))
        else:
            self.closed(outcome="cancelled" if isinstance(error, CancelledError) else "abandoned")


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # an exception whose __str__ fails has no message
        return ""
