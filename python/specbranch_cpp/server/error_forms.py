"""The form of an error: every interface has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from specbranch_cpp.server.errors import OVERFLOW

if TYPE_CHECKING:
    from specbranch_cpp.server.errors import ApiError

__all__ = ["error_response", "message_error"]

# https://platform.claude.com/docs/en/api/errors
_MESSAGE_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_response(error: ApiError, path: str) -> JSONResponse:
    """The reply to a request for this path."""
    if path.startswith("/api/"):  # Ollama's clients want a text
        return JSONResponse({"error": error.message}, error.status, error.headers)
    if path.startswith("/v1/messages"):
        return JSONResponse(message_error(error), error.status, error.headers)
    return error.response()


def message_error(error: ApiError) -> dict[str, Any]:
    """The body of an error of Anthropic's Messages API."""
    usual = "api_error" if error.status >= 500 else "invalid_request_error"
    kind = _MESSAGE_KINDS.get(error.status, usual)
    # By these words clients know that they must shorten the chat.
    message = error.message.removeprefix(OVERFLOW)
    if error.code == "context_length_exceeded":
        message = f"prompt is too long: {message}"
    return {"type": "error", "error": {"type": kind, "message": message}}
