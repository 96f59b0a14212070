"""Traces of generations in records, and the part of one that a picture shows."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from specbranch_cpp.results import Span, Trace, TraceRound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.bench.variants import Variant

_ROUND = ("at_ms", "n_accepted", "committed", "rolled_back", "branch_hit", "branch_miss")


def variant(variants: Sequence[Variant]) -> Variant | None:
    """The variant whose generation is traced: `specbranch` before `pearl` and the others.

    ``None``: no variant drafts.
    """
    for mode in ("specbranch", "pearl", "auto", "speculative"):
        for each in variants:
            if each.mode == mode:
                return each
    return None


def to_json(trace: Trace) -> dict[str, Any]:
    return {
        "spans": [asdict(span) for span in trace.spans],
        "rounds": [{name: getattr(one, name) for name in _ROUND} for one in trace.rounds],
    }


def from_json(content: dict[str, Any]) -> Trace:
    rounds = (
        {**one, "committed": tuple(one["committed"]), "rolled_back": tuple(one["rolled_back"])}
        for one in content["rounds"]
    )
    return Trace(
        tuple(Span(**span) for span in content["spans"]), tuple(TraceRound(**one) for one in rounds)
    )


def one_round(trace: Trace) -> tuple[float, float] | None:
    """Begin and end, in milliseconds, of a typical round: the round with the median length.

    A round lasts from one verification of the target to the next. A fifth of its length is added on
    both sides. ``None``: the trace has fewer than two verifications.
    """
    times = [one.at_ms for one in trace.rounds]
    rounds = sorted(
        ((begin, end) for begin, end in pairwise(times) if end > begin),
        key=lambda one: one[1] - one[0],
    )
    if not rounds:
        return None
    begin, end = rounds[len(rounds) // 2]
    margin = 0.2 * (end - begin)
    return max(0.0, begin - margin), end + margin
