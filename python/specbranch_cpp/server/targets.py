"""Request targets in absolute form, as clients send them to a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["AbsoluteTargets"]

_SCHEMES = (b"http", b"https")


class AbsoluteTargets:
    """Middleware that answers ``GET http://host/path`` as ``GET /path``.

    The host of the target replaces the ``Host`` header, as RFC 9112 (3.2.2) demands. So later
    checks see the host that counts.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scheme, mark, rest = (scope.get("raw_path") or b"").partition(b"://")
            if mark and scheme.lower() in _SCHEMES:
                scope = _in_origin_form(scope, rest)
        await self._app(scope, receive, send)


def _in_origin_form(scope: Scope, target: bytes) -> Scope:
    """``target``: host and path."""
    host, slash, path = target.partition(b"/")
    raw_path = b"/" + path if slash else b"/"
    others = [item for item in scope["headers"] if item[0].lower() != b"host"]
    return {
        **scope,
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "headers": [(b"host", host), *others],
    }
