"""One defect that can be put into the core's sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = "cpp/specbranch"


class StaleMutationError(Exception):
    """The text that a mutation replaces is not in its source, or more than once."""


@dataclass(frozen=True)
class Mutation:
    """One defect: `old`, which stands exactly once in cpp/specbranch/`file`, becomes `new`."""

    name: str
    breaks: str
    file: str
    old: str
    new: str

    def path(self, tree: Path) -> Path:
        return tree / SOURCES / self.file

    def read(self, tree: Path) -> str:
        """The source as it is in `tree`; raises StaleMutationError if `old` is not there once."""
        text = self.path(tree).read_text()
        n_found = text.count(self.old)
        if n_found != 1:
            raise StaleMutationError(
                f"{self.name}: its text stands {n_found} times in {SOURCES}/{self.file}, not once; "
                f"bring tools/mutations up to date:\n{self.old}"
            )
        return text
