"""How much work a function does. No clock and no busy machine changes the number."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def n_steps(work: Callable[[], object]) -> int:
    """The number of lines of Python that a function runs. A line of a loop counts each time."""
    n_lines = 0

    def count(_frame: FrameType, event: str, _: object) -> Any:
        nonlocal n_lines
        n_lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return n_lines
