"""The names of the parts of a split model: ``name-00001-of-00003.gguf``."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["PartName"]

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True)
class PartName:
    """The name of one part.

    Attributes:
        stem: the text before the number of the part.
        number: the number of the part, from 1.
        count: the number of parts, at least 1.
    """

    stem: str
    number: int
    count: int

    @classmethod
    def read(cls, name: str) -> PartName | None:
        """The parts of a file name or path. ``None``: this is not the name of a part."""
        found = _PART.fullmatch(name)
        if found is None:
            return None
        number, count = int(found["number"]), int(found["count"])
        return cls(found["stem"], number, count) if 1 <= number <= count else None

    @property
    def names(self) -> list[str]:
        """The names of all parts in their order."""
        return [
            f"{self.stem}-{number:05d}-of-{self.count:05d}.gguf"
            for number in range(1, self.count + 1)
        ]
