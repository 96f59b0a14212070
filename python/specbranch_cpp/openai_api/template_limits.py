"""How much a chat template may compute: steps, characters, processor time, the size of a value.

A template comes from a file, and it runs in this process. `template_sandbox` calls the `Meter` of a
rendering at every loop, call, filter and operator. So the time and the memory of a rendering depend
on the limits only, not on the template. Every value that a template makes has a *weight*: the
characters that it would have as text, and a constant for each element, where parts that are used
twice count twice. No value becomes heavier than the limit, so no single operation takes long, and
the sum of all operations is limited by the steps, by the produced characters and by the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar
from types import GeneratorType
from typing import Any, cast

from jinja2.utils import Namespace

from specbranch_cpp.errors import InvalidArgument

__all__ = ["RUNNING", "LimitError", "Meter", "TemplateLimit", "light"]

VALUE = 1 << 23
"""Largest weight of a value that a template makes."""
PRODUCED = 1 << 26
"""Largest sum of the sizes of all values."""
STEPS = 1 << 21
"""Largest number of steps: turns of loops, calls, filters, operators, attributes."""
SECONDS = 5.0
"""Largest processor time. The other limits come first, except on a very slow machine."""
DEPTH = 100
"""Largest number of macros that call each other."""
NUMBER_BITS = 4096
"""Largest integer."""
WIDTH = 1000
"""Largest width of a formatted value, of a padded text, and of an indentation."""

_ELEMENT = 16  # weight of a number, and of a place in a list
_LIGHT = 1 << 14
_GIVEN = 1 << 28
_CONTAINERS = (list, tuple, set, frozenset)
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class LimitError(Exception):
    """A template computes too much. The message says of what."""


class TemplateLimit(InvalidArgument):
    """A template computes too much, whatever form the messages have."""


def light(value: Any) -> bool:
    """Whether the weight of a value is that of a short conversation."""
    try:
        Meter().weigh(value, _LIGHT)
    except LimitError:
        return False
    return True


class Meter:
    """Counts what one rendering of a template does. Not for several threads.

    Args:
        given: the values that the template gets. The limits grow with them, because a template may
            do something with every message.

    Raises:
        LimitError: in every method; the template exceeds a limit.
    """

    def __init__(self, given: Any = None) -> None:
        self._steps = self._produced = self._depth = 0
        self._end = time.monotonic() + SECONDS
        self._cpu_end = time.thread_time() + SECONDS
        self._largest = self._most_steps = self._most_produced = 1 << 62
        weight = 0 if given is None else self.weigh(given, _GIVEN)
        self._steps = 0
        self._largest = VALUE + 2 * weight
        self._most_steps = STEPS + 4 * weight
        self._most_produced = PRODUCED + 32 * weight

    def step(self) -> None:
        """One step."""
        self._steps += 1
        if self._steps > self._most_steps:
            raise LimitError(f"it takes more than {self._most_steps:,} steps")
        if time.monotonic() > self._end and time.thread_time() > self._cpu_end:
            raise LimitError(f"it takes more than {SECONDS:.0f} seconds")

    def enter(self) -> None:
        """A call begins."""
        self.step()
        self._depth += 1
        if self._depth > DEPTH:
            raise LimitError(f"more than {DEPTH} macros call each other")

    def leave(self) -> None:
        """A call ends."""
        self._depth -= 1

    def room(self, weight: int) -> None:
        """Checks that a value of this weight may be made, before it is."""
        if weight > self._largest:
            raise LimitError(f"a value has more than {self._largest:,} characters or elements")

    def produce(self, size: int) -> None:
        """A value of this size was made, apart from its parts."""
        self._produced += size
        if self._produced > self._most_produced:
            raise LimitError(f"all values have more than {self._most_produced:,} characters")

    def held(self, value: Any) -> Any:
        """The value, whose weight is checked. A generator counts its steps when it is read."""
        self.step()
        if isinstance(value, str):
            self.room(len(value))
            self.produce(len(value))
        elif isinstance(value, (*_CONTAINERS, Mapping)):
            self.weigh(value)
            self.produce(_ELEMENT * len(value))
        elif isinstance(value, (int, float)):
            self._check_number(value)
        elif isinstance(value, (GeneratorType, map, filter, zip, reversed)):
            return self._counted(value)
        return value

    def weigh(self, value: Any, most: int | None = None) -> int:
        """The weight of a value; never more than ``most``, or than the limit."""
        most = self._largest if most is None else most
        total, open_values = 0, [value]
        while open_values:
            one = open_values.pop()
            if isinstance(one, (str, bytes)):
                total += len(one)
            elif isinstance(one, Namespace):
                # Its only attribute; it is printed with what it holds.
                total += _ELEMENT
                open_values.append(object.__getattribute__(one, "_Namespace__attrs"))
            elif isinstance(one, Mapping):
                total += 2 * _ELEMENT * len(one)
                if total <= most:
                    open_values += one.keys()
                    open_values += one.values()
            elif isinstance(one, (*_CONTAINERS, *_VIEWS)):
                total += _ELEMENT * len(cast("Sized", one))
                if total <= most:
                    open_values += cast("Iterable[Any]", one)
            elif isinstance(one, int):
                total += _ELEMENT + one.bit_length() // 3
            else:
                total += _ELEMENT
            if total > most:
                raise LimitError(f"a value has more than {most:,} characters or elements")
            self._steps += 1
        self.step()
        return total

    def text(self, value: Any) -> str:
        """The text of a value, if it is not too long."""
        if not isinstance(value, str):
            self.weigh(value)
            value = str(value)
        self.step()
        self.room(len(value))
        self.produce(len(value))
        return value  # type: ignore[no-any-return]

    def _check_number(self, value: float) -> None:
        if isinstance(value, int) and value.bit_length() > NUMBER_BITS:
            raise LimitError(f"a number has more than {NUMBER_BITS} bits")

    def _counted(self, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            self.held(value)
            yield value


RUNNING: ContextVar[Meter] = ContextVar("RUNNING")
"""The meter of the rendering in this thread."""
