"""Reads a request's body before anybody else does: kind, size and time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from specbranch_cpp.server.errors import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["BodyLimits", "refuse"]

# So many times the limit of a body that is refused are read and dropped.
DRAINED = 4


class BodyLimits:
    """Middleware: the whole body is read here, then given on in one piece.

    A body that is not JSON by its content type is refused with 415, one that is too big with 413,
    one that takes too long with 408; the connection is then closed.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            _check_kind(headers)
        except ApiError as error:
            await refuse(error, self._settings, scope, receive, send)
            return
        limit_s = self._settings.body_timeout_s
        try:
            body = await asyncio.wait_for(self._read(headers, receive), limit_s)
        except asyncio.TimeoutError:
            late = ApiError(408, f"no body came within {limit_s:g} seconds", code="timeout")
            await _answer(late, scope, receive, send)
        except ApiError as error:
            await _answer(error, scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body; None if the client has gone."""
        limit = self._settings.max_body_bytes
        parts: list[bytes] = []
        size = 0
        more = _announced(headers) <= DRAINED * limit
        while more and size <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        if max(size, _announced(headers)) <= limit:
            return b"".join(parts)
        if more:
            await _drop(receive, DRAINED * limit)
        raise ApiError(413, f"the body has more than {limit} bytes", code="body_too_large")


async def refuse(
    error: ApiError, settings: ServerSettings, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answers a request of which only the head was read, and has the connection closed.

    What of the body is on its way is read and dropped first, up to a limit: a connection that is
    closed before would be reset, and the client might never see the answer.
    """
    limit = DRAINED * settings.max_body_bytes
    if _announced(Headers(scope=scope)) <= limit:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drop(receive, limit), settings.body_timeout_s)
    await _answer(error, scope, receive, send)


async def _answer(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    error.headers["Connection"] = "close"
    await error.response()(scope, receive, send)


async def _drop(receive: Receive, limit: int) -> None:
    size = 0
    more = True
    while more and size <= limit:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)


def _announced(headers: Headers) -> int:
    """The size that the head of a request names; 0: none."""
    size = headers.get("content-length", "")
    return int(size) if size.isdecimal() and len(size) < 20 else 0


def _check_kind(headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415,
            f"the content type is {kind!r:.100}; it must be application/json",
            code="unsupported_media_type",
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ApiError(
            415,
            f"the content encoding is {encoding!r:.100}; the body must not be compressed",
            code="unsupported_media_type",
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then what comes after it: the client's leaving."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
