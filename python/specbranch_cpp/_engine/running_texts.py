"""Which generations of an engine run or wait."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from specbranch_cpp import _core
    from specbranch_cpp.generation import Generation

__all__ = ["RunningText", "RunningTexts"]


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


class RunningTexts:
    """The generations that run or wait. They are not kept alive here: dropping one stops it.

    *Thread safety*: any thread may call every method.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._texts: dict[int, tuple[weakref.ref[Generation], _core.Request]] = {}

    def add(self, generation: Generation, request: _core.Request) -> int:
        """Adds a generation that was queued, and returns its number."""
        number = next(self._numbers)

        def forget(_: weakref.ref[Generation]) -> None:
            self.remove(number)

        self._texts[number] = weakref.ref(generation, forget), request
        return number

    def remove(self, number: int) -> None:
        """Removes a generation that has ended. A second call does nothing."""
        self._texts.pop(number, None)

    def now(self) -> list[RunningText]:
        """Those of this moment, in the order of their numbers."""
        found = []
        for number, (reference, request) in sorted(self._texts.copy().items()):
            generation = reference()
            if generation is not None:
                found.append(RunningText(number, generation, request))
        return found
