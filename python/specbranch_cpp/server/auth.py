"""Access control: API keys, host names, web origins."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from specbranch_cpp.server.cors import refused_origin
from specbranch_cpp.server.errors import ApiError
from specbranch_cpp.server.limits import refuse
from specbranch_cpp.server.names import ANY, host_of, origin_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["Gate", "client_of"]

_CLIENT = "specbranch.client"

READING = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Middleware that refuses requests which the settings do not allow.

    - The ``Host`` header must be one of ``settings.host_names``, else the answer is 403. This
      refuses web sites whose host name points to this machine (DNS rebinding).
    - A request from a web page that changes something, or asks whether it may, must come from the
      server's own page or from one of ``settings.cors_origins``, else the answer is 403.
    - If there are API keys, all paths except the page and ``/health`` need a key, else the answer
      is 401. The scope gets the number of the key, never the key: see `client_of`.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._hosts = settings.host_names
        self._keys = [_digest(key.encode()) for key in dict.fromkeys(settings.api_keys)]

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
        preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if scope["method"] not in READING or preflight:
            self._check_origin(headers)
        if self._keys and not is_open(scope["path"]):
            scope[_CLIENT] = self._checked_key(headers)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        name = host_of(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            raise ApiError(
                400, "the request must have exactly one valid Host header", code="invalid_host"
            )
        if self._hosts is not None and name not in self._hosts:
            raise ApiError(
                403,
                f"{hosts[0]!r:.100} is not a host name of this server; to allow it, start the "
                f"server with --allowed-host {name:.100}",
                code="host_not_allowed",
            )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        allowed = self._settings.cors_origins
        if origin is None or ANY in allowed or origin in allowed:
            return
        # A proxy may have removed TLS, so the scheme of the page can differ from the server's.
        own = {origin_of(f"{scheme}://{headers['host']}") for scheme in ("http", "https")}
        if origin_of(origin) not in own - {None}:
            raise refused_origin(origin)

    def _checked_key(self, headers: Headers) -> int:
        """The number of the key."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if not key and "x-api-key" in headers:  # as Anthropic's clients send it
            scheme, key = "bearer", headers["x-api-key"]
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
        return matches.index(True)


def client_of(scope: Scope) -> int:
    """Who sent a request: the number of its API key in the settings; 0 without keys."""
    return int(scope.get(_CLIENT, 0))


def is_open(path: str) -> bool:
    """Whether a path needs no key: the page, which asks for the key, and the health check."""
    return path in ("/", "/health") or path.startswith("/page/")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
