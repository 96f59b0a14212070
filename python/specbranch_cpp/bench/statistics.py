"""Computes figures from the records of a run, with pure functions.

Speeds are compared only within a round: two variants on the same prompt, at most minutes apart. The
parts of an interrupted round before and after the interruption count as separate rounds.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench import near_ties
from specbranch_cpp.bench.summary import (
    Comparison,
    DifferingText,
    GroupSummary,
    Row,
    Spread,
    Summary,
)
from specbranch_cpp.bench.variants import BASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from specbranch_cpp.bench.records import Record


def summarize(records: Sequence[Record]) -> Summary:
    """The summary of a run's records, the header first."""
    header = records[0]
    grouped: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        if record["kind"] == "generation":
            grouped[_place(record)].append(record)
    places = {
        (pair, placement, prompts, temperature): None
        for pair in range(len(header["plan"]["pairs"]))
        for placement in header["plan"]["placements"]
        for prompts in header["plan"]["prompts"]
        for temperature in header["plan"]["temperatures"]
    }
    gaps = {
        record["key"].removeprefix("difference "): record["gap"]
        for record in records
        if record["kind"] == "difference"
    }
    costs = {
        (record["pair"], record["placement"]): record["costs"]
        for record in records
        if record["kind"] == "engine" and record["costs"]
    }
    groups = tuple(
        _group(place, grouped[place], header["plan"]["variants"], gaps, costs.get(place[:2]))
        for place in places
        if place in grouped
    )
    ratios: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        for mode, one in group.auto.items():
            ratios[mode].append(one.total)
    means = {mode: (geometric_mean(values), min(values)) for mode, values in ratios.items()}
    return Summary(groups, means, sum(map(len, grouped.values())))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _place(record: Record) -> tuple[Any, ...]:
    return record["pair"], record["placement"], record["prompts"], record["temperature"]


def _group(
    place: tuple[Any, ...],
    generations: Sequence[Record],
    variants: Mapping[str, Mapping[str, Any]],
    gaps: Mapping[str, float | None],
    costs: Mapping[str, Any] | None,
) -> GroupSummary:
    by_name: dict[str, list[Record]] = {name: [] for name in variants}
    for record in generations:
        by_name[record["variant"]].append(record)
    base = by_name[BASE]
    speedups = {name: compare(group, base) for name, group in by_name.items() if group}
    best = _best(speedups, variants)
    rows = tuple(
        _row(name, group, variants[name], speedups[name], base, name in best)
        for name, group in by_name.items()
        if group
    )
    auto = {}
    for name in (row.name for row in rows if row.is_best):
        one = compare(by_name.get("auto", []), by_name[name])
        if name != "auto" and one is not None:
            auto[variants[name]["mode"]] = one
    pair, placement, prompts, temperature = place
    return GroupSummary(
        pair=pair,
        placement=placement,
        prompts=prompts,
        temperature=temperature,
        rows=rows,
        auto=auto,
        differences=tuple(_differences(by_name, variants, gaps)),
        step_ratio=step_ratio(generations, costs),
        target_slowdown=costs["target_slowdown"] if costs else None,
        draft_slowdown=costs["draft_slowdown"] if costs else None,
    )


def ms_per_token(record: Record) -> float | None:
    """The decoding time of a token. ``None``: no token was measured."""
    n_timed, ms = _timed(record)
    return ms / n_timed if n_timed > 0 and ms > 0.0 else None


def _timed(record: Record) -> tuple[int, float]:
    """The number of decoded tokens and the milliseconds."""
    stats = record["stats"]
    return stats.get("n_timed", stats["n_generated"]), stats["decode_ms"]


def compare(group: Iterable[Record], base: Iterable[Record]) -> Comparison | None:
    """The speed-up of `group` over `base` in each round. ``None``: they share no round."""
    by_round = {_round(record): record for record in base}
    pairs = []
    for record in group:
        other = by_round.get(_round(record))
        if other is not None and ms_per_token(record) and ms_per_token(other):
            pairs.append((record, other))
    ratios = Spread.of([(ms_per_token(b) or 0.0) / (ms_per_token(r) or 1.0) for r, b in pairs])
    if ratios is None:
        return None
    return Comparison(
        ratios, tokens_per_ms([r for r, _ in pairs]) / tokens_per_ms([b for _, b in pairs])
    )


def _round(record: Record) -> tuple[Any, ...]:
    return record["prompt"], record["repeat"], record["part"]


