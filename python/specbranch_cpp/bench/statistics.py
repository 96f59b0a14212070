"""Computes figures from the records of a run, with pure functions.

Speeds are compared only within a stretch of a text that two variants decoded soon after each other,
or within a text if one of them decoded the text in one turn. Turns before and after an interruption
are not compared.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

from specbranch_cpp.bench.intervals import PRECISION, PairedTimes, ratio_interval
from specbranch_cpp.bench.reference import Reference
from specbranch_cpp.bench.summary import (
    Comparison,
    DifferingText,
    GroupSummary,
    Row,
    Spread,
    Summary,
)
from specbranch_cpp.bench.variants import BASE, can_decode, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from specbranch_cpp.bench.records import Record


Turns: TypeAlias = "list[Record]"
Texts: TypeAlias = "dict[tuple[int, int], Turns]"
"""The turns of one variant by prompt and repeat."""
_NOTHING = PairedTimes(0.0, 0, 0.0, 0)
_FEWEST_TEXTS = 6  # prompts before which a run does not stop, because intervals of few texts vary


def summarize(records: Sequence[Record]) -> Summary:
    """The summary of a run's records, the header first."""
    header = records[0]
    precision = _precision(records)
    grouped: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        if record["kind"] == "turn":
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
        _Group(place, grouped[place], header["plan"]["variants"], precision).summary(
            gaps, costs.get(place[:2])
        )
        for place in places
        if place in grouped
    )
    ratios: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        for mode, one in group.auto.items():
            ratios[mode].append(one.total)
    means = {mode: (geometric_mean(values), min(values)) for mode, values in ratios.items()}
    n_items = sum(_is_complete(turns) for each in grouped.values() for turns in _all_texts(each))
    return Summary(groups, means, n_items, precision)


def precise_after(
    records: Sequence[Record], place: Mapping[str, Any], precision: float
) -> int | None:
    """The number of prompts after which all speed-ups of this engine were precise enough.

    Args:
        records: the records of a run, the header first.
        place: pair, placement, prompt set and temperature.
        precision: the wanted precision: a share of the speed-ups.

    Returns:
        The number. ``None``: there are too few texts, or a speed-up is less precise.
    """
    plan = records[0]["plan"]
    found = [r for r in records if r["kind"] == "turn" and _place(r) == _place(place)]
    group = _Group(_place(place), found, plan["variants"], precision)
    has_draft = plan["pairs"][place["pair"]]["draft"] is not None
    speedups = [
        group.speedup(name)
        for name, variant in plan["variants"].items()
        if not variant["is_peer"]
        and variant["mode"] != BASE
        and can_decode(variant["mode"], variant.get("sources", "all"), has_draft=has_draft)
    ]
    n = len({record["prompt"] for record in found})
    precise = all(one is not None and one.more_texts == 0 for one in speedups)
    return n if speedups and n >= _FEWEST_TEXTS and precise else None


