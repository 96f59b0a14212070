"""The acceptance rate of a draft, from recorded generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp.check.report import Acceptance
from specbranch_cpp.check.statistics import share_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.results import Trace


def read_acceptance(traces: Sequence[Trace]) -> Acceptance | None:
    """The acceptance rate from one trace for each text.

    ``None``: the draft was asked at no position. A position counts if the draft's candidates were
    known when the target made its choice.
    """
    by_text = [
        [rank for one in trace.rounds for confidences, rank in one.proposals if confidences]
        for trace in traces
    ]
    by_text = [ranks for ranks in by_text if ranks]
    if not by_text:
        return None
    n_ranks = max(
        len(confidences)
        for trace in traces
        for one in trace.rounds
        for confidences, _ in one.proposals
    )
    hits = [ranks.count(0) for ranks in by_text]
    totals = [len(ranks) for ranks in by_text]
    n = sum(totals)
    return Acceptance(
        alpha=share_interval(hits, totals),
        by_prompt=tuple(h / total for h, total in zip(hits, totals, strict=True)),
        by_rank=tuple(sum(ranks.count(rank) for ranks in by_text) / n for rank in range(n_ranks)),
        n_places=n,
    )
