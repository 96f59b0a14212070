"""Intervals of ratios, against tables and against distributions that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from specbranch_cpp.bench.intervals import PairedTimes, RatioInterval, ratio_interval, t_quantile


@pytest.mark.parametrize(
    ("df", "value"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (9, 2.26216),
     (10, 2.22814), (30, 2.04227), (120, 1.97993), (399, 1.96593), (400, 1.95996)],
)  # fmt: skip
def test_quantiles_of_t_are_those_of_the_tables(df: int, value: float) -> None:
    assert t_quantile(df) == pytest.approx(value, rel=1e-4)


def test_quantiles_of_other_levels() -> None:
    assert t_quantile(1, 0.5) == pytest.approx(1.0)  # the quartile of Cauchy's distribution
    assert t_quantile(7, 0.99) == pytest.approx(3.49948, rel=1e-4)
    assert t_quantile(8, 0.9) == pytest.approx(1.85955, rel=1e-4)


def test_ratios_of_times() -> None:
    assert PairedTimes(20.0, 4, 40.0, 4).ratio == pytest.approx(2.0)
    assert PairedTimes(20.0, 4, 40.0, 8).ratio == pytest.approx(1.0)
    assert PairedTimes(20.0, 4, 0.0, 0).ratio is None
    assert PairedTimes(1.0, 2, 3.0, 4) + PairedTimes(10.0, 20, 30.0, 40) == PairedTimes(
        11.0, 22, 33.0, 44
    )


def test_texts_without_a_ratio_do_not_count() -> None:
    some = [PairedTimes(20.0, 4, 40.0, 4), PairedTimes(25.0, 4, 40.0, 4)]
    found = ratio_interval([*some, PairedTimes(0.0, 0, 40.0, 4)])
    assert found == ratio_interval(some)
    assert found is not None
    assert found.n == 2
    assert ratio_interval(some[:1]) is None
    assert ratio_interval([]) is None


def test_texts_of_the_same_ratio_leave_no_doubt() -> None:
    # The slow text is slow for both.
    found = ratio_interval([PairedTimes(20.0, 4, 40.0, 4), PairedTimes(200.0, 4, 400.0, 4)])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))
    assert not found.contains_1
    assert found.more_texts(0.01) == 0


def coverage(n_texts: int, n_stretches: int, between: float, within: float) -> float:
    """How often the interval contains the true ratio 1.5, in 2000 runs.

    Args:
        n_texts: number of texts of a run.
        n_stretches: number of stretches of a text.
        between: scatter of the ratio from text to text.
        within: scatter of every time.
    """
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        shape = (n_texts, n_stretches)
        level = np.exp(draw.normal(0.0, 0.2, shape))  # the machine, alike for both
        text = draw.normal(0.0, between, (n_texts, 1))
        # The mean of exp(x) is exp(v / 2): the ratio of the sums is 1.5.
        slow = level * np.exp(draw.normal(0.0, within, shape)) * 1.5
        fast = level * np.exp(draw.normal(0.0, within, shape) + text - between**2 / 2.0)
        found = ratio_interval(
            [
                PairedTimes(float(f.sum()), n_stretches, float(s.sum()), n_stretches)
                for f, s in zip(fast, slow, strict=True)
            ]
        )
        assert found is not None
        hits += found.low <= 1.5 <= found.high
    return hits / 2000


@pytest.mark.parametrize("n_texts", [4, 12, 40])
@pytest.mark.parametrize(("between", "within"), [(0.0, 0.1), (0.2, 0.02)])
def test_intervals_cover_the_true_ratio(n_texts: int, between: float, within: float) -> None:
    assert coverage(n_texts, 4, between, within) == pytest.approx(0.95, abs=0.02)


def test_stretches_of_one_text_are_no_texts() -> None:
    # Texts differ: intervals from single stretches would be too narrow.
    draw = np.random.default_rng(3)
    hits = 0
    for _ in range(500):
        text = np.repeat(draw.normal(0.0, 0.2, 8), 16)
        stretches = [PairedTimes(math.exp(x - 0.02), 1, 1.0, 1) for x in text]
        naive = ratio_interval(stretches)
        assert naive is not None
        hits += naive.low <= 1.0 <= naive.high
    assert hits < 300
    assert coverage(8, 16, 0.2, 0.0) > 0.93


def test_the_number_of_texts_for_a_precision() -> None:
    # Of 1.96 standard errors; each is 0.1 / sqrt(n).
    found = RatioInterval(0.9, 1.1, error=0.1 / math.sqrt(20), n=20)
    wanted = (1.96 * 0.1 / math.log1p(0.01)) ** 2
    more = found.more_texts(0.01)
    assert more is not None
    assert 20 + more == pytest.approx(wanted, rel=0.02)
    assert found.more_texts(0.5) == 0
    assert found.more_texts(1e-7) is None
    # The answer is exact: one text less is not enough.
    for precision in (0.1, 0.05, 0.02):
        more = found.more_texts(precision)
        assert more is not None
        for extra, enough in ((more, True), (more - 1, False)):
            n = 20 + extra
            width = t_quantile(n - 1) * found.error * math.sqrt(20 / n)
            assert (width <= math.log1p(precision)) == enough or more == 0


def test_wide_intervals_contain_1() -> None:
    assert RatioInterval(0.9, 1.1, 0.05, 9).contains_1
    assert not RatioInterval(1.01, 1.1, 0.02, 9).contains_1
    assert not RatioInterval(0.9, 0.99, 0.02, 9).contains_1


def test_the_ratio_lies_in_its_interval_whatever_is_rounded() -> None:
    # A variant against itself has no error at all: the ends are the ratio.
    draw = np.random.default_rng(5)
    for _ in range(200):
        ms = draw.uniform(0.1, 1000.0, 3)
        clusters = [PairedTimes(float(t), 4, float(t) * 3.0, 4) for t in ms]
        total = (clusters[0] + clusters[1] + clusters[2]).ratio
        found = ratio_interval(clusters)
        assert found is not None
        assert total is not None
        assert found.low <= total <= found.high
