"""Whether memory grows, in kibibytes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def resident_kib(pid: int | str = "self") -> int:
    """The resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def least_growth(resident: Sequence[int]) -> int:
    """The smallest growth from one look to the next.

    What is lost is lost each time; what the allocator takes for itself is not.
    """
    return min(after - before for before, after in pairwise(resident))
