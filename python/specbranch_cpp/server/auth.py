"""Access control: API keys, host names, web origins."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from specbranch_cpp.server.errors import ApiError
from specbranch_cpp.server.limits import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["Gate"]

READING = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Middleware that refuses requests which the settings do not allow.

    - The ``Host`` header must be one of ``settings.host_names``, else the answer is 403. This
      refuses web sites whose host name points to this machine (DNS rebinding).
    - A request from a web page that changes something must come from the server's own page or from
      one of ``settings.cors_origins``, else the answer is 403.
    - If there are API keys, all paths except the page and ``/health`` need a key, else the answer
      is 401.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._hosts = settings.host_names
        self._keys = [_digest(key.encode()) for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope, Headers(scope=scope))
            except ApiError as error:
                await refuse(error, self._settings, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        self._check_host(headers)
        if scope["method"] not in READING:
            self._check_origin(headers)
        if self._keys and not is_open(scope["path"]):
            self._check_key(headers)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _host_name(hosts[0]) is None:
            raise ApiError(
                400, "the request must have exactly one valid Host header", code="invalid_host"
            )
        if self._hosts is not None and _host_name(hosts[0]) not in self._hosts:
            raise ApiError(
                403, f"{hosts[0]!r:.100} is not a host name of this server", code="host_not_allowed"
            )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        allowed = self._settings.cors_origins
        if origin is None or "*" in allowed or origin in allowed:
            return
        try:
            same = urlsplit(origin).netloc.lower() == headers["host"].lower()
        except ValueError:
            same = False
        if not same:
            raise ApiError(
                403,
                f"pages of {origin!r:.100} are not allowed to call this server",
                code="origin_not_allowed",
            )

    def _check_key(self, headers: Headers) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        digest = _digest(key.strip().encode("latin-1"))
        # Compare digests of equal length with all keys, so that the time reveals nothing.
        matches = [hmac.compare_digest(digest, known) for known in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            what = (
                "wrong API key"
                if key
                else "the API key is missing; send the header Authorization: Bearer KEY"
            )
            raise ApiError(
                401, what, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
            )


def is_open(path: str) -> bool:
    """Whether a path needs no key: the page, which asks for the key, and the health check."""
    return path in ("/", "/health") or path.startswith("/page/")


def _host_name(host: str) -> str | None:
    """The name in ``name:port``, without brackets of IPv6. ``None``: this is not a host name."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 (raises if the port is not a number)
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return parts.hostname


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
