"""Passes items that a thread reads to an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from specbranch_cpp._support.raised import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["Pump"]

ItemT = TypeVar("ItemT")


class _End:
    """The last entry in the queue, with the exception of the iterator, if there was one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Pump(Generic[ItemT]):
    """Reads an iterator in its own thread, for the running loop.

    The thread ends with the iterator. It keeps no reference to the pump, so that dropping the
    reader can stop the work.

    Args:
        items: the iterator; only the thread reads it.
        cancel: a function that makes the iterator end soon; it is called if the loop is closed.
    """

    def __init__(self, items: Iterator[ItemT], cancel: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[ItemT | _End] = asyncio.Queue()
        self._ended = loop.create_future()
        thread = threading.Thread(
            target=_pump,
            args=(items, cancel, loop, self._queue, self._ended),
            name="specbranch-pump",
            daemon=True,
        )
        start_thread(thread)

    async def get(self) -> ItemT:
        """The next item.

        Raises:
            StopAsyncIteration: there are no more items.
            Exception: the exception of the iterator, each time.
        """
        item = await self._queue.get()
        if not isinstance(item, _End):
            return item
        self._queue.put_nowait(item)  # for further calls
        if item.error is not None:
            raise item.error
        raise StopAsyncIteration

    async def ended(self) -> None:
        """Waits until the iterator has ended, with or without an exception."""
        await asyncio.shield(self._ended)


def _pump(
    items: Iterator[ItemT],
    cancel: Callable[[], object],
    loop: asyncio.AbstractEventLoop,
    queue: asyncio.Queue[ItemT | _End],
    ended: asyncio.Future[None],
) -> None:
    end = _End(None)
    try:
        for item in items:
            if not _call(loop, queue.put_nowait, item):
                cancel()
    except BaseException as error:  # noqa: BLE001, it is raised where it is read
        end = _End(error)
    del items
    _call(loop, queue.put_nowait, end)
    _call(loop, _set, ended)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> bool:
    """Calls a function in the loop. Returns False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True
