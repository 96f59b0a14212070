"""Which generations of an engine run or wait."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from specbranch_cpp import _core
    from specbranch_cpp.generation import Generation

__all__ = ["RunningText", "RunningTexts", "TextWatcher"]

_ALL = 2**31 - 1  # more rounds than a text has


class RunningText(NamedTuple):
    """A generation whose end was not read yet.

    Attributes:
        number: counts the generations of the engine, from 0, in the order of the queue.
        generation: the generation.
        request: what it was asked for.
    """

    number: int
    generation: Generation
    request: _core.Request

    def record_since(self, n_spans: int) -> _core.Trace:
        """The commands after the first ``n_spans``, without rounds.

        There are none if the request does not want a trace.

        Raises:
            SpecBranchError: the engine is closed, or its process has ended.
        """
        return self.generation._core.trace_since(n_spans, _ALL)


class TextWatcher(Protocol):
    """Follows what the models do for each generation."""

    @property
    def is_looking(self) -> bool:
        """Whether generations that begin now shall record their commands."""

    def ended(self, text: RunningText, reason: str) -> None:
        """The end of a generation was read. It is called on the reader's thread."""


class RunningTexts:
    """The generations that run or wait. They are not kept alive here: dropping one stops it.

    *Thread safety*: any thread may call every method.

    Attributes:
        watchers: who follows the generations.
    """

    def __init__(self) -> None:
        self.watchers: list[TextWatcher] = []
        self._numbers = itertools.count()
        self._texts: dict[int, tuple[weakref.ref[Generation], _core.Request]] = {}

    @property
    def are_watched(self) -> bool:
        """Whether generations that begin now shall record their commands."""
        return any(watcher.is_looking for watcher in self.watchers)

    def add(self, generation: Generation, request: _core.Request) -> int:
        """Adds a generation that was queued, and returns its number."""
        number = next(self._numbers)

        def forget(_: weakref.ref[Generation]) -> None:
            self._texts.pop(number, None)

        self._texts[number] = weakref.ref(generation, forget), request
        return number

    def end(self, number: int, generation: Generation, reason: str) -> None:
        """Removes a generation whose end was read. A second call does nothing.

        Args:
            number: of the generation.
            generation: the generation.
            reason: its finish reason, or ``"failed"``.
        """
        _, request = self._texts.pop(number, (None, None))
        if request is not None:
            for watcher in self.watchers:
                watcher.ended(RunningText(number, generation, request), reason)

    def now(self) -> list[RunningText]:
        """Those of this moment, in the order of their numbers."""
        found = []
        for number, (reference, request) in sorted(self._texts.copy().items()):
            generation = reference()
            if generation is not None:
                found.append(RunningText(number, generation, request))
        return found
