"""The client's side over HTTP/2, for a route that asks for it: the same calls as of `upstream`, over h2.

Not through httpx: its connection pool sends no RST_STREAM when an answer is given up, so that the upstream would go on
to the end of the window, and sends a request's whole body before it reads an answer.

Several exchanges share a connection. What a slow caller does not take is not acknowledged, so that the upstream's
window for that one stream fills. Over `http://` the upstream must speak HTTP/2 without having been asked (prior
knowledge).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from streamgauge.transports.http import heads
from streamgauge.transports.http.heads import Answer, Fields, Refused

if TYPE_CHECKING:
    from streamgauge.transports.http.http2_pool import Http2Pool
    from streamgauge.transports.http.relay import Relay

__all__ = ["Connection", "Stream"]

_clock = time.monotonic_ns

_CONNECTION_WINDOW = 16_777_216
"""Of a connection; a stream's own is what holds a slow caller's answer back."""
_NOT_IN_HTTP2 = frozenset({b"host", b"connection", b"transfer-encoding", b"expect", b"keep-alive", b"upgrade"})


class Stream:
    """One exchange on a connection; `upstream.Upstream` to its relay."""

    __slots__ = ("_answer", "_connection", "_ended", "_finished", "_held", "_id", "_owed", "_paused", "_queue",
                 "_queued", "closed", "relay", "reused")  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._id = 0
        self.relay: Relay | None = None
        self.reused = connection.served
        self.closed = False
        self._queue: list[bytes] = []
        """Of the request's body, what no window is open for."""
        self._queued = 0
        self._held = False
        self._finished = False
        self._ended = False
        """The upstream has said all."""
        self._paused = False
        self._owed = 0
        """Bytes that came and are not acknowledged, as the caller is slow."""
        self._answer: Answer | None = None

    # What an exchange does --------------------------------------------------------------------------------------

    def begin(self, relay: Relay, head: bytes, *, bodiless: bool, chunked: bool) -> None:
        self.relay = relay
        connection = self._connection
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.split(b" ")
        fields: Fields = []
        authority = b""
        length = b""
        for line in lines:
            name, _, value = line.partition(b":")
            name, value = name.lower(), value.strip(b" \t")
            if name == b"host":
                authority = value
            elif name and name not in _NOT_IN_HTTP2:
                fields.append((name, value))
                length = value if name == b"content-length" else length
        has_body = chunked or length not in (b"", b"0")
        pseudo = [
            (b":method", method),
            (b":scheme", connection.pool.scheme),
            (b":authority", authority),
            (b":path", target),
        ]
        self._id = connection.h2.get_next_available_stream_id()
        connection.streams[self._id] = self
        connection.served = True
        self._finished = not has_body
        connection.h2.send_headers(self._id, pseudo + fields, end_stream=not has_body)

    def send_all(self, pieces: Sequence[bytes], trailers: bytes | None) -> None:
        for data in pieces:
            self._queue.append(data)
            self._queued += len(data)
        if trailers is not None:
            self.finish(trailers)
        self.push()
        self._connection.flush()

    def send(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued += len(data)
        self.push()
        self._connection.flush()

    def finish(self, trailers: bytes = b"") -> None:
        if not self._finished:
            self._finished = True
            self._queue.append(b"")
            self.push()
            self._connection.flush()

    def push(self) -> None:
        """Send what the windows allow."""
        connection, queue = self._connection, self._queue
        if self.closed:
            return
        while queue:
            data = queue[0]
            room = min(connection.h2.local_flow_control_window(self._id), connection.h2.max_outbound_frame_size)
            if data and room <= 0:
                break
            if len(data) > room:
                queue[0] = data[room:]
                data = data[:room]
            else:
                queue.pop(0)
            self._queued -= len(data)
            connection.h2.send_data(self._id, data, end_stream=not data)
        held = self._queued > connection.pool.limits.high_water_bytes or (connection.stuck and self._queued > 0)
        if held is not self._held and self.relay is not None:
            self._held = held
            self.relay.hold_caller(held)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.acknowledge(0)
        self._connection.flush()

    def acknowledge(self, size: int) -> None:
        self._owed += size
        if self._owed and not self._paused and not self._ended:
            owed, self._owed = self._owed, 0
            self._connection.h2.acknowledge_received_data(owed, self._id)

    def release(self, *, whole: bool) -> None:
        self._part()

    def abort(self) -> None:
        self._part()

    def _part(self) -> None:
        self.relay = None
        if not self.closed:
            self.closed = True
            self._connection.part(self._id, reset=not (self._ended and self._finished and not self._queue))

    # What comes -------------------------------------------------------------------------------------------------

    def answered(self, fields: Fields, at: int) -> None:
        relay = self.relay
        if relay is None:
            return
        try:
            self._answer = _answer(fields)
        except (Refused, ValueError):
            self.abort()
            relay.lost("bad_response", started=True)
            return
        relay.answered(self._answer, at)

    def lost(self, *, started: bool) -> None:
        relay, self.relay = self.relay, None
        self.closed = True
        if relay is not None:
            relay.lost("connection_lost", started=started or self._answer is not None)

    def ended(self, data: bytes | None, at: int, trailers: Fields | None) -> None:
        self._ended = True
        relay = self.relay
        if relay is not None:
            relay.complete(data, at, trailers)


def _answer(fields: Fields) -> Answer:
    status = dict(fields)[b":status"]
    if not status.isdigit() or not 100 <= int(status) <= 999:
        raise ValueError("no status")
    try:
        reason = HTTPStatus(int(status)).phrase.encode()  # HTTP/2 has none
    except ValueError:
        reason = b""
    return heads.read_answer(int(status), reason, [field for field in fields if not field[0].startswith(b":")])


class Connection(asyncio.Protocol):
    """One connection, with the streams on it."""

    def __init__(self, pool: Http2Pool) -> None:
        self.pool = pool
        self.h2: Any = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.streams: dict[int, Stream] = {}
        self.transport: Any = None
        self.usable = True
        """For new exchanges."""
        self.served = False
        self.stuck = False
        self.idle_since = _clock()
        self._frame_head = b""
        self._frame_left = 0

    @property
    def has_room(self) -> bool:
        return self.usable and len(self.streams) < self.h2.remote_settings.max_concurrent_streams

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        limits = self.pool.limits
        transport.set_write_buffer_limits(high=limits.high_water_bytes)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.usable = False
            transport.abort()
            return
        codes = h2.settings.SettingCodes
        self.h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.INITIAL_WINDOW_SIZE: max(65_535, limits.high_water_bytes),
                codes.MAX_CONCURRENT_STREAMS: 100,
                codes.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
            },
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(_CONNECTION_WINDOW)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        self.pool.forget(self)
        for stream in list(self.streams.values()):
            stream.lost(started=False)
        self.streams.clear()

    def eof_received(self) -> None:
        self.connection_lost(None)

    def pause_writing(self) -> None:
        self.stuck = True
        for stream in list(self.streams.values()):
            stream.push()

    def resume_writing(self) -> None:
        self.stuck = False
        for stream in list(self.streams.values()):
            stream.push()
        self.flush()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def part(self, number: int, *, reset: bool) -> None:
        """A stream is over."""
        stream = self.streams.pop(number, None)
        if stream is None:
            return
        try:
            if reset:
                self.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.ProtocolError:  # it had ended meanwhile
            pass
        self.flush()
        if not self.streams:
            self.idle_since = _clock()
            if not self.usable:
                self.transport.close()

    def _check_frames(self, data: bytes) -> None:
        """h2 looks at a frame's length only when all of the frame is there, and 16 MiB may be said.

        Raises: ProtocolError.
        """
        place = 0
        while place < len(data):
            if self._frame_left:
                step = min(self._frame_left, len(data) - place)
                self._frame_left -= step
            else:
                step = 9 - len(self._frame_head)
                self._frame_head += data[place : place + step]
                if len(self._frame_head) == 9:
                    self._frame_left = int.from_bytes(self._frame_head[:3], "big")
                    self._frame_head = b""
                    if self._frame_left > self.h2.max_inbound_frame_size:
                        raise h2.exceptions.FrameTooLargeError("a frame that was not allowed")
            place += step

    def data_received(self, data: bytes) -> None:
        at = _clock()
        try:
            self._check_frames(data)
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.flush()
            self.transport.abort()
            self.connection_lost(None)
            return
        pieces: dict[int, list[bytes]] = {}
        for event in events:
            number = getattr(event, "stream_id", 0) or 0
            stream = self.streams.get(number)
            if isinstance(event, h2.events.DataReceived):
                size = event.flow_controlled_length or 0
                if stream is None:
                    self._acknowledge_stray(size)
                    continue
                if event.data:
                    pieces.setdefault(number, []).append(bytes(event.data))
                self._owe(stream, size)
            elif isinstance(event, h2.events.ResponseReceived):
                if stream is not None:
                    stream.answered(_raw(event.headers), at)
            elif isinstance(event, h2.events.InformationalResponseReceived):
                if stream is not None and stream.relay is not None:
                    self._informational(stream, _raw(event.headers))
            elif isinstance(event, h2.events.TrailersReceived):
                if stream is not None:
                    self._tell(number, pieces, at, _raw(event.headers), ended=True)
            elif isinstance(event, h2.events.StreamEnded):
                if stream is not None:
                    self._tell(number, pieces, at, None, ended=True)
            elif isinstance(event, h2.events.StreamReset):
                if stream is not None:
                    self._tell(number, pieces, at, None, ended=False)
                    self.streams.pop(number, None)
                    if event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM:
                        stream.reused = True  # it was not looked at, and may be sent again
                    stream.lost(started=False)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self._going_away(event.last_stream_id or 0)
            elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
                for each in [stream] if stream is not None else list(self.streams.values()):
                    each.push()
        for number in list(pieces):
            self._tell(number, pieces, at, None, ended=False)
        self.flush()
        self.pool.serve_waiting()

    def _owe(self, stream: Stream, size: int) -> None:
        try:
            stream.acknowledge(size)
        except h2.exceptions.ProtocolError:
            pass

    def _acknowledge_stray(self, size: int) -> None:
        """Of a stream that was given up: the connection's window must not shrink by it."""
        if size:
            self.h2.increment_flow_control_window(size)

    def _informational(self, stream: Stream, fields: Fields) -> None:
        try:
            answer = _answer(fields)
        except (Refused, ValueError):
            return
        if stream.relay is not None and answer.status != 101:
            stream.relay.informational(answer)

    def _tell(
        self, number: int, pieces: dict[int, list[bytes]], at: int, trailers: Fields | None, *, ended: bool
    ) -> None:
        stream = self.streams.get(number)
        parts = pieces.pop(number, None)
        if stream is None or stream.relay is None:
            return
        data = None if parts is None else parts[0] if len(parts) == 1 else b"".join(parts)
        if ended:
            stream.ended(data, at, trailers)
        elif data is not None:
            stream.relay.data(data, at)

    def _going_away(self, last: int) -> None:
        self.usable = False
        self.pool.forget(self)
        for number in [number for number in self.streams if number > last]:
            stream = self.streams.pop(number)
            stream.reused = True  # it was not looked at
            stream.lost(started=False)
        if not self.streams:
            self.transport.close()


def _raw(fields: Any) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in fields]
