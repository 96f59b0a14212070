"""The figures that `statistics` computes from the records of a run."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.bench import intervals, near_ties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.bench.intervals import RatioInterval


@dataclass(frozen=True)
class Spread:
    """The quartiles and the number of some values."""

    q1: float
    median: float
    q3: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """``None``: there are no values."""
        if not values:
            return None
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(q1, median, q3, len(values))


@dataclass(frozen=True)
class Comparison:
    """The speed of a variant divided by that of another.

    Attributes:
        ratios: the ratios of single texts.
        total: the ratio of all tokens over all time in these texts.
        interval: the interval of `total`. ``None``: the texts are of fewer than two prompts.
        more_texts: number of further prompts that the wanted precision needs; 0: it is reached.
            ``None``: not known, or more than a million.
    """

    ratios: Spread
    total: float
    interval: RatioInterval | None = None
    more_texts: int | None = None

    @property
    def told_apart(self) -> bool:
        """Whether the texts show which of the two variants is faster."""
        return self.interval is not None and not self.interval.contains_1


@dataclass(frozen=True)
class Row:
    """One variant in one group.

    Attributes:
        name: name of the variant.
        mode: its mode, or the name of the engine.
        is_peer: whether this is another engine.
        speedup: speed-up over `autoregressive`. ``None``: they share no part of a text.
        tokens_per_second: decoding speed.
        mean_accepted_length: M, tokens of the text per target step. ``None``, here and below: not
            known.
        rollback_rate: RB, share of the drafted tokens that were rolled back.
        rollback_per_token: rolled back tokens per token of the text.
        acceptance: share of the drafted tokens that became text.
        coordination_share: share of the time in which neither model computed.
        overlap_share: share of the time in which both models computed.
        n_texts: number of measured texts that can be compared.
        n_equal: number of them that are equal to the text of `autoregressive`.
        histogram: at index i, the number of target steps that accepted i tokens.
        mode_reason: the reason for the decision of `auto` in the last text.
        is_best: whether this is the best setting of its mode.
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
    """A text that differs from that of `autoregressive`; see `near_ties.Difference`."""

    variant: str
    is_peer: bool
    prompt: int
    repeat: int
    index: int
    gap: float | None

    @property
    def is_near_tie(self) -> bool:
        return self.gap is not None and self.gap <= near_ties.LIMIT


@dataclass(frozen=True)
class GroupSummary:
    """One pair, placement, set of prompts and temperature.

    Attributes:
        pair: index of the pair in the header.
        placement: name of the placement.
        prompts: name of the prompt set.
        temperature: temperature of the texts.
        rows: one row for each variant, in the order of the header.
        auto: the speed of `auto` divided by that of the best setting of each other mode and engine,
            by name.
        fastest: name of the variant with the largest total speed-up. ``None``: none is known.
        as_fast: names of the variants that cannot be told apart from the fastest one.
        differences: turns whose texts differ.
        step_ratio: step ratio c, target step / draft step, each alone. ``None``: not known.
        target_slowdown: time of a target step while the draft runs, divided by its time alone.
            ``None``: not known.
        draft_slowdown: the same ratio for a draft step. ``None``: not known.
    """

    pair: int
    placement: str
    prompts: str
    temperature: float
    rows: tuple[Row, ...]
    auto: dict[str, Comparison]
    fastest: str | None
    as_fast: tuple[str, ...]
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
        groups: the groups.
        auto_means: the speed of `auto` divided by that of the best setting of each other mode and
            engine: geometric mean over the groups, and least value.
        n_items: number of measured texts, of all variants.
        precision: wanted precision of the speed-ups: a share of them.
    """

    groups: tuple[GroupSummary, ...]
    auto_means: dict[str, tuple[float, float]]
    n_items: int
    precision: float = intervals.PRECISION

    @property
    def differences(self) -> list[DifferingText]:
        """The differences of this engine's own modes."""
        return [d for group in self.groups for d in group.differences if not d.is_peer]
