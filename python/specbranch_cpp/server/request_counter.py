"""Counts every request except preflights, and turns other exceptions into errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._support import logs
from specbranch_cpp.server.error_forms import error_response
from specbranch_cpp.server.errors import from_exception

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from specbranch_cpp.server.metrics import Metrics

__all__ = ["RequestCounter"]

LOGGER = logs.make_logger(__name__)


class RequestCounter:
    """Counts requests by endpoint and status.

    All paths that are not in ``endpoints`` count together as ``other``, so that clients cannot make
    up labels.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
        started = False

        async def observed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.answered(endpoint, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception as error:
            LOGGER.exception("%s %s failed", scope["method"], endpoint)
            if started:
                raise
            reply = error_response(from_exception(error), scope["path"])
            await reply(scope, receive, observed)
