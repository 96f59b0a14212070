"""Models that load while the program ends.

A daemon thread that comes back from C++ when the interpreter shuts down ends in the middle of the
load, and takes the process with it. So the program stops such loads first.
"""

from __future__ import annotations

import threading

from specbranch_cpp.errors import EngineClosed

__all__ = ["begin", "check", "end", "stop_all"]

_WAIT_S = 30.0  # a load that takes longer to stop hangs in a function of the caller

_loads: dict[int, threading.Event] = {}
"""What is set at the end of the load of a thread."""
_exiting = threading.Event()


def begin() -> None:
    """A load of this thread begins.

    Raises:
        EngineClosed: the program ends.
    """
    _loads[threading.get_ident()] = threading.Event()
    try:
        check()  # `stop_all` looks for loads after it has told the end
    except EngineClosed:
        end()
        raise


def check() -> None:
    """Called by each load several times a second.

    Raises:
        EngineClosed: the program ends.
    """
    if _exiting.is_set():
        raise EngineClosed("[Engine] the engine was not loaded, because the program ends")


def end() -> None:
    """The engine of this thread's load is known to those who close all engines, or there is none.

    Without a load, it does nothing.
    """
    ended = _loads.pop(threading.get_ident(), None)
    if ended is not None:
        ended.set()


def stop_all() -> None:
    """Stops all loads, and waits for their ends. No load begins any more."""
    _exiting.set()
    for ended in [*_loads.values()]:
        ended.wait(_WAIT_S)
