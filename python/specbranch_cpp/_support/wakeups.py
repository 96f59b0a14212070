"""Events whose sender takes no lock, so that code of the caller can never keep it waiting.

A condition or an event of `threading` has a lock, which a waiting thread holds for moments. In such
a moment a signal handler, or a finalizer, may run. If it waits for the sender, both wait for ever.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Changes", "Wakeup"]


class Wakeup:
    """Wakes one thread, now or when it waits next. `set` is for any thread, and never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is set already
            self._lock.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it was set within the time. It is then not set any more."""
        return self._lock.acquire(timeout=-1 if timeout_s is None else timeout_s)


class Changes:
    """Wakes all threads that wait for a change."""

    def __init__(self) -> None:
        self._waiting: dict[int, Wakeup] = {}

    def tell(self) -> None:
        """Something has changed."""
        for wakeup in [*self._waiting.values()]:
            wakeup.set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[Wakeup]:
        """A wakeup that is set at each change. Look for changes between its waits."""
        wakeup = Wakeup()
        self._waiting[id(wakeup)] = wakeup
        try:
            yield wakeup
        finally:
            del self._waiting[id(wakeup)]
