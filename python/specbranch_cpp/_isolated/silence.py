"""Ends a process that has work, and gives no sign of it for too long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from specbranch_cpp._support.raised import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SilenceWatch"]

_STEP_S = 1.0


class SilenceWatch:
    """Watches one process. `sign` is for the thread that receives; `stop` for any thread.

    Time counts in steps between two looks, so that it does not pass while this program is stopped,
    nor while the machine sleeps.

    Args:
        limit_s: seconds of work without a sign.
        has_work: whether the process owes a sign: it has work, and does not wait for this program.
        end: is called once, on the watch's own thread, when the time is over.
    """

    def __init__(
        self, limit_s: float, has_work: Callable[[], bool], end: Callable[[], None]
    ) -> None:
        self._limit_s = limit_s
        self._has_work = has_work
        self._end = end
        self._n_signs = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="specbranch-silence", daemon=True)

    def start(self) -> None:
        """Begins.

        Raises:
            SpecBranchError: the system has no thread.
        """
        start_thread(self._thread)

    def sign(self) -> None:
        """The process has done something."""
        self._n_signs += 1

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        step_s = min(self._limit_s / 4, _STEP_S)
        silent_s, seen = 0.0, -1
        while not self._stopped.wait(step_s):
            if seen != self._n_signs or not self._has_work():
                silent_s, seen = 0.0, self._n_signs
                continue
            silent_s += step_s
            if silent_s >= self._limit_s:
                self._end()
                return
