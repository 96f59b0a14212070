"""The request queue: one request runs, some wait in order, further requests are refused."""

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
    """A queue whose first request runs.

    *Thread safety*: one event loop only.

    Args:
        size: the largest number of waiting requests.
        clock: a function that returns seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running = False
        self._closed = False
        self._recent_s: deque[float] = deque(maxlen=N_RECENT)

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        return int(self._running)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def retry_after_s(self) -> int:
        """Whole seconds after which a place is probably free: a recent request's time, or 1."""
        if not self._recent_s:
            return 1
        mean = sum(self._recent_s) / len(self._recent_s)
        return min(max(1, math.ceil(mean)), MAX_RETRY_AFTER_S)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits until the request may run, and holds the place until the end of the block.

        Yields the seconds of the wait. A cancelled wait leaves the queue.

        Raises:
            QueueFull: the queue has its largest length.
            ShuttingDown: `close` was called before or during the wait.
        """
        begin = self._clock()
        await self._wait()
        started = self._clock()
        try:
            yield started - begin
        finally:
            self._recent_s.append(self._clock() - started)
            self._next()

    def close(self) -> None:
        """Refuses all waiting requests and all later requests. The running request continues."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ShuttingDown())
        self._waiting.clear()

    async def _wait(self) -> None:
        if self._closed:
            raise ShuttingDown
        if not self._running:
            self._running = True
            return
        if len(self._waiting) >= self._size:
            raise QueueFull(self._size, self.retry_after_s)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._next()  # this request was already the running one
            raise

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._running = False
