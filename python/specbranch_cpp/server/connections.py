"""Connection limits that uvicorn's own protocol does not have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from specbranch_cpp.server.errors import ApiError

if TYPE_CHECKING:
    import asyncio

    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["make_protocol"]

_MOST_AT_ONCE = 16384  # bytes that are read from a connection before others get their turns
_MOST_AHEAD = 65536  # bytes of further requests that are read before their turn


def make_protocol(settings: ServerSettings) -> type[H11Protocol]:
    """uvicorn's protocol with a time limit for the headers of a request, a time limit for reading
    the reply, and a limit of connections.

    Input that is not HTTP gets an error in OpenAI's shape.
    """

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None  # runs while the client has unread data

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > settings.max_connections:
                transport.abort()
                return
            # What comes in chunks of a byte takes long to read; others get their turns between.
            transport.max_size = _MOST_AT_ONCE  # type: ignore[attr-defined]
            transport.set_write_buffer_limits(0)  # `pause_writing` at the first unread byte
            self._start_deadline()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_deadline()
            self._stop_watching()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reading()

        def resume_writing(self) -> None:
            self._stop_watching()
            super().resume_writing()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self._waits_for_head:
                self._stop_deadline()
                self._read_on()
            elif self._deadline is None and not self.transport.is_closing():
                self._start_deadline()

        def send_400_response(self, msg: str) -> None:
            self._refuse(ApiError(400, msg, code="invalid_http"))

        def _unsupported_upgrade_warning(self) -> None:
            """A client that offers HTTP/2 gets HTTP/1.1, of which nobody needs to be warned."""

        def _read_on(self) -> None:
            """Reads on behind a request that is answered: only a reader hears of a disconnect."""
            if not self.cycle.more_body and len(self.conn.trailing_data[0]) < _MOST_AHEAD:
                self.flow.resume_reading()

        @property
        def _waits_for_head(self) -> bool:
            cycle: RequestResponseCycle | None = self.cycle
            return cycle is None or cycle.response_complete

        def _start_deadline(self) -> None:
            self._deadline = self.loop.call_later(settings.header_timeout_s, self._head_is_late)

        def _stop_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _head_is_late(self) -> None:
            self._deadline = None
            if self._waits_for_head and not self.transport.is_closing():
                limit = f"{settings.header_timeout_s:g} seconds"
                self._refuse(
                    ApiError(
                        408, f"the client sent no complete request within {limit}", code="timeout"
                    )
                )

        def _watch_reading(self, unread: int | None = None) -> None:
            """Disconnects a client that reads nothing. Otherwise a close would wait forever."""
            now = self.transport.get_write_buffer_size()
            if unread is not None and now >= unread:
                self.transport.abort()
            else:
                self._reading = self.loop.call_later(
                    settings.send_timeout_s, self._watch_reading, now
                )

        def _stop_watching(self) -> None:
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None

        def _refuse(self, error: ApiError) -> None:
            """Sends an answer that belongs to no request, and closes the connection."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = json.dumps(error.content).encode()
                headers = [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"connection", b"close"),
                ]
                events: list[Any] = [
                    h11.Response(status_code=error.status, headers=headers),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ]
                for event in events:
                    self.transport.write(self.conn.send(event))
            self.transport.close()

    return Protocol
