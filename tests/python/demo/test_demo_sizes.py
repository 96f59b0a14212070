"""How large the bundled pair is made, decided from steps that are given here."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from specbranch_cpp import StepCosts
from specbranch_cpp.bench.placements import Placement
from specbranch_cpp.cli.demo import sizes
from specbranch_cpp.cli.demo.sizes import SIZES, Choice, Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARED = Placement("shared", {"n_threads": 2, "draft_n_threads": 2})
SPLIT = Placement("split", {"cpus": [0], "draft_cpus": [1]})
GB = 1_000_000_000


def costs(step_ms: float, *, slope: float, draft: float = 0.1, slowdown: float = 1.9) -> StepCosts:
    """A token more costs `slope` of a step; the draft's steps take the share `draft`."""
    target = tuple(step_ms * (1.0 + slope * n) for n in range(17))
    return StepCosts(target, tuple(draft * ms for ms in target), slowdown, slowdown, 0.0)


def n_bytes(size: int, weight_type: str) -> int:
    """Each size has twice the weights of the one before."""
    return (25_000_000 << size) * {"F32": 4, "F16": 2, "Q8_0": 1}[weight_type]


class Bench:
    """Gives what is written down for a pair, and notes what was asked for."""

    def __init__(self, found: dict[tuple[str, str], StepCosts]) -> None:
        self.found = found
        self.asked: list[tuple[int, str, str]] = []

    def measure(self, choice: Choice) -> Probe:
        key = (choice.weight_type, choice.placement.name)
        self.asked.append((choice.size, *key))
        return sizes.judge(choice, self.found[key])

    def search(self, *, budget: int = GB, split: bool = True) -> list[Probe]:
        return sizes.search(
            self.measure, n_bytes, budget, shared=SHARED, split=SPLIT if split else None
        )


@pytest.mark.parametrize(
    ("measured", "smoothed"),
    [
        ([1, 2, 3], (1, 2, 3)),
        ([5, 2, 3], (2, 2, 3)),
        ([1, 9, 9, 2], (1, 2, 2, 2)),
        ([4], (4,)),
        ([], ()),
    ],
)
def test_a_longer_step_takes_no_less_time(
    measured: Sequence[float], smoothed: Sequence[float]
) -> None:
    assert sizes.smooth(measured) == smoothed


def test_flat_verification_promises_a_gain_and_steep_one_none() -> None:
    choice = Choice(0, "F32", SHARED)
    flat, middle, steep = (
        sizes.judge(choice, costs(10.0, slope=slope)).gain for slope in (0.03, 0.3, 1.0)
    )
    assert flat > 1.8 > middle > steep
    assert steep == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("slopes", "tried", "best"),
    [
        ({"F32": 0.03}, ["F32"], "F32"),
        ({"F32": 0.8, "F16": 0.03}, ["F32", "F16"], "F16"),
        ({"F32": 0.8, "F16": 0.9, "Q8_0": 0.03}, ["F32", "F16", "Q8_0"], "Q8_0"),
        ({"F32": 0.3, "F16": 0.9, "Q8_0": 0.9}, ["F32", "F16", "Q8_0"], "F32"),
    ],
)
def test_types_are_tried_until_one_gains_enough(
    slopes: dict[str, float], tried: list[str], best: str
) -> None:
    bench = Bench({(kind, "shared"): costs(10.0, slope=slope) for kind, slope in slopes.items()})
    found = bench.search(split=False)
    assert bench.asked == [(0, kind, "shared") for kind in tried]
    assert found[-1].choice == Choice(0, best, SHARED)
    assert found[-1].gain > max(probe.gain for probe in found) / 1.1


def test_of_nearly_equal_gains_that_of_the_larger_weights_counts() -> None:
    bench = Bench(
        {("F32", "shared"): costs(10.0, slope=0.31), ("F16", "shared"): costs(10.0, slope=0.3),
         ("Q8_0", "shared"): costs(10.0, slope=0.5)}
    )  # fmt: skip
    found = bench.search(split=False)
    assert [probe.choice.weight_type for probe in found] == ["F16", "Q8_0", "F32"]
    assert found[0].gain > found[-1].gain


@pytest.mark.parametrize(
    ("split", "chosen"),
    [
        # Half as fast without speculation: the gain would be one over a crippled baseline.
        (costs(20.0, slope=0.0, slowdown=1.0), "shared"),
        # As fast, and nothing in each other's way.
        (costs(10.0, slope=0.03, slowdown=1.0), "split"),
        # As fast, but in each other's way as before.
        (costs(10.0, slope=0.03), "shared"),
    ],
)
def test_cores_are_split_where_plain_decoding_loses_nothing(split: StepCosts, chosen: str) -> None:
    bench = Bench({("F32", "shared"): costs(10.0, slope=0.03), ("F32", "split"): split})
    found = bench.search()
    assert bench.asked == [(0, "F32", "shared"), (0, "F32", "split")]
    assert len(found) == 2
    assert found[-1].choice.placement.name == chosen


def test_memory_limits_what_is_tried() -> None:
    bench = Bench({("Q8_0", "shared"): costs(10.0, slope=0.5)})
    found = bench.search(budget=30_000_000, split=False)
    assert [probe.choice.weight_type for probe in found] == ["Q8_0"]
    assert bench.search(budget=20_000_000) == []


@pytest.mark.parametrize(
    ("step_ms", "budget", "size"),
    [
        (20.0, GB, 0),
        (7.0, GB, 1),
        (3.0, GB, 2),
        (0.1, GB, 3),
        (0.1, 399_999_999, 1),
        (0.1, 100_000_000, 0),
    ],
)
def test_a_pair_grows_until_steps_or_memory_are_used_up(
    step_ms: float, budget: int, size: int
) -> None:
    best = sizes.judge(Choice(0, "F32", SHARED), costs(step_ms, slope=0.03))
    assert sizes.largest(best, n_bytes, budget) == Choice(size, "F32", SHARED)


@pytest.mark.parametrize(
    ("available", "budget"),
    [(None, 500_000_000), (3 * GB, GB), (100 * GB, 1_500_000_000), (300, 100)],
)
def test_the_memory_that_may_be_taken(available: int | None, budget: int) -> None:
    assert sizes.memory_budget(available) == budget


def test_sizes_grow() -> None:
    """Each size holds the one before, the larger one is tried later."""
    for before, after in pairwise(SIZES):
        assert all(after.target[name] >= n for name, n in before.target.items())
        assert after.target != before.target
