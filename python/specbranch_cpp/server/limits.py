"""Reads a request's body before anybody else does: kind, size and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from specbranch_cpp.server.errors import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from specbranch_cpp.server.settings import Settings

__all__ = ["BodyLimits"]

# So much of a body that is too big is read and dropped, so that its sender hears why.
DRAINED = 4


class BodyLimits:
    """Middleware: the whole body is read here, then given on in one piece.

    A body that is not JSON by its content type is refused with 415, one that is too big with 413,
    one that takes too long with 408; the connection is then closed.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            _check_kind(Headers(scope=scope))
            body = await asyncio.wait_for(
                self._read(Headers(scope=scope), receive), self._settings.body_timeout_s
            )
        except asyncio.TimeoutError:
            error = ApiError(
                408, f"the body did not arrive within {self._settings.body_timeout_s:g} seconds"
            )
        except ApiError as caught:
            error = caught
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)
            return
        error.headers["Connection"] = "close"
        await error.response()(scope, receive, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body; None if the client has gone."""
        limit = self._settings.max_body_bytes
        too_big = ApiError(413, f"the body has more than {limit} bytes", code="body_too_large")
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > DRAINED * limit:
            raise too_big
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > DRAINED * limit:
                break
            if size <= limit:
                parts.append(part)
            else:
                parts.clear()
            more = message.get("more_body", False)
        if size > limit:
            raise too_big
        return b"".join(parts)


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
