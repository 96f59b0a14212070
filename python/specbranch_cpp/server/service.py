"""Runs requests in turn, as many at once as the engine can, each with its time limit."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from specbranch_cpp._support import logs
from specbranch_cpp.errors import DecodeError, EngineClosed, EngineDied, SpecBranchError
from specbranch_cpp.server.batches import is_batch, run_batch
from specbranch_cpp.server.embeddings.call import EmbeddingCall
from specbranch_cpp.server.errors import ApiError, GenerationTimeout, ShuttingDown
from specbranch_cpp.server.request_queue import RequestQueue
from specbranch_cpp.server.side_work import SideWork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.metrics import Metrics
    from specbranch_cpp.server.settings import ServerSettings

__all__ = ["AsyncCalls", "QueuedCall", "Service"]

LOGGER = logs.make_logger("specbranch_cpp.server.service")
_RESTARTS = 3
_RESTARTS_S = 600.0
"""An engine whose process has ended is started again at most so often within so many seconds."""


class AsyncCalls(Protocol):
    """The interface of the engine for the server. `specbranch_cpp.AsyncEngine` implements it.

    Both calls return the reply. With ``stream=True`` they return an asynchronous iterator of
    chunks, which is also a context manager. Leaving the context, or cancelling the awaiting task,
    stops the generation.
    """

    @property
    def create_completion(self) -> Callable[..., Awaitable[Any]]: ...

    @property
    def create_chat_completion(self) -> Callable[..., Awaitable[Any]]: ...


class QueuedCall:
    """One request: the call of the engine and its arguments."""

    def __init__(self, endpoint: str, chat: bool, arguments: dict[str, Any]) -> None:
        self.endpoint = endpoint
        self.chat = chat
        self.arguments = arguments
        self.n_prompt = 0  # of a stream, from its first chunk on

    @property
    def streamed(self) -> bool:
        return bool(self.arguments.get("stream"))


class Service:
    """The engine with its queue.

    *Thread safety*: one event loop only.
    """

    def __init__(
        self, model: Engine, engine: AsyncCalls, settings: ServerSettings, metrics: Metrics
    ) -> None:
        self._model = model
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leaving: set[asyncio.Future[None]] = set()  # places of work that nobody waits for
        self._stopping = False
        self.queue = RequestQueue(settings.queue_size, model.n_parallel, settings.n_users)
        self.side_work = SideWork(settings.queue_size, settings.n_users)
        self.broken: str | None = None  # why the engine is broken
        self._restarts: list[float] = []  # when the engine was started again
        self._restart: asyncio.Task[None] | None = None

    async def run(
        self,
        call: QueuedCall | EmbeddingCall,
        put: Callable[[dict[str, Any]], None],
        client: int = 0,
    ) -> None:
        """Waits in the queue, then passes every chunk, or the reply, to ``put``.

        If the task is cancelled, the generation stops, or the request leaves the queue.

        Args:
            call: what to compute.
            put: gets the chunks, or the reply.
            client: who asks, as `client_of` numbers them; clients take turns.

        Raises:
            ApiError: the queue is full, the time is over, or the server is shutting down.
            SpecBranchError: an error of the engine.
        """
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Embeddings are computed elsewhere, but on the same cores.
            alone = isinstance(call, EmbeddingCall)
            async with contextlib.AsyncExitStack() as place:
                turn = self.queue.turn(client=client, alone=alone)
                self._metrics.waited(await place.enter_async_context(turn))
                if self.broken is not None:
                    raise ApiError(503, self.broken, code="engine_broken")
                await self._limited(call, put, place)
        except asyncio.CancelledError:
            if self._stopping:
                raise ShuttingDown from None
            raise
        finally:
            self._tasks.discard(task)

    @property
    def state(self) -> tuple[str, str | None]:
        """``"ok"``, or another status and the reason why the server cannot generate."""
        if self._restart is not None:
            return "loading", self.broken
        if self.broken is not None:
            return "engine_broken", self.broken
        if self.queue.closed:
            return "shutting_down", str(ShuttingDown())
        if self._model.closed:  # nobody knows why yet
            return "engine_broken", "the engine is closed"
        return "ok", None

    def watch(self) -> None:
        """Starts the engine again as soon as its process ends, from now on, in the running loop."""
        loop = asyncio.get_running_loop()
        this = weakref.ref(self)  # the engine's threads must not keep the engine

        def died(error: EngineDied) -> None:
            service = this()
            if service is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(service.start_again, error)

        self._model._on_death(died)

    async def look(self) -> None:
        """Finds out why the engine is closed, if nobody knows yet."""
        if self._model.closed and self.broken is None:
            await self._find_out_if_broken()

    def stop_accepting(self) -> None:
        """Refuses waiting and new requests. The running request continues."""
        self.queue.close()
        self.side_work.close()

    def abort(self) -> None:
        """Stops the running request. The client gets an error."""
        self._stopping = True
        self.stop_accepting()
        for task in self._tasks:
            task.cancel()

    async def _limited(
        self,
        call: QueuedCall | EmbeddingCall,
        put: Callable[[dict[str, Any]], None],
        place: contextlib.AsyncExitStack,
    ) -> None:
        """Computes within the limit. What goes on behind it keeps the place in the queue."""
        limit_s = self._settings.request_timeout_s
        work = asyncio.ensure_future(self._compute(call, put))
        try:
            await asyncio.wait({work}, timeout=limit_s)
            if not work.done():
                raise GenerationTimeout(limit_s)
            work.result()
        except (DecodeError, EngineClosed):
            await self._find_out_if_broken()
            raise
        finally:
            if not work.done():
                # A forward pass cannot be stopped, and may take long.
                work.cancel()
                leaving = asyncio.ensure_future(_leave(place.pop_all(), work))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def _compute(
        self, call: QueuedCall | EmbeddingCall, put: Callable[[dict[str, Any]], None]
    ) -> None:
        if isinstance(call, EmbeddingCall):
            put(await call.run())
        else:
            await self._generate(call, put)

    async def _generate(self, call: QueuedCall, put: Callable[[dict[str, Any]], None]) -> None:
        engine = self._engine
        create = engine.create_chat_completion if call.chat else engine.create_completion
        if is_batch(call.arguments):
            # The engine would draw a seed for each text.
            given = {"seed": self._model._seeds.getrandbits(32), **call.arguments}
            await run_batch(create, given, put, self._model.n_parallel)
            return
        begin = time.monotonic()
        reply = await create(**call.arguments)
        if not call.streamed:
            put(reply)
            return
        number = 0
        first = 1 if call.chat else 0  # the first chunk of a chat contains only the role
        call.n_prompt = reply.generation.n_prompt
        async with reply as chunks:
            async for chunk in chunks:
                if number == first:
                    self._metrics.first_token(call.endpoint, time.monotonic() - begin)
                number += 1
                put(chunk)

    async def _find_out_if_broken(self) -> None:
        """Called after a failure: an engine in an unknown state raises its error at every call."""
        try:
            await asyncio.to_thread(self._model.generate, [0], max_tokens=0)
        except EngineDied as error:
            self.start_again(error)
        except (DecodeError, EngineClosed) as error:
            self.broken = str(error)

    def start_again(self, error: EngineDied) -> None:
        """Loads the models again, unless that was done too often. Requests get 503 meanwhile.

        It does nothing if that is done already, or if the engine lives again.
        """
        if self._restart is not None or self.queue.closed or not self._model.closed:
            return
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < _RESTARTS_S]
        was_known, self.broken = self.broken is not None, str(error)
        if len(self._restarts) >= _RESTARTS:
            if not was_known:
                LOGGER.error("%s; it has ended %d times and stays so", error, _RESTARTS + 1)
            return
        LOGGER.warning("%s; it is started again", error)
        self._restarts.append(now)
        self._restart = asyncio.get_running_loop().create_task(self._load_again())

    async def _load_again(self) -> None:
        try:
            await asyncio.to_thread(self._model.restart)
        except SpecBranchError as error:
            LOGGER.error("the engine could not be started again: %s", error)
            self.broken = str(error)
        else:
            LOGGER.warning("the engine has started again")
            self.broken = None
        finally:
            self._restart = None
        await self.look()  # its process may have ended meanwhile


async def _leave(place: contextlib.AsyncExitStack, work: asyncio.Future[None]) -> None:
    """Frees a place when the work has ended."""
    async with place:
        await asyncio.gather(work, return_exceptions=True)
