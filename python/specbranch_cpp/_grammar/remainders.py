"""Limits ``multipleOf`` in schemas for llguidance, which has a state for each remainder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

__all__ = ["MOST_REMAINDERS", "has_too_many_remainders"]

MOST_REMAINDERS = 100_000
"""llguidance computes with a state for each remainder of ``multipleOf``, without a limit."""

_MOST_PLACES = 15


def has_too_many_remainders(schema: Any) -> bool:
    """Whether the numbers of a schema have too many remainders for llguidance.

    Parts of a schema may rule the same number. Then the least common multiple of their steps
    counts, so it must be small for all steps of the schema. What looks like a step in the data of a
    schema counts, too, because a reference may lead there.
    """
    steps = set(_steps(schema))
    if math.inf in steps:
        return True
    fractions = [Fraction(repr(step)) for step in steps]
    places = _common(10**_MOST_PLACES, (one.denominator for one in fractions))
    return places is None or (
        _common(MOST_REMAINDERS, (int(one * places) for one in fractions)) is None
    )


def _common(most: int, numbers: Iterable[int]) -> int | None:
    """The least common multiple. ``None``: it is larger than `most`."""
    common = 1
    for number in numbers:
        common = math.lcm(common, number)
        if common > most:
            return None
    return common


def _steps(schema: Any) -> Iterator[float]:
    """All steps in a schema, without recursion."""
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            step = node.get("multipleOf")
            if isinstance(step, int | float) and not isinstance(step, bool) and step > 0:
                yield step
            left += node.values()
        elif isinstance(node, list | tuple):
            left += node
