"""Exceptions of the caller's functions on their way to the caller."""

from __future__ import annotations

__all__ = ["passed_on"]


def passed_on(error: BaseException) -> BaseException:
    """What a reader is to raise for an exception of a function of the caller.

    A ``StopIteration`` would end a loop over a generation as if the text were complete, and a
    coroutine cannot raise it. So it becomes a ``RuntimeError``, as in generators of Python.
    """
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    replaced = RuntimeError(f"a function of the caller raised {type(error).__name__}")
    replaced.__cause__ = error
    return replaced
