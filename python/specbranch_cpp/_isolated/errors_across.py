"""Exceptions of the engine's process, raised in that of the caller."""

from __future__ import annotations

import builtins
from typing import Any

from specbranch_cpp import errors
from specbranch_cpp.errors import SpecBranchError, printable

__all__ = ["again", "described", "raised_again"]

_BUILTIN = ("TypeError", "ValueError", "OverflowError", "MemoryError", "OSError", "RuntimeError")


def described(error: BaseException) -> list[Any]:
    """The name of the class, the message, and the number of an error of the system."""
    if isinstance(error, OSError) and error.errno is not None:
        return [type(error).__name__, error.strerror, error.errno]
    return [type(error).__name__, str(error), None]


def raised_again(name: str, message: str, number: int | None) -> Exception:
    """The exception that `described` has described."""
    message = printable(message)
    if name in errors.__all__:
        found: Exception = getattr(errors, name)(message)
        return found
    if number is not None:
        return OSError(number, message)
    if name not in _BUILTIN:
        return SpecBranchError(f"{name}: {message}")
    kind: type[Exception] = getattr(builtins, name)
    return kind(message)


def again(error: Exception) -> Exception:
    """The same error, to be raised in one more place. Only our errors can be copied."""
    if not isinstance(error, SpecBranchError):
        return error
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    return copy
