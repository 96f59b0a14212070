"""The request queue: a few requests run, some wait, further requests are refused."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.server.errors import QueueFull, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["RequestQueue"]

MAX_RETRY_AFTER_S = 600
N_RECENT = 16


class RequestQueue:
    """A queue whose first requests run.

    Clients with waiting requests take turns: each turn admits the oldest request of one client, and
    a client that begins to wait comes after the others. No request overtakes another one of the
    same client, and none overtakes the one whose turn it is.

    A client with a waiting request leaves room for one request of each client that has none, but
    for no more than half of the queue.

    *Thread safety*: one event loop only.

    Args:
        size: the largest number of waiting requests, of all clients together.
        n_places: the largest number of requests that run at once.
        n_clients: how many clients there are, 1 or more.
        clock: a function that returns seconds.
    """

    def __init__(
        self,
        size: int,
        n_places: int = 1,
        n_clients: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._n_places = n_places
        self._n_clients = n_clients
        self._clock = clock
        self._waiting = _Waiting()
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
    async def turn(self, *, client: int = 0, alone: bool = False) -> AsyncIterator[float]:
        """Waits until the request may run, and holds the place until the end of the block.

        Yields the seconds of the wait. A cancelled wait leaves the queue.

        Args:
            client: the number of the client, from 0.
            alone: whether no other request may run meanwhile.

        Raises:
            QueueFull: the queue has no room for this client.
            ShuttingDown: `close` was called before or during the wait.
        """
        begin = self._clock()
        n = self._n_places if alone else 1
        await self._wait(client, n)
        started = self._clock()
        try:
            yield started - begin
        finally:
            self._recent_s.append(self._clock() - started)
            self._leave(n)

    def close(self) -> None:
        """Refuses all waiting requests and all later requests. The running request continues."""
        self._closed = True
        while (entry := self._waiting.first()) is not None:
            self._waiting.take()
            entry.waiter.set_exception(ShuttingDown())

    async def _wait(self, client: int, n: int) -> None:
        if self._closed:
            raise ShuttingDown
        if not len(self._waiting) and self._n_taken + n <= self._n_places:
            self._enter(n)
            return
        n_free = self._size - len(self._waiting)
        if n_free <= self._n_kept_from(client):
            raise QueueFull(len(self._waiting), self.retry_after_s, kept=n_free > 0)
        waiter = asyncio.get_running_loop().create_future()
        entry = _Entry(client, waiter, n)
        self._waiting.add(entry)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiting.discard(entry)
                self._admit()  # those behind it may need fewer places
            elif waiter.exception() is None:
                self._leave(n)  # this request was already running
            raise

    def _n_kept_from(self, client: int) -> int:
        """Places that this client may not take, because other clients may need them."""
        if not self._waiting.has(client):
            return 0
        return min(self._n_clients - self._waiting.n_clients, self._size // 2)

    def _enter(self, n: int) -> None:
        self._n_taken += n
        self._n_running += 1

    def _leave(self, n: int) -> None:
        self._n_taken -= n
        self._n_running -= 1
        self._admit()

    def _admit(self) -> None:
        while (entry := self._waiting.first()) is not None:
            if self._n_taken + entry.n > self._n_places:
                return
            self._waiting.take()
            self._enter(entry.n)
            entry.waiter.set_result(None)


@dataclass(frozen=True, eq=False)
class _Entry:
    """A waiting request that needs ``n`` places."""

    client: int
    waiter: asyncio.Future[None]
    n: int


class _Waiting:
    """The waiting requests by client. The first client is the one whose turn it is."""

    def __init__(self) -> None:
        self._clients: dict[int, deque[_Entry]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    @property
    def n_clients(self) -> int:
        """Clients with a waiting request."""
        return len(self._clients)

    def has(self, client: int) -> bool:
        """Whether a request of this client waits."""
        return client in self._clients

    def add(self, entry: _Entry) -> None:
        """Adds a request behind those of its client."""
        self._clients.setdefault(entry.client, deque()).append(entry)

    def discard(self, entry: _Entry) -> None:
        """Removes a request, if it is there. Its client keeps its turn for its other requests."""
        own = self._clients.get(entry.client)
        if own is None or entry not in own:
            return
        own.remove(entry)
        if not own:
            del self._clients[entry.client]

    def first(self) -> _Entry | None:
        """The request whose turn it is. Cancelled requests that have not left yet are removed."""
        while self._clients:
            entry = next(iter(self._clients.values()))[0]
            if not entry.waiter.done():
                return entry
            self.discard(entry)
        return None

    def take(self) -> None:
        """Removes the first request; its client has its next turn after the others."""
        client, own = next(iter(self._clients.items()))
        own.popleft()
        del self._clients[client]
        if own:
            self._clients[client] = own
