"""The request queue: a few requests run, some wait in order, further requests are refused."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from typing import TYPE_CHECKING

from specbranch_cpp.server.errors import QueueFull, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["RequestQueue"]

MAX_RETRY_AFTER_S = 600
N_RECENT = 16


class RequestQueue:
    """A queue whose first requests run. No request overtakes another.

    *Thread safety*: one event loop only.

    Args:
        size: the largest number of waiting requests.
        n_places: the largest number of requests that run at once.
        clock: a function that returns seconds.
    """

    def __init__(
        self, size: int, n_places: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._n_places = n_places
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._n_taken = 0
        self._n_running = 0
        self._closed = False
        self._recent_s: deque[float] = deque(maxlen=N_RECENT)

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        return self._n_running

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def retry_after_s(self) -> int:
        """Whole seconds after which a place is probably free: a recent request's time, or 1."""
        if not self._recent_s:
            return 1
        mean = sum(self._recent_s) / len(self._recent_s) / self._n_places
        return min(max(1, math.ceil(mean)), MAX_RETRY_AFTER_S)

    @contextlib.asynccontextmanager
    async def turn(self, *, alone: bool = False) -> AsyncIterator[float]:
        """Waits until the request may run, and holds the place until the end of the block.

        Yields the seconds of the wait. A cancelled wait leaves the queue.

        Args:
            alone: whether no other request may run meanwhile.

        Raises:
            QueueFull: the queue has its largest length.
            ShuttingDown: `close` was called before or during the wait.
        """
        begin = self._clock()
        n = self._n_places if alone else 1
        await self._wait(n)
        started = self._clock()
        try:
            yield started - begin
        finally:
            self._recent_s.append(self._clock() - started)
            self._leave(n)

    def close(self) -> None:
        """Refuses all waiting requests and all later requests. The running request continues."""
        self._closed = True
        for waiter, _ in self._waiting:
            if not waiter.done():
                waiter.set_exception(ShuttingDown())
        self._waiting.clear()

    async def _wait(self, n: int) -> None:
        if self._closed:
            raise ShuttingDown
        if not self._waiting and self._n_taken + n <= self._n_places:
            self._enter(n)
            return
        if len(self._waiting) >= self._size:
            raise QueueFull(self._size, self.retry_after_s)
        waiter = asyncio.get_running_loop().create_future()
        entry = (waiter, n)
        self._waiting.append(entry)
        try:
            await waiter
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._admit()  # those behind it may need fewer places
            elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._leave(n)  # this request was already running
            raise

    def _enter(self, n: int) -> None:
        self._n_taken += n
        self._n_running += 1

    def _leave(self, n: int) -> None:
        self._n_taken -= n
        self._n_running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._n_taken + self._waiting[0][1] <= self._n_places:
            waiter, n = self._waiting.popleft()
            if not waiter.done():
                self._enter(n)
                waiter.set_result(None)
