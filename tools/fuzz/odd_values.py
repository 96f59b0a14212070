"""Values at and beyond the limits of what a field may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["odd_bytes", "odd_float", "odd_integer"]

_INTEGERS = (
    0, 1, 2, 3, 7, 8, 16, 31, 32, 33, 48, 63, 64, 65, 127, 128, 255, 256, 1000, 65535, 65536,
    2**20, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -1, -2, -32,
    -(2**31),
)  # fmt: skip
_FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 2.0, math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-45, 1e-12, 1e9,
    1e300,
)  # fmt: skip


def odd_integer(rng: Random, value: int) -> int:
    """Zero, one, a limit, a negative number, or something near the value."""
    near = (value - 1, value + 1, value * 2, value // 2, value * 3, -value, value + 32, value ^ 1)
    return rng.choice(near if rng.random() < 0.45 else _INTEGERS)


def odd_float(rng: Random, value: float) -> float:
    near = (value * 2, -value, value + 1, value / 3, value * 1e6)
    return rng.choice(near if rng.random() < 0.3 else _FLOATS)


def odd_bytes(rng: Random, value: bytes, known: tuple[bytes, ...] = ()) -> bytes:
    """A text that is cut, long, empty, not UTF-8, or that a terminal would obey."""
    ways = (
        b"", value[: len(value) // 2], value + b"\0x", b"\0", value.swapcase(), value * 3,
        b"\x1b[2J\x1b]0;x\x07" + value, b"\xff\xfe\x80" + value, b"%s%n%x" + value,
        "\u202eabc\U0001f600".encode(), value + bytes([rng.randrange(256)]),
        b"a" * rng.choice((63, 64, 65, 127, 128, 1000, 100_000)), b"\r\n" + value, b" " + value,
    )  # fmt: skip
    return rng.choice(known if known and rng.random() < 0.5 else ways)
