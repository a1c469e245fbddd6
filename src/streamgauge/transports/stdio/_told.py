"""What passes through a command's pipes, as the tap is told of it: lines, in order, from two threads.

What comes before there is somebody to tell is kept with its times: the exporters are loaded while the command runs
already, and time is an input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from threading import Condition
from typing import Any, TypeAlias

from streamgauge.transports._conversation import Conversation
from streamgauge.transports.stdio._lines import Lines
from streamgauge.wire import Aside, Outcome

__all__ = ["KEPT_BYTES", "Told"]

KEPT_BYTES = 8_388_608
"""Until there is somebody to tell, or while that one is behind. What comes beyond it is not looked at."""
AT_ONCE_BYTES = 8192
"""A piece up to this size is read by who brings it: it takes no longer than it would take to wake somebody else."""

_Item: TypeAlias = tuple[Callable[..., None], tuple[Any, ...], int]


class Told:
    """Both directions of one process. No method raises, or waits for anything but another that is telling.

    Where there is a thread for it (`serve`), that reads what comes in large pieces: a flood is not held up by our
    reading, and what is more than can be kept meanwhile is passed over. A piece that is small is read at once.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._conversation: Conversation | None = None
        self._news = Condition()
        self._out = Lines()
        self._in = Lines()
        self._room = kept_bytes
        self._unwritten: tuple[bytes, int, int] | None = None
        self._kept: deque[_Item] = deque()
        self._busy = False  # somebody tells, and has let go of the lock
        self._served = False
        self._over = False

    def begin(self, conversation: Conversation) -> None:
        """Tell it what has come, and from now on what comes."""
        with self._news:
            self._conversation = conversation
            while self._kept and not self._served:
                tell, arguments, _ = self._kept.popleft()
                self._safely(tell, arguments)

    def serve(self, conversation: Conversation) -> None:
        """`begin`, and tell what is kept until the end is told."""
        with self._news:
            self._served = True
            self._conversation = conversation
        while not self._over:
            with self._news:
                self._busy = False
                self._news.notify_all()
                self._news.wait_for(lambda: self._kept or self._over)
                if not self._kept:
                    return
                self._busy = True
                tell, arguments, size = self._kept.popleft()
                self._room += size
            self._safely(tell, arguments)
        with self._news:
            self._news.notify_all()

    def settled(self, timeout_s: float) -> bool:
        """Whether the end was told in time."""
        with self._news:
            return self._news.wait_for(lambda: self._over, max(0.0, timeout_s))

    def read(self, data: bytes, at: int, asked: int) -> None:
        """The command wrote this; read at `at`, asked for at `asked`, and about to be handed on. It is told of when it
        has been, or when the caller answers it before we come to that."""
        self._unwritten = data, at, asked

    def written(self) -> None:
        with self._news:
            self._catch_up()

    def received(self, data: bytes, at: int) -> None:
        """Both at once: whoever hands it on has it already."""
        self._tell(self._received, (data, at, 0), len(data))

    def sent(self, data: bytes, at: int) -> None:
        """The caller writes this. To be told before it is handed on: the answer is read in another thread."""
        self._tell(self._sent, (data, at), len(data))

    def aside(self, name: str, data: Mapping[str, Any], at: int) -> None:
        self._tell(self._aside, (name, data, at))

    def end(self, at: int, outcome: Outcome | None, error_type: str) -> None:
        self._tell(self._end, (at, outcome, error_type))

    def _tell(self, tell: Callable[..., None], arguments: tuple[Any, ...], size: int = 0) -> None:
        with self._news:
            self._catch_up()
            self._tell_now(tell, arguments, size)

    def _catch_up(self) -> None:
        unwritten, self._unwritten = self._unwritten, None
        if unwritten is not None:
            self._tell_now(self._received, unwritten, len(unwritten[0]))

    def _tell_now(self, tell: Callable[..., None], arguments: tuple[Any, ...], size: int) -> None:
        waits = self._conversation is None or self._busy or self._kept
        if not waits and (size <= AT_ONCE_BYTES or not self._served):
            self._safely(tell, arguments)
            return
        if size > self._room:
            lost: _Item = (self._lost, (self._out if tell == self._received else self._in,), 0)
            if not self._kept or self._kept[-1] != lost:
                self._kept.append(lost)
        else:
            self._room -= size
            self._kept.append((tell, arguments, size))
        self._news.notify_all()

    def _safely(self, tell: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            tell(*arguments)
        except Exception:  # the tap never raises; what is around it must not harm the stream either
            self._out = self._in = _Deaf()
        if tell == self._end:
            self._over = True

    # As it comes, or once there is somebody to tell -------------------------------------------------------------

    def _received(self, data: bytes, at: int, asked: int) -> None:
        tap = self._conversation.tap if self._conversation is not None else None
        if tap is not None:
            asked = max(asked, tap.sink.asked)  # the caller may have said something meanwhile
        self._lines(self._out.feed(data), at, asked)

    def _lines(self, lines: list[str | None], at: int, asked: int) -> None:
        conversation = self._conversation
        assert conversation is not None
        for line in lines:
            if line is None:
                conversation.skipped(at)
            else:
                conversation.received(line, at, asked)
            asked = at  # what came with it was there already

    def _sent(self, data: bytes, at: int) -> None:
        self._asked(self._in.feed(data), at)

    def _asked(self, lines: list[str | None], at: int) -> None:
        conversation = self._conversation
        assert conversation is not None
        for line in lines:
            if line is None:
                conversation.skipped(at, came=False)
            else:
                conversation.sent(line, at)

    def _lost(self, lines: Lines) -> None:
        lines.lose()

    def _aside(self, name: str, data: Mapping[str, Any], at: int) -> None:
        tap = self._conversation.tap if self._conversation is not None else None
        if tap is not None:
            tap.aside_at(Aside(name, data), at)

    def _end(self, at: int, outcome: Outcome | None, error_type: str) -> None:
        self._asked(self._in.finish(), at)
        self._lines(self._out.finish(), at, at)
        tap = self._conversation.tap if self._conversation is not None else None
        if tap is not None:
            tap.end_at(at, outcome=outcome, error_type=error_type)


class _Deaf(Lines):
    """Reads nothing any more."""

    def feed(self, data: bytes) -> list[str | None]:
        return []

    def finish(self) -> list[str | None]:
        return []
