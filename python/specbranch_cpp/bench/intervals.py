"""Confidence intervals of speed-ups, from paired times that are clustered by text.

The estimate is a ratio of sums: all tokens over all time of a variant, divided by the same of the
baseline. The interval is a Student t interval of its logarithm. Its standard error is that of the
jackknife that leaves out one cluster at a time (Efron and Tibshirani 1993, chapter 11), because
stretches of one text resemble each other.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.95
PRECISION = 0.02
"""Default of the wanted precision: the upper end of an interval is at most 2 % above the ratio."""
_MOST_TEXTS = 1_000_000
_ALMOST_NORMAL = 400  # degrees of freedom from which the normal quantile is used; error below 0.4 %


@dataclass(frozen=True)
class PairedTimes:
    """Decoded tokens and their milliseconds, of a variant and of the baseline, on one text."""

    ms: float
    n: int
    base_ms: float
    base_n: int

    def __add__(self, other: PairedTimes) -> PairedTimes:
        return PairedTimes(
            self.ms + other.ms,
            self.n + other.n,
            self.base_ms + other.base_ms,
            self.base_n + other.base_n,
        )

    @property
    def ratio(self) -> float | None:
        """The speed-up over the baseline. ``None``: a time or a number is 0."""
        if min(self.ms, self.n, self.base_ms, self.base_n) <= 0:
            return None
        return (self.base_ms / self.base_n) / (self.ms / self.n)


@dataclass(frozen=True)
class RatioInterval:
    """A 95 % confidence interval of a ratio.

    Attributes:
        low: lower end.
        high: upper end.
        error: standard error of the logarithm of the ratio.
        n: number of clusters.
    """

    low: float
    high: float
    error: float
    n: int

    @property
    def contains_1(self) -> bool:
        """Whether the two variants cannot be told apart."""
        return self.low <= 1.0 <= self.high

    def more_texts(self, precision: float) -> int | None:
        """The number of further texts like these that the precision needs; 0: it is reached.

        Args:
            precision: wanted share of the ratio between the ratio and the upper end; above 0.

        Returns:
            The number. ``None``: more than a million.
        """

        def precise(n: int) -> bool:
            width = t_quantile(n - 1) * self.error * math.sqrt(self.n / n)
            return width <= math.log1p(precision)

        low, high = self.n, self.n
        while not precise(high):
            low, high = high, 2 * high
            if high > _MOST_TEXTS:
                return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if precise(middle) else (middle + 1, high)
        return high - self.n


def ratio_interval(clusters: Sequence[PairedTimes]) -> RatioInterval | None:
    """The interval of the ratio of all tokens over all time.

    ``None``: fewer than two clusters have times of both variants.
    """
    known = [each for each in clusters if each.ratio is not None]
    n = len(known)
    if n < 2:
        return None
    ratio = sum(known[1:], known[0]).ratio
    assert ratio is not None
    sums = np.asarray([[c.ms, c.n, c.base_ms, c.base_n] for c in known], dtype=float)
    signs = np.array([-1.0, 1.0, 1.0, -1.0])  # of the logarithms in that of the ratio
    total = sums.sum(axis=0)
    without_one = np.log(total - sums) @ signs
    spread = float(((without_one - without_one.mean()) ** 2).sum())
    error = math.sqrt(spread * (n - 1) / n)
    width = t_quantile(n - 1) * error
    return RatioInterval(ratio * math.exp(-width), ratio * math.exp(width), error, n)


@cache
def t_quantile(df: int, level: float = LEVEL) -> float:
    """The value that the absolute value of Student's t does not exceed with probability ``level``.

    Args:
        df: degrees of freedom, at least 1.
        level: the probability, below 1.
    """
    if df >= _ALMOST_NORMAL:
        return statistics.NormalDist().inv_cdf(0.5 + level / 2.0)
    low, high = 0.0, math.pi / 2.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _t_share(middle, df) < level else (low, middle)
    return math.sqrt(df) * math.tan(low)


def _t_share(angle: float, df: int) -> float:
    """P(abs(t) <= sqrt(df) tan(angle)): Abramowitz and Stegun 26.7.3 and 26.7.4."""
    sin, cos = math.sin(angle), math.cos(angle)
    term = cos if df % 2 else 1.0
    total = term if df > 1 else 0.0
    for k in range(2 + df % 2, df - 1, 2):
        term *= cos * cos * (k - 1) / k
        total += term
    return 2.0 / math.pi * (angle + sin * total) if df % 2 else sin * total
