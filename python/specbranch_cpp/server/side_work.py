"""Work beside the engine: reading bodies, counting tokens, writing prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fastapi.concurrency import run_in_threadpool

from specbranch_cpp.server.auth import client_of
from specbranch_cpp.server.request_queue import RequestQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

__all__ = ["LARGE", "SideWork"]

LARGE = 65536
"""A body with more bytes is large: reading it may take a second."""

_N_THREADS = 2

ResultT = TypeVar("ResultT")


class SideWork:
    """Runs the work of requests that does not wait for the engine.

    The work of large bodies runs on two threads, and clients take turns as in `RequestQueue`, so
    that neither the event loop nor a small request waits for it.

    *Thread safety*: one event loop only.

    Args:
        queue_size: the largest number of large bodies that wait.
        n_clients: how many clients there are.
    """

    def __init__(self, queue_size: int, n_clients: int) -> None:
        self._turns = RequestQueue(queue_size, _N_THREADS, n_clients)

    async def read(self, request: Request, function: Callable[[bytes], ResultT]) -> ResultT:
        """What a function makes of the body. That of a small body runs in the event loop.

        Raises:
            QueueFull: too many large bodies wait.
            ShuttingDown: `close` was called, and the body is large.
        """
        body = await request.body()
        if len(body) <= LARGE:
            return function(body)
        return await self._in_turn(request, lambda: function(body))

    async def compute(self, request: Request, function: Callable[[], ResultT]) -> ResultT:
        """The result of a function whose time depends on the body. It runs in a thread.

        Raises:
            QueueFull: too many large bodies wait.
            ShuttingDown: `close` was called, and the body is large.
        """
        if len(await request.body()) <= LARGE:
            return await run_in_threadpool(function)
        return await self._in_turn(request, function)

    def close(self) -> None:
        """Refuses large bodies, also those that wait."""
        self._turns.close()

    async def _in_turn(self, request: Request, function: Callable[[], ResultT]) -> ResultT:
        async with self._turns.turn(client=client_of(request.scope)):
            return await run_in_threadpool(function)