def tokens_per_ms(group: Sequence[Record]) -> float:
    """The ratio of all tokens and the whole decoding time."""
    ms = sum(_timed(record)[1] for record in group)
    return sum(_timed(record)[0] for record in group) / ms if ms else 0.0


def _over(group: Sequence[Record], part: str, whole: str) -> float | None:
    """The ratio of two sums.

    ``None``: a generation does not have the value, or the denominator is 0.
    """
    values = [(record["stats"].get(part), record["stats"].get(whole)) for record in group]
    if any(a is None or b is None for a, b in values):
        return None
    total = sum(b for _, b in values)
    return float(sum(a for a, _ in values) / total) if total else None


def _best(
    speedups: Mapping[str, Comparison | None], variants: Mapping[str, Mapping[str, Any]]
) -> set[str]:
    """For each mode, the variant with the largest total speed-up."""
    best: dict[str, tuple[float, str]] = {}
    for name, speedup in speedups.items():
        if speedup is not None:
            mode = variants[name]["mode"]
            best[mode] = max(best.get(mode, (0.0, "")), (speedup.total, name))
    return {name for _, name in best.values()}


def _row(
    name: str,
    group: Sequence[Record],
    variant: Mapping[str, Any],
    speedup: Comparison | None,
    base: Sequence[Record],
    is_best: bool,
) -> Row:
    texts = {(record["prompt"], record["repeat"]): record["tokens"] for record in base}
    compared = [r for r in group if (r["prompt"], r["repeat"]) in texts]
    histogram: list[int] = []
    for record in group:
        found = record["stats"].get("acceptance_histogram", ())
        histogram += [0] * (len(found) - len(histogram))
        for i, n in enumerate(found):
            histogram[i] += n
    drafts = variant["mode"] != BASE
    return Row(
        name=name,
        mode=variant["mode"],
        is_peer=variant["is_peer"],
        speedup=speedup,
        tokens_per_second=1000.0 * tokens_per_ms(group),
        mean_accepted_length=_over(group, "n_generated", "n_target_steps"),
        rollback_rate=_over(group, "n_rolled_back", "n_drafted") if drafts else None,
        rollback_per_token=_over(group, "n_rolled_back", "n_generated") if drafts else None,
        acceptance=_over(group, "n_accepted", "n_drafted") if drafts else None,
        coordination_share=_over(group, "coordination_ms", "decode_ms"),
        overlap_share=_over(group, "overlap_ms", "decode_ms") if drafts else None,
        n_texts=len(compared),
        n_equal=sum(r["tokens"] == texts[r["prompt"], r["repeat"]] for r in compared),
        histogram=tuple(histogram),
        mode_reason=group[-1]["stats"].get("mode_reason", "") if variant["mode"] == "auto" else "",
        is_best=is_best,
    )


def _differences(
    by_name: Mapping[str, Sequence[Record]],
    variants: Mapping[str, Mapping[str, Any]],
    gaps: Mapping[str, float | None],
) -> Iterable[DifferingText]:
    texts = {(record["prompt"], record["repeat"]): record["tokens"] for record in by_name[BASE]}
    for name, group in by_name.items():
        for record in group:
            expected = texts.get((record["prompt"], record["repeat"]))
            if expected is None:
                continue
            found = near_ties.first_difference(expected, record["tokens"])
            if found is not None:
                yield DifferingText(
                    name,
                    variants[name]["is_peer"],
                    record["prompt"],
                    found.index,
                    gaps.get(record["key"]),
                )


def step_ratio(generations: Iterable[Record], costs: Mapping[str, Any] | None) -> float | None:
    """The step ratio c: a target step / a draft step, each alone on the machine.

    The step ratio is the ratio of medians from `autoregressive` and `speculative`, where the models
    take turns. Without `speculative`, the engine's step costs are used.
    """
    target: list[float] = []
    draft: list[float] = []
    for record in generations:
        stats = record["stats"]
        if record["variant"] == BASE and stats["n_target_steps"]:
            target.append(stats["target_busy_ms"] / stats["n_target_steps"])
        if record["variant"].startswith("speculative (") and stats["n_draft_steps"]:
            draft.append(stats["draft_busy_ms"] / stats["n_draft_steps"])
    if target and draft and statistics.median(draft) > 0.0:
        return statistics.median(target) / statistics.median(draft)
    if costs and costs["draft_ms"] and costs["draft_ms"][0] > 0.0:
        return float(costs["target_ms"][0] / costs["draft_ms"][0])
    return None
