"""A policy that drafts as many tokens as fit into one step of the target."""

from __future__ import annotations

import sys

from specbranch_cpp import Engine, demo, policies


class KeepPace:
    """Drafts on while the target works, and less where much was rejected."""

    def __init__(self) -> None:
        self.share = 1.0

    def plan(self, state: policies.RoundState) -> policies.Plan:
        steps = state.target_ms / state.draft_ms if state.draft_ms > 0 else 4.0
        return policies.Plan(max(1, min(state.max_draft, int(self.share * steps))))

    def observe(self, outcome: policies.RoundOutcome) -> None:
        if outcome.n_submitted > 0:
            self.share += 0.1 * (outcome.n_accepted / outcome.n_submitted - self.share)


models = sys.argv[1:3] or demo.pair()
with Engine(*models, n_ctx=2048) as engine:
    for policy in (policies.Fixed(4), policies.Confidence(0.4), KeepPace()):
        done = engine.complete("def main():\n", max_tokens=96, policy=policy)
        stats = done.stats
        print(
            f"{type(policy).__name__:<12}{stats.mean_accepted_length:5.2f} tokens a step, "
            f"{stats.rollback_rate:4.0%} rolled back"
        )
