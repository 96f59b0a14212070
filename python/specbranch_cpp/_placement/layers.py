"""The largest number of layers that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def most_layers(n_layers: int, excess: Callable[[int], int], excess_of_all: int) -> int:
    """The largest number of layers below ``n_layers`` that fits, 0 if not even one does.

    Memory grows with the layers almost linearly, so that interpolation needs few trials. Every
    second trial at least halves the range. The number that is returned was tried.

    Args:
        n_layers: number of all layers, which do not fit.
        excess: for a number of layers, bytes by which memory is too small; 0 or less: they fit.
        excess_of_all: the same for all layers, above 0.
    """
    low, high = 0, n_layers  # `low` fits, `high` does not
    excess_low: int | None = None
    excess_high = excess_of_all
    halve = False
    while high - low > 1:
        middle = (low + high) // 2
        if excess_low is not None and not halve:
            share = -excess_low / max(1, excess_high - excess_low)
            middle = low + round(share * (high - low) - 0.5)
        middle = min(max(middle, low + 1), high - 1)
        found = excess(middle)
        width = high - low
        if found <= 0:
            low, excess_low = middle, found
        else:
            high, excess_high = middle, found
        halve = not halve and (high - low) * 2 > width
    return low
