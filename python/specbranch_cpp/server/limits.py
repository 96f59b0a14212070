"""Reads the body of a request first, and checks its type, size and time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from specbranch_cpp.server.error_forms import error_response
from specbranch_cpp.server.errors import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["BodyLimits", "refuse"]

# Of a refused body, this multiple of the limit is read and discarded.
DRAINED = 4


class BodyLimits:
    """Middleware that reads the whole body and passes it on in one piece.

    It refuses a body whose content type is not JSON with 415, a body that is too large with 413,
    and a body that takes too long with 408. Then it closes the connection.
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
            late = ApiError(
                408, f"the body was not complete within {limit_s:g} seconds", code="timeout"
            )
            await _answer(late, scope, receive, send)
        except ApiError as error:
            await _answer(error, scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body. ``None``: the client disconnected."""
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
        raise ApiError(
            413, f"the body has more than {limit} bytes, which is the limit", code="body_too_large"
        )


async def refuse(
    error: ApiError, settings: ServerSettings, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answers a request of which only the headers were read, and closes the connection.

    First it reads and discards the body up to a limit. Otherwise the connection would be reset, and
    the client might never see the answer.
    """
    limit = DRAINED * settings.max_body_bytes
    if _announced(Headers(scope=scope)) <= limit:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drop(receive, limit), settings.body_timeout_s)
    await _answer(error, scope, receive, send)


async def _answer(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    error.headers["Connection"] = "close"
    await error_response(error, scope["path"])(scope, receive, send)


async def _drop(receive: Receive, limit: int) -> None:
    size = 0
    more = True
    while more and size <= limit:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)


def _announced(headers: Headers) -> int:
    """The content length in the headers; 0: the headers have none."""
    size = headers.get("content-length", "")
    return int(size) if size.isdecimal() and len(size) < 20 else 0


def _check_kind(headers: Headers) -> None:
    if "transfer-encoding" not in headers and not headers.get("content-length", "").strip("0"):
        return  # there is no body
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
    """Receives the body in one message, and later the client's disconnect."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
