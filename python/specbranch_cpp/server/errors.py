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

__all__ = ["ApiError", "BadRequest", "ClientGone", "GenerationTimeout", "QueueFull", "ShuttingDown"]


class ApiError(Exception):
    """An error that the client is told.

    Args:
        status: of HTTP.
        message: what, which value, which limit.
        param: the field of the request that is at fault.
        code: a word for programs.
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
    """The request asks for something that is wrong or cannot be done."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, param=param, code=code)


class QueueFull(ApiError):  # noqa: N818
    """As many requests wait as may; ``retry_after_s``: when one of them is likely to be done."""

    def __init__(self, n_waiting: int, retry_after_s: int) -> None:
        super().__init__(
            429,
            f"{n_waiting} requests are waiting, which is the limit; "
            f"try again in {retry_after_s} seconds",
            code="queue_full",
            headers={"Retry-After": str(retry_after_s)},
        )


class GenerationTimeout(ApiError):  # noqa: N818
    """The generation took longer than a request may."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            504, f"the generation was stopped after {limit_s:g} seconds", code="timeout"
        )


class ShuttingDown(ApiError):  # noqa: N818
    """The server stops."""

    def __init__(self) -> None:
        super().__init__(503, "the server is shutting down", code="shutting_down")


class ClientGone(Exception):  # noqa: N818
    """The client closed its connection: nobody is there to be told."""


def from_exception(error: BaseException) -> ApiError:
    """What a client is told of an error: nothing of the inside where it is a surprise."""
    if isinstance(error, ApiError):
        return error
    # Without the method of the engine that says it.
    message = _shortened(re.sub(r"^\[[\w:]+\] ", "", str(error)))
    if isinstance(error, ContextOverflow):
        return BadRequest(message, code="context_length_exceeded")
    if isinstance(error, InvalidArgument):
        return BadRequest(message, _param(message), "invalid_value")
    if isinstance(error, EngineClosed):
        return ApiError(503, message, code="engine_closed")
    if isinstance(error, DecodeError):
        return ApiError(500, message, code="decode_error")
    if isinstance(error, MissingExtra):
        return ApiError(501, message, code="missing_extra")
    return ApiError(500, "an unexpected error, which the server has logged", code="internal_error")


def is_surprise(error: BaseException) -> bool:
    """Whether the error is one of this program, to be logged with its traceback."""
    return from_exception(error).code == "internal_error"


def _shortened(message: str) -> str:
    """Without the middle of a value that is long."""
    return message if len(message) <= 2000 else f"{message[:1000]} ... {message[-1000:]}"


def _param(message: str) -> str | None:
    """The engine's messages begin with the name of the argument: ``top_k is -5; ...``."""
    found = re.match(
        r"([a-z][a-z_]*)(?:\[[^\]]*\])*(?: and [a-z_]+)? (?:is|are|has|must)\b", message
    )
    return found[1] if found else None
