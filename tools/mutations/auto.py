"""The planner of the auto mode."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "auto-budget-forgotten",
        "more branches are planned than there are sequences",
        "planner/auto/tree_expansion.cpp",
        "    if (n_free_ == 0) return false;\n",
        "",
    ),
    Mutation(
        "auto-tip-shared",
        "two nodes are planned to go on in one sequence",
        "planner/auto/tree_expansion.cpp",
        "        ++tip;\n",
        "",
    ),
    Mutation(
        "auto-waits-for-ever",
        "the target waits for a draft that has nothing to do",
        "planner/auto/auto_planner.cpp",
        "  if (waits && decision.evaluate.empty() && view.evaluating.empty()) {",
        "  if (waits && decision.evaluate.empty() && !view.evaluating.empty()) {",
    ),
    Mutation(
        "auto-locked-in",
        "a paused draft is never probed again",
        "planner/auto/schedule_choice.cpp",
        "  return costs_.known() && worth_probing(unseen, unseen);",
        "  return false;",
    ),
    Mutation(
        "rates-blind",
        "expected rates ignore that chains end at a low-confidence token",
        "planner/auto/expected_rates.cpp",
        "        if (taken.value(rate) < stop.value(rate)) taken = stop;\n",
        "",
    ),
    Mutation(
        "rates-free-draft",
        "expected rates take drafting beside the target for free",
        "planner/auto/expected_rates.cpp",
        "(1.0 - alpha + alpha * beside)",
        "(1.0 - alpha)",
    ),
    Mutation(
        "meter-no-scatter",
        "speculation is given up for one short slump",
        "planner/auto/rate_meter.cpp",
        "mean + std::sqrt(variance / n_)",
        "mean",
    ),
    Mutation(
        "classes-no-optimism",
        "what is known of a draft is taken for certain from the first token on",
        "planner/auto/acceptance_model.cpp",
        "a + optimism * deviation",
        "a",
    ),
    Mutation(
        "auto-never-discounted",
        "a probe weighs nothing against the history",
        "planner/auto/acceptance_model.cpp",
        "    if (whole <= limit) return;\n",
        "    if (whole >= 0.0) return;\n",
    ),
    Mutation(
        "auto-shares-the-machine",
        "both models run at once where they only share the time",
        "planner/auto/auto_planner.cpp",
        "  if (sequential && target_busy) return;\n",
        "",
    ),
    Mutation(
        "auto-pads-nothing",
        "a shorter verification is taken where a longer one is quicker",
        "planner/auto/cost_model.cpp",
        "    if (target(m) < target(best)) best = m;\n",
        "    if (target(m) > target(best)) best = n;\n",
    ),
    Mutation(
        "auto-overlap-is-alone",
        "the slow-down is taken for the cost of the step",
        "planner/auto/cost_model.cpp",
        "  if (o <= kAlone) {",
        "  if (o <= 1.0) {",
    ),
    Mutation(
        "auto-blames-absent-draft",
        "the rate of a text without its draft counts against the draft",
        "planner/auto/auto_planner.cpp",
        "  if (!view.draft_usable) return;\n",
        "",
    ),
    Mutation(
        "auto-forgets-its-pause",
        "every generation tries again what the last one paused",
        "planner/auto/schedule_choice.cpp",
        "  table.paused = failed;\n",
        "",
    ),
)
