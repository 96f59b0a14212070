"""Permissions for pages of other origins (CORS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from specbranch_cpp.server.error_forms import error_response
from specbranch_cpp.server.errors import ApiError
from specbranch_cpp.server.names import ANY, origin_of

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["Cors", "refused_origin"]

METHODS = ("GET", "POST")
_ASKED_METHOD = "access-control-request-method"
_ASKED_NETWORK = "access-control-request-private-network"
_GRANTED_NETWORK = "Access-Control-Allow-Private-Network"


class Cors(CORSMiddleware):
    """Lets pages of ``settings.cors_origins`` read every reply, also errors.

    A preflight of another origin gets an error that names the option. A permitted page may also
    reach the server from a public web site, which browsers ask for.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Ignored-Fields", "X-Should-Retry"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and _ASKED_METHOD in headers:
                await self._preflight(headers, scope["path"])(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _preflight(self, headers: Headers, path: str) -> Response:
        """The reply to a browser that asks whether a page may send a request."""
        if not self.is_allowed_origin(headers["origin"]):
            return error_response(refused_origin(headers["origin"]), path)
        asked = [item for item in headers.raw if item[0] != _ASKED_NETWORK.encode()]
        response = self.preflight_response(Headers(raw=asked))
        if response.status_code != 200:
            method = headers[_ASKED_METHOD]
            error = ApiError(
                405,
                f"{method!r:.50} is not a method of this server; it must be {' or '.join(METHODS)}",
                code="method_not_allowed",
            )
            refusal = error_response(error, path)
            for name, value in response.headers.items():
                if name.startswith("access-control-") or name == "vary":
                    refusal.headers[name] = value
            return refusal
        if _ASKED_NETWORK in headers:
            response.headers[_GRANTED_NETWORK] = "true"
        return response


def refused_origin(origin: str) -> ApiError:
    """The error for a page whose origin is not allowed."""
    value = origin_of(origin) or ANY
    return ApiError(
        403,
        f"pages of {origin!r:.100} are not allowed to call this server; to allow them, start the "
        f"server with --cors-origin {value:.100}",
        code="origin_not_allowed",
    )
