"""Functions of the caller, asked by an engine in another process."""

from __future__ import annotations

import contextlib
import queue
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from specbranch_cpp.errors import EngineClosed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RemoteChannel", "RemoteTask"]


class SendAndWait(Protocol):
    """Sends an order to the engine's process and waits for the answer."""

    def __call__(self, name: str, *arguments: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class RemoteTask:
    """The same as `_core.ProcessorTask`."""

    id: int
    input_ids: NDArray[np.int32]
    scores: NDArray[np.float32] | None


class RemoteChannel:
    """The same as `_core.ProcessorChannel`; the tasks come from another process.

    Attributes:
        masks: whether there are masks.
        rows: whether there are functions that need logits.
        failed_task: the id of the task that made the generation fail.
        n_open: tasks that have come, and have no answer yet.
    """

    def __init__(self, *, masks: bool, rows: bool) -> None:
        self.masks, self.rows = masks, rows
        self.failed_task: int | None = None
        self.n_open = 0  # one task at a time: the thread of the connection adds, the reader takes
        self._tasks: queue.SimpleQueue[RemoteTask | None] = queue.SimpleQueue()
        self._number = -1
        self._call: SendAndWait | None = None

    def connect(self, number: int, call: SendAndWait) -> None:
        """The generation with this number asks from now on."""
        self._number, self._call = number, call

    def put(self, task: RemoteTask | None) -> None:
        """A task has come. ``None``: no more will come."""
        self.n_open = 0 if task is None else 1
        self._tasks.put(task)

    def next(self) -> RemoteTask | None:
        """Waits for the next task; ``None`` at the end."""
        return self._tasks.get()

    def answer_mask(self, task: RemoteTask, allowed: NDArray[np.uint32]) -> None:
        """Token t is allowed if bit t % 32 of word t // 32 is set.

        Raises:
            InvalidArgument: the mask is not usable; so with `answer_row`.
        """
        self._answer("mask", task, np.ascontiguousarray(allowed, np.uint32).tobytes())

    def answer_row(self, task: RemoteTask, ends: bool) -> None:
        """The scores of the task are edited, or the text ends before them."""
        scores = b"" if task.scores is None else task.scores.tobytes()
        self._answer("row", task, scores, ends)

    def fail(self, task: RemoteTask) -> None:
        """A function raised an exception."""
        self._answer("fail", task)

    def _answer(self, kind: str, task: RemoteTask, *values: object) -> None:
        if self._call is not None:
            self.n_open = 0
            with contextlib.suppress(EngineClosed):  # the text has ended, and `next` says so
                self._call("task", self._number, kind, task.id, *values)
