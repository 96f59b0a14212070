"""A streamed answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from specbranch_cpp.generation import Generation

__all__ = ["Stream"]

ChunkT = TypeVar("ChunkT")


class Stream(Generic[ChunkT]):
    """An iterator of chunks, and a context manager.

    The generation runs whether or not you read it. It stops within one forward pass if you drop the
    object, leave its ``with`` block, call `close` or `cancel`, or press Ctrl-C. Only one thread may
    read at a time.
    """

    def __init__(
        self, chunks: Iterator[ChunkT], generation: Generation, cancel: Callable[[], None]
    ) -> None:
        self._chunks = chunks
        self._cancel = cancel
        self.generation = generation

    def __iter__(self) -> Stream[ChunkT]:
        return self

    def __next__(self) -> ChunkT:
        """Waits for the next chunk.

        Raises:
            DecodeError: or another error of `Generation.__next__`.
        """
        return next(self._chunks)

    def cancel(self) -> None:
        """Stops the generation. You can still read the chunks that exist."""
        self._cancel()

    def close(self) -> None:
        """Stops the generation. Afterwards there are no more chunks."""
        self._cancel()
        self._chunks = iter(())

    def __enter__(self) -> Stream[ChunkT]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
