"""How far the draft goes before its tokens are verified.

Whatever the policy, the text is the same; only the speed differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from specbranch_cpp import _arguments
from specbranch_cpp._core import MAX_DRAFT
from specbranch_cpp.errors import InvalidArgument

__all__ = ["BuiltIn", "Confidence", "Fixed"]


@dataclass(frozen=True)
class Fixed:
    """Drafts the same number of tokens every round.

    Args:
        gamma: tokens a round, 1 to 64; the engine's ``max_draft`` bounds it too.

    Raises:
        InvalidArgument: ``gamma`` is out of its range.
    """

    gamma: int

    def __post_init__(self) -> None:
        _arguments.integer("gamma", self.gamma, 1, MAX_DRAFT)


@dataclass(frozen=True)
class Confidence:
    """Stops, or branches, at the first token that the draft is not sure of.

    The confidence of a token is its share among the draft's candidates, the noise of the choice
    included: its softmax over ``log q + g``, or over ``log q`` at temperature 0. This is the
    implicit signal of SpecBranch (arXiv:2506.01979).

    Args:
        epsilon: least confidence, 0 to 1, at which the draft goes on; 0 never stops early.

    Raises:
        InvalidArgument: ``epsilon`` is out of its range.
    """

    epsilon: float = 0.4

    def __post_init__(self) -> None:
        if not 0.0 <= _arguments.real("epsilon", self.epsilon) <= 1.0:
            raise InvalidArgument(f"epsilon is {self.epsilon}; it must be in 0 .. 1")


BuiltIn = Fixed | Confidence
"""The policies that run inside the engine."""
