"""Sizes in words."""

from __future__ import annotations

import math

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def readable(n_bytes: int) -> str:
    """Such as ``12.3 MiB``."""
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    power = min(int(math.log2(n_bytes)) // 10, len(_UNITS))
    number = n_bytes / 1024**power
    return f"{number:.{0 if number >= 100 else 1}f} {_UNITS[power - 1]}"
