"""The part of a call whose time counts, cut out of its trace.

A window begins and ends where a round of the target ends. It leaves out the first rounds of a call:
there the draft begins anew, which a text without turns does once. What the call decodes after the
end of its stretch does not count either.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench.variants import BASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from specbranch_cpp.bench.turns import Stretch
    from specbranch_cpp.results import Span, Trace, TraceRound


@dataclass(frozen=True)
class _Edge:
    """A place where a window may begin or end.

    Attributes:
        n: tokens of the text up to here.
        n_rounds: rounds of the call up to here.
        at_ms: time since the call began.
    """

    n: int
    n_rounds: int
    at_ms: float


def windowed(stats: Mapping[str, Any], trace: Trace, stretch: Stretch) -> dict[str, Any]:
    """The statistics of a call, restricted to the window of the stretch.

    Args:
        stats: the statistics of the call: the fields of `GenerationStats` and ``finish_reason``.
        trace: the trace of the call.
        stretch: the stretch that the call decoded.

    Returns:
        The statistics, with ``n_timed``: tokens in the window. ``n_drafted`` does not contain
        tokens whose verification came after the window.
    """
    if stretch.timed == 0 and stretch.stop is None:  # the stretch is the whole text
        return {**stats, "n_timed": stats["n_generated"]}
    begin, end = _edges(stats, trace, stretch)
    rounds = trace.rounds[begin.n_rounds : end.n_rounds]
    length = end.at_ms - begin.at_ms
    target, draft = (
        _clipped((span for span in trace.spans if span.side == side), begin.at_ms, end.at_ms)
        for side in ("target", "draft")
    )
    target_ms, draft_ms = sum(b - a for a, b in target), sum(b - a for a, b in draft)
    overlap = _overlap(target, draft)
    drafts = stats["mode"] != BASE
    counts = _counts(rounds) if drafts else {"n_drafted": 0, "n_accepted": 0, "n_rolled_back": 0}
    return {
        **stats,
        **counts,
        "n_timed": end.n - begin.n,
        "n_generated": end.n - begin.n,
        "n_unresolved": 0,
        "n_target_steps": len(rounds),
        "n_draft_steps": sum(
            span.kind == "draft" and begin.at_ms < span.end_ms <= end.at_ms for span in trace.spans
        ),
        "acceptance_histogram": _histogram(rounds) if drafts else [],
        "decode_ms": length,
        "target_busy_ms": target_ms,
        "draft_busy_ms": draft_ms,
        "target_idle_ms": length - target_ms,
        "draft_idle_ms": length - draft_ms if draft else 0.0,
        "overlap_ms": overlap,
        "coordination_ms": max(0.0, length - (target_ms + draft_ms - overlap)),
    }


def _edges(stats: Mapping[str, Any], trace: Trace, stretch: Stretch) -> tuple[_Edge, _Edge]:
    counts = accumulate((len(one.committed) for one in trace.rounds), initial=stretch.start)
    times = (stats["prefill_ms"], *(one.at_ms for one in trace.rounds))
    edges = [_Edge(n, i, at) for i, (n, at) in enumerate(zip(counts, times, strict=True))]
    last = edges[-1]
    if stats["finish_reason"] != "cancelled":  # the text ends here, with all that its end takes
        last = _Edge(last.n, last.n_rounds, stats["prefill_ms"] + stats["decode_ms"])
        edges[-1] = last
    begin = next((edge for edge in edges if edge.n >= stretch.timed), last)
    stop = last.n if stretch.stop is None else stretch.stop
    end = next((edge for edge in edges if edge.n >= stop), last)
    return begin, end if end.n_rounds >= begin.n_rounds else begin


def _clipped(spans: Iterable[Span], begin: float, end: float) -> list[tuple[float, float]]:
    """The parts of the spans in the window, without prefills."""
    return [
        (max(span.begin_ms, begin), min(span.end_ms, end))
        for span in spans
        if span.kind != "prefill" and span.end_ms > begin and span.begin_ms < end
    ]


def _overlap(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> float:
    """The time that spans of both lists share. The spans of each list follow one another."""
    total, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        total += max(0.0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return total


def _counts(rounds: Sequence[TraceRound]) -> dict[str, int]:
    accepted = sum(len(one.committed) - one.branch_miss for one in rounds)
    rolled_back = sum(len(one.rolled_back) for one in rounds)
    return {
        "n_drafted": accepted + rolled_back,
        "n_accepted": accepted,
        "n_rolled_back": rolled_back,
    }


def _histogram(rounds: Sequence[TraceRound]) -> list[int]:
    found = [0] * (max((one.n_accepted for one in rounds), default=-1) + 1)
    for one in rounds:
        found[one.n_accepted] += 1
    return found