def _precision(records: Sequence[Record]) -> float:
    """The precision that the latest run wanted."""
    begins = (r["precision"] for r in reversed(records) if r["kind"] == "begin")
    return float(next(begins, PRECISION))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _place(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return record["pair"], record["placement"], record["prompts"], record["temperature"]


def _all_texts(turns: Iterable[Record]) -> Iterable[Turns]:
    """The turns of every text of every variant."""
    found: dict[tuple[Any, ...], Turns] = defaultdict(list)
    for record in turns:
        found[record["variant"], record["prompt"], record["repeat"]].append(record)
    return found.values()


def _texts(turns: Iterable[Record]) -> Texts:
    """The turns of one variant, by text."""
    found: Texts = defaultdict(list)
    for record in turns:
        found[record["prompt"], record["repeat"]].append(record)
    return dict(found)


def _is_complete(turns: Turns) -> bool:
    """Whether the turns are those of a whole text."""
    if any(record["stretch"] is None for record in turns):
        return True
    indices = sorted(record["stretch"] for record in turns)
    last = max(turns, key=lambda record: record["stretch"])
    whole = indices == list(range(len(indices)))
    return whole and last["stats"].get("finish_reason") != "cancelled"


def _timed(turns: Iterable[Record]) -> tuple[float, int]:
    """The milliseconds, and the number of tokens that they took."""
    stats = [record["stats"] for record in turns]
    n = sum(each.get("n_timed", each["n_generated"]) for each in stats)
    return sum(each["decode_ms"] for each in stats), n


def _paired(own: Turns, base: Turns) -> PairedTimes:
    """The times of what two variants decoded of one text in the same part of the run."""
    if not base:
        return _NOTHING
    if any(record["stretch"] is None for record in (*own, *base)):
        one_part = len({record["part"] for record in (*own, *base)}) == 1
        if not (one_part and _is_complete(own) and _is_complete(base)):
            return _NOTHING
        return PairedTimes(*_timed(own), *_timed(base))
    others = {(record["stretch"], record["part"]): record for record in base}
    pairs = [
        (record, other)
        for record in own
        if (other := others.get((record["stretch"], record["part"]))) is not None
    ]
    return PairedTimes(*_timed(a for a, _ in pairs), *_timed(b for _, b in pairs))


def compare(
    group: Iterable[Record], base: Iterable[Record], precision: float = PRECISION
) -> Comparison | None:
    """The speed-up of the turns `group` over the turns `base`.

    ``None``: they share no part of a text.
    """
    others = _texts(base)
    ratios = []
    clusters: dict[int, PairedTimes] = defaultdict(lambda: _NOTHING)
    for (prompt, repeat), turns in _texts(group).items():
        times = _paired(turns, others.get((prompt, repeat), []))
        if times.ratio is not None:
            ratios.append(times.ratio)
            clusters[prompt] += times  # texts of one prompt resemble each other
    spread = Spread.of(ratios)
    if spread is None:
        return None
    total = sum(clusters.values(), _NOTHING).ratio
    assert total is not None
    interval = ratio_interval(list(clusters.values()))
    more = None if interval is None else interval.more_texts(precision)
    return Comparison(spread, total, interval, more)


class _Group:
    """The turns of one pair, placement, set of prompts and temperature."""

    def __init__(
        self,
        place: tuple[Any, ...],
        turns: Sequence[Record],
        variants: Mapping[str, Mapping[str, Any]],
        precision: float,
    ) -> None:
        self._place = place
        self._turns = turns
        self._variants = variants
        self._precision = precision
        self._by_name: dict[str, Turns] = {name: [] for name in variants}
        for record in turns:
            self._by_name[record["variant"]].append(record)
        self._references = {
            text: Reference.of(found) for text, found in _texts(self._by_name[BASE]).items()
        }

    def speedup(self, name: str, base: str = BASE) -> Comparison | None:
        return compare(self._by_name[name], self._by_name[base], self._precision)

    def summary(
        self, gaps: Mapping[str, float | None], costs: Mapping[str, Any] | None
    ) -> GroupSummary:
        speedups = {name: self.speedup(name) for name, found in self._by_name.items() if found}
        best = _best(speedups, self._variants)
        totals = {name: one.total for name, one in speedups.items() if one is not None}
        fastest = max(totals, key=lambda name: totals[name]) if totals else None
        auto = {}
        if self._by_name.get("auto"):
            for name in (name for name in speedups if name in best and name != "auto"):
                if (one := self.speedup("auto", name)) is not None:
                    auto[_kind(self._variants[name])] = one
        pair, placement, prompts, temperature = self._place
        return GroupSummary(
            pair=pair,
            placement=placement,
            prompts=prompts,
            temperature=temperature,
            rows=tuple(self._row(name, one, name in best) for name, one in speedups.items()),
            auto=auto,
            fastest=fastest,
            as_fast=tuple(self._as_fast(fastest, totals)) if fastest else (),
            differences=tuple(self._differences(gaps)),
            step_ratio=step_ratio(self._turns, costs),
            target_slowdown=costs["target_slowdown"] if costs else None,
            draft_slowdown=costs["draft_slowdown"] if costs else None,
        )

    def _as_fast(self, fastest: str, others: Iterable[str]) -> Iterable[str]:
        for name in others:
            one = None if name == fastest else self.speedup(fastest, name)
            if one is not None and not one.told_apart:
                yield name

    def _row(self, name: str, speedup: Comparison | None, is_best: bool) -> Row:
        turns, variant = self._by_name[name], self._variants[name]
        drafts = variant["mode"] != BASE
        texts = {text: found for text, found in _texts(turns).items() if text in self._references}
        ms, n = _timed(turns)
        return Row(
            name=name,
            mode=_kind(variant),
            is_peer=variant["is_peer"],
            speedup=speedup,
            tokens_per_second=1000.0 * n / ms if ms else 0.0,
            mean_accepted_length=_over(turns, "n_generated", "n_target_steps"),
            rollback_rate=_over(turns, "n_rolled_back", "n_drafted") if drafts else None,
            rollback_per_token=_over(turns, "n_rolled_back", "n_generated") if drafts else None,
            acceptance=_over(turns, "n_accepted", "n_drafted") if drafts else None,
            coordination_share=_over(turns, "coordination_ms", "decode_ms"),
            overlap_share=_over(turns, "overlap_ms", "decode_ms") if drafts else None,
            n_texts=len(texts),
            n_equal=sum(
                not any(self._references[text].difference(record) for record in found)
                for text, found in texts.items()
            ),
            histogram=_histogram(turns),
            mode_reason=turns[-1]["stats"].get("mode_reason", "")
            if variant["mode"] == "auto"
            else "",
            is_best=is_best,
        )

    def _differences(self, gaps: Mapping[str, float | None]) -> Iterable[DifferingText]:
        for name, turns in self._by_name.items():
            for record in turns:
                reference = self._references.get((record["prompt"], record["repeat"]))
                found = None if reference is None else reference.difference(record)
                if found is not None:
                    yield DifferingText(
                        name,
                        self._variants[name]["is_peer"],
                        record["prompt"],
                        record["repeat"],
                        found.index,
                        gaps.get(record["key"]),
                    )


def _histogram(turns: Iterable[Record]) -> tuple[int, ...]:
    total: list[int] = []
    for record in turns:
        found = record["stats"].get("acceptance_histogram", ())
        total += [0] * (len(found) - len(total))
        for i, n in enumerate(found):
            total[i] += n
    return tuple(total)


def _over(group: Sequence[Record], part: str, whole: str) -> float | None:
    """The ratio of two sums.

    ``None``: a turn does not have the value, or the denominator is 0.
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
            mode = _kind(variants[name])
            best[mode] = max(best.get(mode, (0.0, "")), (speedup.total, name))
    return {name for _, name in best.values()}


def _kind(variant: Mapping[str, Any]) -> str:
    """`Variant.kind` of a variant in a header."""
    return kind_of(variant["mode"], variant.get("sources", "all"))


def step_ratio(turns: Iterable[Record], costs: Mapping[str, Any] | None) -> float | None:
    """The step ratio c: a target step / a draft step, each alone on the machine.

    The step ratio is the ratio of medians from `autoregressive` and `speculative`, where the models
    take turns. Without `speculative`, the engine's step costs are used.
    """
    target: list[float] = []
    draft: list[float] = []
    for record in turns:
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
