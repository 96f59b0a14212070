"""What a fuzzer found: counts, and failures that can be repeated."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Failure", "Findings"]


@dataclass(frozen=True)
class Failure:
    """A broken promise.

    Attributes:
        seed: the seed of the run.
        index: the index of the case.
        what: how it failed, such as ``"load: SIGABRT"``.
        description: the case.
        words: the error, or the end of what was written to standard error.
    """

    seed: int
    index: int
    what: str
    description: str
    words: str = ""

    def __str__(self) -> str:
        return (
            f"seed {self.seed} index {self.index}: {self.what}: {self.description}\n  {self.words}"
        )


@dataclass
class Findings:
    """Counts of outcomes, and the failures.

    Args:
        folder: where failures are recorded. ``None`` (default): nowhere.
    """

    folder: Path | None = None
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    n_cases: int = 0
    peak_bytes: int = 0

    def fail(self, failure: Failure, data: bytes | None = None) -> None:
        """Records a failure, with the file that causes it."""
        self.failures.append(failure)
        print(failure, flush=True)
        if self.folder is None:
            return
        with (self.folder / "failures.jsonl").open("a") as file:
            file.write(json.dumps(asdict(failure)) + "\n")
        if data is not None:
            (self.folder / f"{failure.seed}-{failure.index}.gguf").write_bytes(data)

    def note(self, line: dict[str, object]) -> None:
        """Records a case that is no failure, in ``cases.jsonl``."""
        if self.folder is not None:
            with (self.folder / "cases.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    def report(self, seconds: float) -> str:
        lines = [f"{self.n_cases} cases in {seconds:.0f} s"]
        lines += [f"  {count:7d}  {name}" for name, count in sorted(self.counts.items())]
        if self.peak_bytes:
            lines.append(f"  largest memory of a case: {self.peak_bytes / 1e6:.0f} MB")
        lines.append(f"{len(self.failures)} failures")
        return "\n".join(lines)
