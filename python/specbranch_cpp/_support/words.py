"""Numbers and errors in words."""

from __future__ import annotations

import math
import re

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def readable(n_bytes: int) -> str:
    """Such as ``12.3 MiB``."""
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    power = min(int(math.log2(n_bytes)) // 10, len(_UNITS))
    number = n_bytes / 1024**power
    return f"{number:.{0 if number >= 100 else 1}f} {_UNITS[power - 1]}"


def message(error: BaseException) -> str:
    """What an error says, without the method of the engine that says it."""
    return re.sub(r"^\[[\w:]+\] ", "", str(error))


def count(number: float) -> str:
    """Such as ``7.3 million``."""
    for size, unit in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,.0f}"


def several(n: int, thing: str) -> str:
    """Such as ``1 text`` and ``2 texts``."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"
