"""How far the draft goes before its tokens are verified, and where it branches.

Whatever the policy, the text is the same; only the speed differs. A policy is one of those here,
or any object with the two methods of `Policy`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from specbranch_cpp._core import MAX_DRAFT
from specbranch_cpp._pair import hrad_weights
from specbranch_cpp._support import checked

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MAX_INT = 2**31 - 1

__all__ = [
    "HRAD",
    "AdaEDL",
    "BuiltIn",
    "Confidence",
    "Fixed",
    "Node",
    "Plan",
    "Policy",
    "RoundOutcome",
    "RoundState",
]


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
        checked.integer("gamma", self.gamma, 1, MAX_DRAFT)


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
        checked.share("epsilon", self.epsilon)


@dataclass(frozen=True)
class AdaEDL:
    """Stops, or branches, where the draft's entropy says that a token may well be rejected.

    That is where ``1 - sqrt(0.2 * H)`` is below a threshold; H is the entropy, in nats, of the
    confidences of the draft's candidates. The threshold rises by small steps while less than
    ``acceptance`` of the verified tokens are accepted, and falls while more are. In ``pearl``,
    which has no branches, it ends the windows.

    Args:
        threshold: what each generation begins with, 0 to 1.
        acceptance: wanted share of accepted tokens, 0 to 1.

    Raises:
        InvalidArgument: an argument is out of its range.

    Sources: AdaEDL (arXiv:2410.18351); the rule for the threshold is that of Draft & Verify
    (arXiv:2309.08168).
    """

    threshold: float = 0.6
    acceptance: float = 0.9

    def __post_init__(self) -> None:
        checked.share("threshold", self.threshold)
        checked.share("acceptance", self.acceptance)


@dataclass(frozen=True)
class HRAD:
    """Decides by the target's hidden states what is kept of a window (SpecBranch's H-RAD).

    A small network foretells what the target will do with the tokens that are drafted past the
    newest one. *None* will be accepted: branch at the first token, draft no further behind it.
    *All*: keep the whole window. Else the rule of `Confidence`. Without branches: ``speculative``
    drafts one token, or all whatever their confidence; ``pearl`` verifies none of the window, or
    all of it.

    Args:
        path: a file that ``specbranch hrad train`` made for this pair of models.
        epsilon: as in `Confidence`.
        sure: least probability, 0 to 1, with which the network decides; below, `Confidence` does.
            0 is the paper's rule. A network that is right less than 85 to 90 % of the time costs
            more than it saves, so that by default it only speaks when it is surer than that.

    Raises:
        InvalidArgument: a number is out of its range; the file cannot be read or is none of these.
            That it is for another pair is noticed when it is given to an engine.
    """

    path: str | os.PathLike[str]
    epsilon: float = 0.4
    sure: float = 0.9
    _file: hrad_weights.HradFile = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked.share("epsilon", self.epsilon)
        checked.share("sure", self.sure)
        object.__setattr__(
            self, "_file", hrad_weights.read(os.fsdecode(checked.path("path", self.path)))
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How one round is to go. What is out of range in the round ends the generation.

    Attributes:
        draft_length: tokens to draft past the branch point, 0 to ``RoundState.max_draft``.
        branch_at: drafted tokens before the branch point, 0 to ``len(RoundState.path)``; None: the
            mode's own rule.
        branches: how many branches leave it at most, 1 to ``RoundState.max_branches``.
        submit: drafted tokens for the target to verify at most, 0 to ``RoundState.max_submit``;
            None: up to the branch point (in ``speculative``: all).

    Raises:
        InvalidArgument: a field is no integer or negative.
    """

    draft_length: int
    branch_at: int | None = None
    branches: int = 1
    submit: int | None = None

    def __post_init__(self) -> None:
        # As `checked.integer`, but fast: this is done every round.
        for name, low, value in (
            ("draft_length", 0, self.draft_length),
            ("branches", 1, self.branches),
            ("branch_at", 0, 0 if self.branch_at is None else self.branch_at),
            ("submit", 0, 0 if self.submit is None else self.submit),
        ):
            if type(value) is not int or not low <= value <= _MAX_INT:
                checked.integer(name, value, low)


class Node(NamedTuple):
    """One token of the tree.

    Attributes:
        parent: its index among the nodes; -1: the root.
        token: its id.
        confidence: the draft's, for this token after its parent.
        candidates: up to eight (token, confidence) that the draft proposes next, best first;
            empty: it has not been there yet.
    """

    parent: int
    token: int
    confidence: float
    candidates: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class RoundState:
    """What is known when a round begins.

    Attributes:
        mode: how the generation is decoded.
        position: of the newest token of the text.
        nodes: that token, the main path, then what else lives of the tree (256 at most); parents
            come first.
        path: the tokens of the main path, which the draft proposed and the target has not seen.
        confidences: the draft's, for each of them.
        max_draft: the most that ``Plan.draft_length`` may be.
        max_branches: likewise ``Plan.branches``; 1 in modes without branches.
        max_submit: likewise ``Plan.submit``.
        acceptance: running share of the verified tokens that were accepted, 1.0 at first.
        target_ms: running mean of a verification's time; 0.0: not known yet.
        draft_ms: running mean of a draft pass's time; 0.0: not known yet.
        features: if the policy has ``n_feature_layers`` = K > 0, a read-only array of float32,
            [K + 1, width of the target]: the inputs of its last K layers, the deepest last, where
            it chose the newest token, then that token's embedding. None before the first verdict.
            The array is a copy that belongs to the round: it may be kept.
    """

    mode: str
    position: int
    nodes: tuple[Node, ...]
    path: tuple[int, ...]
    confidences: tuple[float, ...]
    max_draft: int
    max_branches: int
    max_submit: int
    acceptance: float
    target_ms: float
    draft_ms: float
    features: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What became of a round.

    Attributes:
        plan: the policy's; None: it was skipped, the round was the built-in rule's.
        n_submitted: drafted tokens that the target verified.
        n_accepted: how many of these it chose too.
        branch_hit: the target's own token after them had been drafted as well.
        n_rolled_back: drafted tokens that the verdict dropped.
        committed: the ids that became text.
    """

    plan: Plan | None
    n_submitted: int
    n_accepted: int
    branch_hit: bool
    n_rolled_back: int
    committed: tuple[int, ...]


@runtime_checkable
class Policy(Protocol):
    """What an object needs to be a policy; a class need not derive from this.

    Both methods run inside ``next(generation)`` or ``generation.result()``, on that thread. While
    nobody is inside, rounds are done by ``Confidence()`` and counted in ``stats.policy_skipped``.
    An exception ends the generation and comes out there. A policy must not read a generation of
    the engine that asks it; cancelling is fine.

    An integer attribute ``n_feature_layers`` asks for ``RoundState.features``.
    """

    def plan(self, state: RoundState, /) -> Plan:
        """How the round that begins is to go."""
        ...

    def observe(self, outcome: RoundOutcome, /) -> None:
        """Told before the next plan, for each round since the last one."""
        ...


BuiltIn = Fixed | Confidence | AdaEDL | HRAD
"""The policies that run inside the engine."""
