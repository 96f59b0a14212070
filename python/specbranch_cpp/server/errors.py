"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from specbranch_cpp.errors import (
    ContextOverflow,
    DecodeError,
    EngineClosed,
    InvalidArgument,
    MissingExtra,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "OVERFLOW", "ApiError", "BadRequest", "ClientGone", "GenerationTimeout", "QueueFull",
    "ShuttingDown",
]  # fmt: skip

OVERFLOW = "This model's maximum context length is exceeded: "
"""How an overflow begins. LiteLLM and agents look for the first words of it, which are those of
OpenAI and vLLM, to know that they must shorten the chat."""


_FINAL = (501, 504)
"""Statuses that the same request gets again. Without a header, clients of OpenAI and Anthropic send
a request again twice after each status from 500 on."""


class ApiError(Exception):
    """An error that is sent to the client.

    Args:
        status: HTTP status.
        message: what is wrong, with the value and its limit.
        param: the wrong field of the request.
        code: an error code for programs.
        headers: further headers of the reply.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})
        if status in _FINAL:
            self.headers.setdefault("X-Should-Retry", "false")

    @property
    def kind(self) -> str:
        """OpenAI's ``type``."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    @property
    def content(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        return JSONResponse(self.content, self.status, self.headers)


class BadRequest(ApiError):  # noqa: N818
    """The request is wrong, or the server cannot do what it asks for."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, param=param, code=code)


class QueueFull(ApiError):  # noqa: N818
    """The queue has no room for a client.

    Args:
        n_waiting: waiting requests.
        retry_after_s: seconds after which a place is probably free.
        kept: whether the free places are kept for other clients.
    """

    def __init__(self, n_waiting: int, retry_after_s: int, *, kept: bool) -> None:
        why = "and the other places are kept for other API keys" if kept else "which is the limit"
        super().__init__(
            429,
            f"{n_waiting} requests wait, {why}; try again in {retry_after_s} seconds",
            code="queue_full",
            headers={"Retry-After": str(retry_after_s)},
        )


class GenerationTimeout(ApiError):  # noqa: N818
    """The generation exceeded the time limit of a request."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            504,
            f"the generation exceeded the limit of {limit_s:g} seconds and was stopped",
            code="timeout",
        )


class ShuttingDown(ApiError):  # noqa: N818
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__(503, "the server is shutting down", code="shutting_down")


class ClientGone(Exception):  # noqa: N818
    """The client closed its connection, so no error can be sent."""


def from_exception(error: BaseException) -> ApiError:
    """The error for the client. It contains no internal details of an unexpected exception."""
    if isinstance(error, ApiError):
        return error
    # Remove the name of the engine's method that raised the error.
    message = _shortened(re.sub(r"^\[[\w:]+\] ", "", str(error)))
    if isinstance(error, ContextOverflow):
        return BadRequest(f"{OVERFLOW}{message}", code="context_length_exceeded")
    if isinstance(error, InvalidArgument):
        return BadRequest(message, _param(message), "invalid_value")
    if isinstance(error, EngineClosed):
        return ApiError(503, message, code="engine_closed")
    if isinstance(error, DecodeError):
        return ApiError(500, message, code="decode_error")
    if isinstance(error, MissingExtra):
        return ApiError(501, message, code="missing_extra")
    return ApiError(
        500, "an unexpected error occurred; the server's log has the details", code="internal_error"
    )


def is_surprise(error: BaseException) -> bool:
    """Whether the error is a bug of this program, whose traceback must be logged."""
    return from_exception(error).code == "internal_error"


def _shortened(message: str) -> str:
    """The message, without the middle if it is long."""
    return message if len(message) <= 2000 else f"{message[:1000]} ... {message[-1000:]}"


def _param(message: str) -> str | None:
    """The engine's messages begin with the name of the argument: ``top_k is -5; ...``."""
    found = re.match(
        r"([a-z][a-z_]*)(?:\[[^\]]*\])*(?: and [a-z_]+)? (?:is|are|has|must|names)\b", message
    )
    return found[1] if found else None
