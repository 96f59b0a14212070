"""Speed-ups from a machine whose speed wanders by 30 % within minutes."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
from tests.python.support.bench_clock import Clock, VirtualEngines, true_speedup, virtual_plan

from specbranch_cpp.bench import runner
from specbranch_cpp.bench.records import RecordFile
from specbranch_cpp.bench.statistics import summarize
from specbranch_cpp.bench.summary import Comparison, GroupSummary
from specbranch_cpp.bench.variants import Variant

BASE = Variant("autoregressive")
LENGTHS = (2, 5, 8)
DRAFTING = tuple(Variant("speculative", n, "fixed") for n in LENGTHS)
AUTO = Variant("auto")
N_RUNS = 100
N_PROMPTS = 12


@pytest.fixture(autouse=True)
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GroupEngines", VirtualEngines)
    monkeypatch.setattr(VirtualEngines, "calls", [])


def run(
    folder: Path, seed: int, variants: tuple[Variant, ...], *, stretch: int, wander: float = 0.3
) -> GroupSummary:
    """The figures of one run on a machine of its own."""
    plan = virtual_plan(variants, N_PROMPTS, seed=seed, stretch=stretch)
    VirtualEngines.clock = Clock(seed, wander=wander)
    with RecordFile(folder / f"{seed} {stretch} {wander}", {"plan": plan.settings()}) as file:
        runner.run(plan, file)
        (group,) = summarize(file.records).groups
    return group


def speedup_of(group: GroupSummary, variant: Variant) -> Comparison:
    row = group.row(variant.name)
    assert row is not None
    assert row.speedup is not None
    return row.speedup


def errors(groups: list[GroupSummary], variant: Variant) -> list[float]:
    truth = math.log(true_speedup(variant))
    return [math.log(speedup_of(group, variant).total) - truth for group in groups]


def covered(groups: list[GroupSummary], variant: Variant) -> int:
    """The number of runs whose interval contains the true speed-up."""
    intervals = [speedup_of(group, variant).interval for group in groups]
    truth = true_speedup(variant)
    return sum(one is not None and one.low <= truth <= one.high for one in intervals)


def width(groups: list[GroupSummary], variant: Variant) -> float:
    """The median width of the intervals, as a share of the speed-up."""
    intervals = [speedup_of(group, variant).interval for group in groups]
    return statistics.median(math.log(one.high / one.low) for one in intervals if one)


def rms(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values))


def test_turns_recover_the_ratio_and_whole_texts_do_not(tmp_path: Path) -> None:
    variants = (BASE, *DRAFTING, AUTO)
    turned = [run(tmp_path, seed, variants, stretch=32) for seed in range(N_RUNS)]
    whole = [run(tmp_path, seed, variants, stretch=0) for seed in range(N_RUNS // 2)]
    found = {each.name: covered(turned, each) for each in variants[1:]}
    assert statistics.mean(found.values()) >= 93, found  # of 100: they are 95 % intervals
    assert min(found.values()) >= 90, found
    for each in variants[1:]:
        assert rms(errors(turned, each)) < 0.02
        assert width(whole, each) > 1.5 * width(turned, each)
    # The old order, one whole text after another, is off by twice as much.
    old, new = (
        rms([error for each in variants[1:] for error in errors(groups, each)])
        for groups in (whole, turned)
    )
    assert old > 1.7 * new


def test_what_the_wandering_costs(tmp_path: Path) -> None:
    # With turns, the errors are those of a quiet machine: what is left comes from the texts.
    variants = (BASE, *DRAFTING)
    for each in DRAFTING:
        assert abs(true_speedup(each) - 1.0) > 0.5
    noisy = [run(tmp_path, seed, variants, stretch=32) for seed in range(30)]
    quiet = [run(tmp_path, seed, variants, stretch=32, wander=0.0) for seed in range(30)]
    pooled = [rms([e for each in DRAFTING for e in errors(g, each)]) for g in (noisy, quiet)]
    assert pooled[0] < 1.25 * pooled[1]


def test_variants_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    # `auto` decodes like `speculative` with 4 tokens here.
    alike = Variant("speculative", 4, "fixed")
    groups = [run(tmp_path, seed, (BASE, alike, AUTO), stretch=32) for seed in range(40)]
    told_apart = sum(group.auto["speculative"].told_apart for group in groups)
    assert told_apart <= 5  # of 40, at a level of 95 %
    for group in groups:
        assert group.auto["autoregressive"].told_apart
        (other,) = {alike.name, AUTO.name} - {group.fastest}
        assert (other in group.as_fast) == (not group.auto["speculative"].told_apart)


def test_a_run_knows_how_many_texts_it_needs(tmp_path: Path) -> None:
    # Runs that need more texts for 1 % reach 1 % with so many.
    draft = Variant("speculative", 6, "fixed")
    for seed in range(5):
        found = {}
        for n in (8, 200):
            plan = virtual_plan((BASE, draft), n, seed=seed)
            VirtualEngines.clock = Clock(seed)
            with RecordFile(tmp_path / f"{seed} {n}", {"plan": plan.settings()}) as file:
                runner.run(plan, file, target_precision=0.01 if n == 200 else None)
                summary = summarize(file.records)
            found[n] = speedup_of(summary.groups[0], draft)
            n_stops = sum(record["kind"] == "enough" for record in file.records)
            assert n_stops == (n == 200)
        few, many = found[8], found[200]
        assert few.interval is not None
        assert many.interval is not None
        assert many.more_texts == 0
        assert many.interval.high / many.total <= 1.01
        predicted = 8 + (few.interval.more_texts(0.01) or 0)
        assert 0.3 < many.interval.n / predicted < 3.0
