"""Whose turn it is: one request runs, some wait in order, the others are sent away."""

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
    """A queue in which the one at the front runs.

    *Thread safety*: for one event loop.

    Args:
        size: how many may wait.
        clock: seconds since some time.
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
        """Whole seconds after which a place should be free: a usual run's, at least 1."""
        if not self._recent_s:
            return 1
        mean = sum(self._recent_s) / len(self._recent_s)
        return min(max(1, math.ceil(mean)), MAX_RETRY_AFTER_S)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits for its turn, which lasts as long as the block; gives the seconds waited.

        A wait that is cancelled leaves the queue.

        Raises:
            QueueFull: as many wait as may.
            ShuttingDown: `close` was called, before or while waiting.
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
        """Sends away all who wait, and whoever comes. What runs goes on."""
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
                self._next()  # it was our turn already
            raise

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._running = False
