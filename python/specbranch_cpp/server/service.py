"""Runs the requests: one at a time, in order, each with its time limit."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

from specbranch_cpp.errors import DecodeError, EngineClosed
from specbranch_cpp.server.errors import ApiError, GenerationTimeout, ShuttingDown
from specbranch_cpp.server.request_queue import RequestQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.metrics import Metrics
    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["AsyncCalls", "QueuedCall", "Service"]


class AsyncCalls(Protocol):
    """What the server needs of an engine; `specbranch_cpp.AsyncEngine` has it.

    Both calls return the reply, or with ``stream=True`` an asynchronous iterator of chunks that is
    a context manager, too, whose end stops the work; so does cancelling the task that awaits them.
    """

    @property
    def create_completion(self) -> Callable[..., Awaitable[Any]]: ...

    @property
    def create_chat_completion(self) -> Callable[..., Awaitable[Any]]: ...


class QueuedCall:
    """One request: which of the engine's calls, and with what."""

    def __init__(self, endpoint: str, chat: bool, arguments: dict[str, Any]) -> None:
        self.endpoint = endpoint
        self.chat = chat
        self.arguments = arguments

    @property
    def streamed(self) -> bool:
        return bool(self.arguments.get("stream"))


class Service:
    """The engine with its queue.

    *Thread safety*: for one event loop.
    """

    def __init__(
        self, model: Engine, engine: AsyncCalls, settings: ServerSettings, metrics: Metrics
    ) -> None:
        self._model = model
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self.queue = RequestQueue(settings.queue_size)
        self.broken: str | None = None  # why the engine can do nothing any more

    async def run(self, call: QueuedCall, put: Callable[[dict[str, Any]], None]) -> None:
        """Waits for the turn and gives every chunk, or the one reply, to ``put``.

        Cancelling the task stops the work, also in the queue.

        Raises:
            ApiError: queue full, out of time, or the server stops.
            SpecBranchError: of the engine.
        """
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with self.queue.turn() as waited_s:
                self._metrics.waited(waited_s)
                if self.broken is not None:
                    raise ApiError(503, self.broken, code="engine_broken")
                await self._limited(call, put)
        except asyncio.CancelledError:
            if self._stopping:
                raise ShuttingDown from None
            raise
        finally:
            self._tasks.discard(task)

    @property
    def state(self) -> tuple[str, str | None]:
        """``"ok"``, or a word and the reason why nothing can be generated."""
        if self.broken is not None:
            return "engine_broken", self.broken
        if self.queue.closed:
            return "shutting_down", str(ShuttingDown())
        return "ok", None

    def stop_accepting(self) -> None:
        """Sends away who waits and who comes; what runs goes on."""
        self.queue.close()

    def abort(self) -> None:
        """Stops what runs; the clients are told."""
        self._stopping = True
        self.queue.close()
        for task in self._tasks:
            task.cancel()

    async def _limited(self, call: QueuedCall, put: Callable[[dict[str, Any]], None]) -> None:
        limit_s = self._settings.request_timeout_s
        try:
            await asyncio.wait_for(self._generate(call, put), limit_s)
        except asyncio.TimeoutError:
            raise GenerationTimeout(limit_s) from None
        except (DecodeError, EngineClosed):
            self._find_out_if_broken()
            raise

    async def _generate(self, call: QueuedCall, put: Callable[[dict[str, Any]], None]) -> None:
        engine = self._engine
        create = engine.create_chat_completion if call.chat else engine.create_completion
        begin = time.monotonic()
        reply = await create(**call.arguments)
        if not call.streamed:
            put(reply)
            return
        number = 0
        first = 1 if call.chat else 0  # a chat begins with a chunk that only names the role
        async with reply as chunks:
            async for chunk in chunks:
                if number == first:
                    self._metrics.first_token(call.endpoint, time.monotonic() - begin)
                number += 1
                put(chunk)

    def _find_out_if_broken(self) -> None:
        """After a failure: an engine in an unknown state raises the same error at every call."""
        try:
            self._model.generate([0], max_tokens=0)
        except (DecodeError, EngineClosed) as error:
            self.broken = str(error)
