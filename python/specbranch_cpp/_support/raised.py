"""Exceptions on their way to the caller: of the caller's functions, and of the system."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp.errors import SpecBranchError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

__all__ = ["passed_on", "refused_by_system", "start_thread"]

_PACKAGE = str(Path(__file__).resolve().parents[1])


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


@contextlib.contextmanager
def refused_by_system(documented: type[SpecBranchError]) -> Iterator[None]:
    """Raises a documented error where the system refuses the core something, such as a thread.

    The core says that with a bare ``RuntimeError``. One of a function of the caller, which the core
    has called, stays as it is.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error) is not RuntimeError or not _is_of_package(error):
            raise
        raise documented(f"the system refuses what the engine needs: {error}") from error


def start_thread(thread: threading.Thread) -> None:
    """Starts a thread.

    Raises:
        SpecBranchError: the system has no more threads.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise SpecBranchError(f"the system refuses what the engine needs: {error}") from error


def _is_of_package(error: BaseException) -> bool:
    """Whether the last function of Python on the way to an error belongs to this package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE)
