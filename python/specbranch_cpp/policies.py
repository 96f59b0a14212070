"""Policies decide how far the draft goes before a verification, and where it branches.

The text is the same with every policy; only the speed differs. A policy is a class of this module,
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
    """Drafts the same number of tokens in every round.

    Args:
        gamma: number of tokens per round, 1 to 64; the engine's ``max_draft`` also limits it.

    Raises:
        InvalidArgument: ``gamma`` is out of its range.
    """

    gamma: int

    def __post_init__(self) -> None:
        checked.integer("gamma", self.gamma, 1, MAX_DRAFT)


@dataclass(frozen=True)
class Confidence:
    """Stops, or branches, at the first low-confidence token.

    The confidence of a token is its softmax value among the draft's candidates, over ``log q + g``
    (with the noise ``g`` of the choice), or over ``log q`` at temperature 0. This is the implicit
    signal of SpecBranch (arXiv:2506.01979).

    Args:
        epsilon: the smallest confidence, 0 to 1, at which the draft continues; 0: the draft never
            stops early.

    Raises:
        InvalidArgument: ``epsilon`` is out of its range.
    """

    epsilon: float = 0.4

    def __post_init__(self) -> None:
        checked.share("epsilon", self.epsilon)


@dataclass(frozen=True)
class AdaEDL:
    """Stops, or branches, where the draft's entropy predicts a rejection.

    The policy stops where ``1 - sqrt(0.2 * H)`` is below a threshold. H is the entropy, in nats, of
    the confidences of the draft's candidates. The threshold rises in small steps while the
    acceptance rate is below ``acceptance``, and falls while it is above. In ``pearl``, which has no
    branches, the policy ends the windows.

    Args:
        threshold: the threshold at the start of each generation, 0 to 1.
        acceptance: the target value of the acceptance rate, 0 to 1.

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
    """Decides from the target's hidden states how much of a window to keep (SpecBranch's H-RAD).

    A small network predicts how many of the drafted tokens the target will accept. *None*: branch
    at the first token, and do not extend the window. *All*: keep the whole window. *Some*: use the
    rule of `Confidence`. In modes without branches, ``speculative`` drafts one token (*none*) or
    all tokens (*all*); ``pearl`` verifies nothing of the window (*none*) or the whole window
    (*all*).

    Args:
        path: a file that ``specbranch hrad train`` wrote for this pair of models.
        epsilon: as in `Confidence`.
        min_probability: the smallest probability, 0 to 1, at which the network decides. Below this
            value, `Confidence` decides. 0 is the paper's rule. A network that is right in less than
            85 to 90 % of the rounds costs more than it saves; therefore the default is 0.9.

    Raises:
        InvalidArgument: a number is out of its range, or the file cannot be read or has another
            format. The engine that gets the policy checks that the file is for its pair.
    """

    path: str | os.PathLike[str]
    epsilon: float = 0.4
    min_probability: float = 0.9
    _file: hrad_weights.HradFile = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked.share("epsilon", self.epsilon)
        checked.share("min_probability", self.min_probability)
        object.__setattr__(
            self, "_file", hrad_weights.read(os.fsdecode(checked.path("path", self.path)))
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan for one round. A value outside the limits of the round ends the generation.

    Attributes:
        draft_length: number of tokens to draft after the branch point, 0 to
            ``RoundState.max_draft``.
        branch_at: number of drafted tokens before the branch point, 0 to ``len(RoundState.path)``.
            ``None`` (default): the rule of the mode decides.
        branches: the largest number of branches at that point, 1 to ``RoundState.max_branches``.
        submit: the largest number of drafted tokens to verify, 0 to ``RoundState.max_submit``.
            ``None`` (default): the tokens before the branch point (in ``speculative`` all tokens).

    Raises:
        InvalidArgument: a field is not an integer, or it is negative.
    """

    draft_length: int
    branch_at: int | None = None
    branches: int = 1
    submit: int | None = None

    def __post_init__(self) -> None:
        # Like `checked.integer`, but faster: this runs in every round.
        for name, low, value in (
            ("draft_length", 0, self.draft_length),
            ("branches", 1, self.branches),
            ("branch_at", 0, 0 if self.branch_at is None else self.branch_at),
            ("submit", 0, 0 if self.submit is None else self.submit),
        ):
            if type(value) is not int or not low <= value <= _MAX_INT:
                checked.integer(name, value, low)


class Node(NamedTuple):
    """One node of the draft tree.

    Attributes:
        parent: index of the parent node; -1: this node is the root.
        token: the token's id.
        confidence: the draft's confidence for this token after its parent.
        candidates: up to eight pairs (token, confidence) that the draft proposes next, best first.
            Empty: the draft has not evaluated this node yet.
    """

    parent: int
    token: int
    confidence: float
    candidates: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class RoundState:
    """The state of the generation when a round begins.

    Attributes:
        mode: the mode of the generation.
        position: position of the newest token of the text.
        nodes: the newest token, the main path, and then the other nodes of the draft tree (at most
            256 nodes); parents come before their children.
        path: the tokens of the main path, which the target has not verified.
        confidences: the draft's confidence for each token of ``path``.
        max_draft: the largest value of ``Plan.draft_length``.
        max_branches: the largest value of ``Plan.branches``; 1 in modes without branches.
        max_submit: the largest value of ``Plan.submit``.
        acceptance: running acceptance rate of the verified tokens; 1.0 at first.
        target_ms: running mean of the time of a verification; 0.0: not known yet.
        draft_ms: running mean of the time of a draft pass; 0.0: not known yet.
        features: if the policy has ``n_feature_layers`` = K > 0, a read-only float32 array of shape
            [K + 1, width of the target]. It contains the inputs of the target's last K layers, the
            deepest layer last, at the position where the target chose the newest token, and then
            the embedding of that token. ``None`` before the first verification. Each round has its
            own copy, so you may keep it. Comparisons of two states leave it out.
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
    features: npt.NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """The result of a round.

    Attributes:
        plan: the policy's plan. ``None``: the policy was skipped, and the built-in rule decided.
        n_submitted: number of drafted tokens that the target verified.
        n_accepted: number of drafted tokens that the target accepted.
        branch_hit: whether the target's next token was on a branch.
        n_rolled_back: number of drafted tokens that the verification rolled back.
        committed: ids of the tokens that became text.
    """

    plan: Plan | None
    n_submitted: int
    n_accepted: int
    branch_hit: bool
    n_rolled_back: int
    committed: tuple[int, ...]


@runtime_checkable
class Policy(Protocol):
    """The interface of a policy.

    A class need not derive from it. Both methods run inside ``next(generation)`` or
    ``generation.result()``, on the thread that reads. While no thread reads, ``Confidence()``
    decides, and ``stats.policy_skipped`` counts these rounds. If a method raises an exception, the
    generation ends, and ``next`` or ``result`` raises that exception. A policy must not read a
    generation of the engine that calls it. It may cancel that generation.

    A policy with an integer attribute ``n_feature_layers`` above 0 gets ``RoundState.features``.
    """

    def plan(self, state: RoundState, /) -> Plan:
        """Returns the plan for the round that begins."""
        ...

    def observe(self, outcome: RoundOutcome, /) -> None:
        """Receives the result of a round.

        The engine calls this before the next `plan`, once for each round since the last one.
        """
        ...


BuiltIn = Fixed | Confidence | AdaEDL | HRAD
"""The policies that run inside the engine."""
