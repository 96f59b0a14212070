"""Puts the questions of the core to a policy written in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.policies import Node, Outcome, Plan, Policy, Round

if TYPE_CHECKING:
    from specbranch_cpp import _core


def ask(policy: Policy, question: _core.Question) -> Plan:
    """Tells the policy what became of the rounds before, then asks for a plan."""
    for outcome in question.outcomes:
        policy.observe(_outcome(*outcome))
    path, confidences = question.path
    max_draft, max_branches, max_submit = question.limits
    plan = policy.plan(
        Round(
            question.mode,
            question.position,
            tuple([Node._make(node) for node in question.nodes]),
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
    )
    if not isinstance(plan, Plan):
        raise InvalidArgument(
            f"{type(policy).__name__}.plan returned {plan!r}; it must return a policies.Plan"
        )
    return plan


def answer(core: _core.Generation, plan: Plan) -> None:
    """Hands a plan to the core."""
    core.answer(
        plan.draft_length,
        -1 if plan.branch_at is None else plan.branch_at,
        plan.branches,
        -1 if plan.submit is None else plan.submit,
    )


def _outcome(plan: Any, *rest: Any) -> Outcome:
    if plan is not None:
        draft_length, branch_at, branches, submit = plan
        plan = Plan(
            draft_length,
            None if branch_at < 0 else branch_at,
            branches,
            None if submit < 0 else submit,
        )
    return Outcome(plan, *rest)
