"""Ends what has work, and gives no sign of it for too long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from specbranch_cpp._support.raised import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SilenceWatch"]

_STEP_S = 1.0


class SilenceWatch:
    """Watches work that must give a sign of itself. `stop` is for any thread.

    Time counts in steps between two looks, so that it does not pass while this program is stopped,
    nor while the machine sleeps.

    Args:
        limit_s: seconds of work without a sign.
        is_silent: gets the seconds of a step, and says whether there was work but no sign in this
            step. It is called on the watch's own thread.
        end: is called once, on the same thread, when the time is over.
    """

    def __init__(
        self, limit_s: float, is_silent: Callable[[float], bool], end: Callable[[], None]
    ) -> None:
        self._limit_s = limit_s
        self._is_silent = is_silent
        self._end = end
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="specbranch-silence", daemon=True)

    def start(self) -> None:
        """Begins.

        Raises:
            SpecBranchError: the system has no thread.
        """
        start_thread(self._thread)

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        step_s = min(self._limit_s / 4, _STEP_S)
        silent_s = 0.0
        while not self._stopped.wait(step_s):
            if not self._is_silent(step_s):
                silent_s = 0.0
                continue
            silent_s += step_s
            if silent_s >= self._limit_s:
                self._end()
                return
