"""The places of the old weights in one dimension of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Copy(NamedTuple):
    """The old indices from `old` on become the new indices from `new` on; `length` indices."""

    new: int
    old: int
    length: int


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor: its new size and the new places of the old indices.

    New indices that no copy covers are added indices.
    """

    new_size: int
    copies: tuple[Copy, ...]

    @classmethod
    def padded(cls, old_size: int, new_size: int) -> Axis:
        """The old indices come first, then the added indices."""
        return cls(new_size, (Copy(0, 0, old_size),))

    @classmethod
    def of_heads(
        cls, placed: Sequence[int | None], old_size: int, new_size: int | None = None
    ) -> Axis:
        """The axis of heads: `placed[new head]` is its old head, or ``None`` for an added head.

        The values of an old head come first in the new head. A `new_size` of ``None`` (default):
        `old_size`.
        """
        new_size = old_size if new_size is None else new_size
        copies: list[Copy] = []
        for new, old in enumerate(placed):
            if old is None:
                continue
            start, origin = new * new_size, old * old_size
            if copies and _end(copies[-1]) == (start, origin):
                copies[-1] = copies[-1]._replace(length=copies[-1].length + old_size)
            else:
                copies.append(Copy(start, origin, old_size))
        return cls(len(placed) * new_size, tuple(copies))

    def without_copies(self) -> Axis:
        return Axis(self.new_size, ())

    def in_bytes(self, block: int, block_bytes: int) -> Axis | None:
        """The same axis in bytes of a quantized row. ``None``: a border cuts a block."""
        numbers = [self.new_size, *(number for copy in self.copies for number in copy)]
        if any(number % block for number in numbers):
            return None

        def size(n: int) -> int:
            return n // block * block_bytes

        copies = tuple(Copy(size(c.new), size(c.old), size(c.length)) for c in self.copies)
        return Axis(size(self.new_size), copies)

    @property
    def covered(self) -> bool:
        """Whether there are no added indices."""
        return sum(copy.length for copy in self.copies) == self.new_size


def _end(copy: Copy) -> tuple[int, int]:
    return copy.new + copy.length, copy.old + copy.length
