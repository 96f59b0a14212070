"""What a saved profile says, for simulations: its content, and how often the draft was right."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from specbranch_cpp._support import checked
from specbranch_cpp._support.files import from_json, read_file
from specbranch_cpp.errors import InvalidArgument

__all__ = ["ROUNDED", "first_choices", "read"]

ROUNDED = 1.0 + 1e-6
"""Hits of a profile may be above their number by rounding, at most by this factor."""


def read(source: str | os.PathLike[str]) -> Any:
    """The content of a file of `Engine.save_profile`.

    Raises:
        InvalidArgument: it cannot be read.
    """
    try:
        return from_json(read_file(os.fsdecode(checked.path("source", source))))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidArgument(f"profile {str(source)!r} cannot be read: {reason}") from None


def first_choices(content: Mapping[str, Any]) -> tuple[float, float]:
    """The weight of the positions at which the draft was asked, and of those where it was right.

    Early positions weigh less than late ones. There is a table for each class of temperatures; this
    is the one with the most observations.

    Raises:
        InvalidArgument: a table is damaged.
    """
    counts = []
    for i, table in checked.items("acceptance", content.get("acceptance") or ()):
        if not isinstance(table, Mapping):
            raise InvalidArgument(f"acceptance[{i}] is {table!r:.60}; it must be a table")
        n, hits = (
            checked.at_least(f"acceptance[{i}].{name}", table.get(name, 0.0), 0.0)
            for name in ("first_count", "first_hits")
        )
        if hits > ROUNDED * n:
            raise InvalidArgument(
                f"acceptance[{i}].first_hits is {hits}; it must be at most first_count, {n}"
            )
        counts.append((n, hits))
    return max(counts, default=(0.0, 0.0))
