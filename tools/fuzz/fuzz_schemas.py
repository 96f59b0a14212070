"""The fuzzer of rules for texts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fuzz.crowd import Crowd
from fuzz.schema_calls import RuleCase, open_schema_caller

if TYPE_CHECKING:
    from fuzz.findings import Findings

__all__ = ["fuzz_schemas"]


def fuzz_schemas(
    seed: int, first: int, count: int, findings: Findings, until: float = float("inf")
) -> None:
    """Runs the cases ``first`` to ``first + count - 1`` of a seed, as `fuzz_requests` does."""
    open_caller = partial(open_schema_caller, seed)
    crowd = Crowd(open_caller, lambda index: str(RuleCase(seed, index)), findings, seed)
    crowd.run(range(first, first + count), until)
