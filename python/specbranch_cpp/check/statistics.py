"""Means of a few values with their intervals."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from specbranch_cpp.check.report import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

# Student's t, two-sided 95 %, by degrees of freedom from 1 on; beyond the last: about 2.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values with Student's 95 % interval.

    A single value has no interval.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean)
    freedom = len(values) - 1
    t = _T[freedom - 1] if freedom <= len(_T) else 2.0
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def speedup_interval(ratios: Sequence[float]) -> Interval:
    """The geometric mean of ratios, and its interval on the same scale."""
    logs = mean_interval([math.log(ratio) for ratio in ratios])
    if logs.low is None or logs.high is None:
        return Interval(math.exp(logs.mean))
    return Interval(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high))


def share_interval(hits: Sequence[int], totals: Sequence[int]) -> Interval:
    """A share over several texts, in which all positions count the same.

    The standard error is that of a ratio of sums over texts (Cochran, Sampling Techniques, 1977,
    section 6.4), but at least that of the same number of independent positions. Positions of one
    text resemble each other, and a few texts can agree by luck.
    """
    n = sum(totals)
    share = sum(hits) / n
    t = 2.0
    # Add two positions (Laplace), so that 0 of 10 does not give a share of exactly 0.
    smooth = (sum(hits) + 1) / (n + 2)
    error = math.sqrt(smooth * (1 - smooth) / (n + 2))
    if len(hits) > 1:
        freedom = len(hits) - 1
        squares = sum((h - share * m) ** 2 for h, m in zip(hits, totals, strict=True))
        spread = math.sqrt(squares * len(hits) / freedom) / n
        if spread > error:
            t, error = _T[freedom - 1] if freedom <= len(_T) else 2.0, spread
    return Interval(share, max(0.0, share - t * error), min(1.0, share + t * error))
