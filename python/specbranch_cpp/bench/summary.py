"""The figures that `statistics` takes from the records of a run."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.bench import near_ties

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Spread:
    """Of some numbers: quartiles, and how many there are."""

    q1: float
    median: float
    q3: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None: there are no values."""
        if not values:
            return None
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(q1, median, q3, len(values))


@dataclass(frozen=True)
class Comparison:
    """How many times as fast one variant is as another.

    Attributes:
        ratios: of single rounds.
        total: of all tokens over all time, in these rounds.
    """

    ratios: Spread
    total: float


@dataclass(frozen=True)
class Row:
    """One variant in one group.

    Attributes:
        name: of the variant.
        mode: its mode, or the engine.
        is_peer: another engine.
        speedup: over `autoregressive`; None: they share no round.
        tokens_per_second: of decoding.
        mean_accepted_length: M, tokens of the text per target step; None here and below: not known.
        rollback_rate: RB, share of the drafted tokens that were rolled back.
        rollback_per_token: rolled back tokens per token of the text.
        acceptance: share of the drafted tokens that became text.
        coordination_share: of the time, in which neither model computed.
        overlap_share: of the time, in which both did.
        n_texts: that were measured and can be compared.
        n_equal: of these, equal to the text of `autoregressive`.
        histogram: at index i the number of target steps that accepted i tokens.
        why: what `auto` says of the last text.
        is_best: of the settings of its mode.
    """

    name: str
    mode: str
    is_peer: bool
    speedup: Comparison | None
    tokens_per_second: float
    mean_accepted_length: float | None
    rollback_rate: float | None
    rollback_per_token: float | None
    acceptance: float | None
    coordination_share: float | None
    overlap_share: float | None
    n_texts: int
    n_equal: int
    histogram: tuple[int, ...]
    mode_reason: str
    is_best: bool


@dataclass(frozen=True)
class DifferingText:
    """A text that is not that of `autoregressive`; see `near_ties.Difference`."""

    variant: str
    is_peer: bool
    prompt: int
    index: int
    gap: float | None

    @property
    def is_near_tie(self) -> bool:
        return self.gap is not None and self.gap <= near_ties.LIMIT


@dataclass(frozen=True)
class GroupSummary:
    """One pair, placement, set of prompts and temperature.

    Attributes:
        pair: index in the header.
        placement: its name.
        prompts: name of the set.
        temperature: of the choice.
        rows: one a variant, in the header's order.
        auto: `auto` compared with the best setting of each other mode and engine, by its name.
        differences: texts that are not equal.
        step_ratio: c, target step over draft step, each alone; None: not known.
        target_slowdown: s, of a target step while the draft runs; None: not known.
        draft_slowdown: likewise.
    """

    pair: int
    placement: str
    prompts: str
    temperature: float
    rows: tuple[Row, ...]
    auto: dict[str, Comparison]
    differences: tuple[DifferingText, ...]
    step_ratio: float | None
    target_slowdown: float | None
    draft_slowdown: float | None

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    @property
    def best(self) -> list[Row]:
        """The best setting of every mode and engine."""
        return [row for row in self.rows if row.is_best]


@dataclass(frozen=True)
class Summary:
    """All groups of a run, in the order of the plan.

    Attributes:
        groups: see there.
        auto_means: `auto` over the best setting of each other mode and engine: geometric mean over
            the groups of the ratio of totals, and the least.
        n_items: generations measured.
    """

    groups: tuple[GroupSummary, ...]
    auto_means: dict[str, tuple[float, float]]
    n_items: int

    @property
    def differences(self) -> list[DifferingText]:
        """Of this engine's own modes."""
        return [d for group in self.groups for d in group.differences if not d.is_peer]
