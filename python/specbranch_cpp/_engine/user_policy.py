"""Passes requests of the core to a policy written in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.policies import Node, Plan, Policy, RoundOutcome, RoundState

if TYPE_CHECKING:
    from specbranch_cpp import _core


class Hook:
    """The policy of one generation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._plan: Plan | None = None  # the last plan

    def serve(self, question: _core.PolicyRequest, core: _core.Generation) -> None:
        """Reports earlier rounds to the policy, asks it for a plan, and passes that to the core."""
        for planned, *rest in question.outcomes:
            # Only the first round after a plan can have used that plan.
            self._policy.observe(RoundOutcome(self._plan if planned else None, *rest))
        plan = self._policy.plan(_round(question))
        if not isinstance(plan, Plan):
            raise InvalidArgument(
                f"{type(self._policy).__name__}.plan returned {plan!r}; it must return a "
                "policies.Plan"
            )
        self._plan = plan
        core.answer(
            plan.draft_length,
            -1 if plan.branch_at is None else plan.branch_at,
            plan.branches,
            -1 if plan.submit is None else plan.submit,
        )


def _round(question: Any) -> RoundState:
    path, confidences = question.path
    max_draft, max_branches, max_submit = question.limits
    return RoundState(
        question.mode,
        question.position,
        tuple(map(Node._make, question.nodes)),
        path,
        confidences,
        max_draft,
        max_branches,
        max_submit,
        question.acceptance,
        question.target_us / 1000.0,
        question.draft_us / 1000.0,
        question.features,
    )
