"""Tasks that wait in the server's queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from specbranch_cpp.server.request_queue import RequestQueue

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


class Track:
    """Tasks that take a turn, and what became of them."""

    def __init__(self, size: int, n_places: int = 1, n_clients: int = 1) -> None:
        self.turns = RequestQueue(size, n_places, n_clients)
        self.order: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def start(self, name: str, *, client: int = 0, alone: bool = False) -> asyncio.Task[None]:
        self._ends[name] = asyncio.Event()
        task = asyncio.create_task(self._take(name, client, alone))
        await settle()
        return task

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def end_all(self) -> None:
        """Ends what runs, one after the other, until nothing runs or waits."""
        ended = 0
        while ended < len(self.order):
            await self.end(self.order[ended])
            ended += 1
        assert (self.turns.n_running, self.turns.n_waiting) == (0, 0)

    async def _take(self, name: str, client: int, alone: bool) -> None:
        async with self.turns.turn(client=client, alone=alone):
            self.order.append(name)
            await self._ends[name].wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
