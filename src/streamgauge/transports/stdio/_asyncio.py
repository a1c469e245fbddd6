"""A process of asyncio's, watched: the same `Process`, the same reader and writer, with our ears on what they get.

What the event loop has read goes to the reader first and then to us, so that nothing is read sooner or held longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from streamgauge.transports._conversation import Conversation
from streamgauge.transports.stdio._command import ENDING, Ended, judged, signal_name
from streamgauge.transports.stdio._told import Told

if TYPE_CHECKING:
    from asyncio.subprocess import Process

__all__ = ["watch", "watched"]

_clock = time.monotonic_ns
_MARK = "_streamgauge"


def watched(process: Process) -> bool:
    return hasattr(process, _MARK)


def watch(process: Process, conversation: Conversation) -> None:
    """Tell the conversation of what passes from now on, and of the end. For the event loop's thread."""
    told = Told()
    told.begin(conversation)
    life = _Life(process, told)
    setattr(process, _MARK, life)
    if process.stdout is not None and not process.stdout.at_eof():
        _listen(process.stdout, conversation, told, life)
    else:
        life.output_over = True
    if process.stdin is not None:
        _overhear(process.stdin, told)
    _follow(process, life)
    if process.returncode is not None:
        life.exited()


class _Life:
    """Its end is the later of two: that it has exited, and that its output is read."""

    def __init__(self, process: Process, told: Told) -> None:
        self._process = process
        self._told = told
        self._ended: Ended | None = None
        self._told_to_end = False
        self.output_over = False

    def signalled(self, number: int) -> None:
        if number in ENDING and self._process.returncode is None:
            self._told_to_end = True
            self._told.aside("signalled", {"signal": signal_name(number)}, _clock())

    def exited(self) -> None:
        code = self._process.returncode
        if code is None or self._ended is not None:
            return
        self._ended = Ended(signal=-code) if code < 0 else Ended(code=code)
        self._told.aside("exited", self._ended.fact, _clock())
        self._settle()

    def output_ended(self) -> None:
        self.output_over = True
        self._settle()

    def _settle(self) -> None:
        if self._ended is not None and self.output_over:
            outcome, error_type = judged(self._ended, told_to_end=self._told_to_end, reader_left=False)
            self._told.end(_clock(), outcome, error_type)


def _listen(reader: Any, conversation: Conversation, told: Told, life: _Life) -> None:
    feed_data, feed_eof, set_exception = reader.feed_data, reader.feed_eof, reader.set_exception
    held = False

    def fed(data: bytes) -> None:
        nonlocal held
        feed_data(data)
        if held:
            conversation.resumed()  # the caller has taken what it had
        told.received(bytes(data), _clock())
        held = getattr(reader, "_paused", False)
        if held:
            conversation.paused()

    def ended() -> None:
        feed_eof()
        life.output_ended()

    def failed(error: BaseException) -> None:
        set_exception(error)
        life.output_ended()

    reader.feed_data, reader.feed_eof, reader.set_exception = fed, ended, failed


def _overhear(writer: Any, told: Told) -> None:
    write, writelines = writer.write, writer.writelines

    def wrote(data: Any) -> None:
        told.sent(bytes(data), _clock())  # first: the answer may be read before this returns
        write(data)

    def wrote_lines(lines: Iterable[Any]) -> None:
        pieces = list(lines)
        for piece in pieces:
            told.sent(bytes(piece), _clock())
        writelines(pieces)

    writer.write, writer.writelines = wrote, wrote_lines


def _follow(process: Any, life: _Life) -> None:
    """Signals that the caller sends, and the end."""
    send_signal, terminate, kill = process.send_signal, process.terminate, process.kill

    def sent(number: int) -> None:
        life.signalled(number)
        send_signal(number)

    def terminated() -> None:
        life.signalled(15)
        terminate()

    def killed() -> None:
        life.signalled(9)
        kill()

    process.send_signal, process.terminate, process.kill = sent, terminated, killed
    protocol = getattr(process, "_protocol", None)  # there is no public way to learn of the end without a task
    exited: Callable[[], None] | None = getattr(protocol, "process_exited", None)
    if protocol is None or exited is None:
        return

    def has_exited() -> None:
        exited()
        life.exited()

    protocol.process_exited = has_exited
