"""Logs the lines of an engine's process."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from typing import TYPE_CHECKING

from specbranch_cpp._support.raised import start_thread
from specbranch_cpp._support.wakeups import Wakeup

if TYPE_CHECKING:
    import logging

__all__ = ["LogLines"]

_WAIT_S = 1.0
_N_LOOKS = 20


class LogLines:
    """Logs lines on a thread of its own: handlers of the log are code of the caller, and may wait
    for anything, such as the engine.

    *Thread safety*: any thread may call every method.
    """

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[tuple[logging.Logger, int, str] | Wakeup | None]
        self._lines = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="specbranch-log", daemon=True)

    def start(self) -> None:
        """Begins.

        Raises:
            SpecBranchError: the system has no thread.
        """
        start_thread(self._thread)

    def put(self, logger: logging.Logger, level: int, text: str) -> None:
        self._lines.put((logger, level, text))

    def end(self) -> None:
        """No lines come any more."""
        self._lines.put(None)

    def wait(self) -> None:
        """Waits until the lines are logged that were put before; at most a second."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            logged = Wakeup()
            self._lines.put(logged)
            for _ in range(_N_LOOKS):
                if logged.wait(_WAIT_S / _N_LOOKS) or not self._thread.is_alive():
                    return

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            if isinstance(line, Wakeup):
                line.set()
            else:
                _log(*line)


def _log(logger: logging.Logger, level: int, text: str) -> None:
    try:
        logger.log(level, "%s", text)
    except Exception:  # noqa: BLE001, a handler of this program says nothing of the process
        # As if the thread had ended, which must go on.
        arguments = (*sys.exc_info(), threading.current_thread())
        with contextlib.suppress(Exception):
            threading.excepthook(threading.ExceptHookArgs(arguments))
