"""Scores of predictions, and the predictions of the confidence rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from specbranch_cpp.hrad.records import LABELS

if TYPE_CHECKING:
    from specbranch_cpp.hrad.records import Records


@dataclass(frozen=True, eq=False)
class Score:
    """A confusion matrix in the order of `LABELS`: rows are true, columns predicted labels."""

    confusion: npt.NDArray[np.int64]

    @classmethod
    def of(cls, truth: npt.NDArray[np.int8], foretold: npt.NDArray[np.int64]) -> Score:
        confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
        np.add.at(confusion, (truth, foretold), 1)
        return cls(confusion)

    @property
    def n(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of the rounds with a correct prediction."""
        return float(np.trace(self.confusion) / max(1, self.n))

    @property
    def recalls(self) -> tuple[float, ...]:
        """Recall of each label. NaN: the label did not occur."""
        totals = self.confusion.sum(axis=1)
        return tuple(
            float(hit / total) if total else float("nan")
            for hit, total in zip(np.diag(self.confusion), totals, strict=True)
        )

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the labels that occurred."""
        return float(np.nanmean(self.recalls)) if self.n else float("nan")


def by_confidence(records: Records, epsilon: float) -> npt.NDArray[np.int64]:
    """The predictions of the confidence rule.

    All: no token of the window is below epsilon. None: the first token is below epsilon. Some: all
    other cases.
    """
    least = np.nanmin(records.confidence, axis=1)
    none, some, everything = range(len(LABELS))
    rest = np.where(records.confidence[:, 0] < epsilon, none, some)
    return np.where(least >= epsilon, everything, rest).astype(np.int64)


def with_rule(
    foretold: npt.NDArray[np.int64], records: Records, epsilon: float
) -> npt.NDArray[np.int64]:
    """The predictions of `policies.HRAD`: the rule decides where the classifier says *some*."""
    some = LABELS.index("some")
    return np.where(foretold == some, by_confidence(records, epsilon), foretold)


def best_epsilon(records: Records) -> float:
    """The epsilon with the highest accuracy of the confidence rule."""
    candidates = np.linspace(0.0, 1.0, 41)
    hits = [float(np.mean(by_confidence(records, e) == records.label)) for e in candidates]
    return float(candidates[int(np.argmax(hits))])
