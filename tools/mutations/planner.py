"""The lock-step planners and the built-in policies."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "others-free",
        "beside other texts a step is taken for as short as alone",
        "planner/cost_model.h",
        "return static_cast<int>(std::lround(n_others));",
        "return static_cast<int>(std::lround(0.0 * n_others));",
    ),
    Mutation(
        "others-own-length",
        "the time of a common batch is learnt for the rows of one text",
        "planner/cost_model.cpp",
        ".observe(step.n_tokens + step.n_others + step.n_pad,",
        ".observe(step.n_tokens,",
    ),
    Mutation(
        "more-branches-than-sequences",
        "the planner ignores how many sequences are free",
        "planner/round_planners.cpp",
        "view.free_seqs + (point.seq == kNoSeq ? 0 : 1)",
        "view.free_seqs + 2",
    ),
    Mutation(
        "verification-before-round",
        "a lock-step verification is applied while the draft is at work",
        "planner/round_planners.cpp",
        "{ return drafted_ && view.draft_idle; }",
        "{ return drafted_ || !view.draft_idle; }",
    ),
    Mutation(
        "stops-at-certain",
        "chains stop at the tokens that are certain",
        "planner/policy_rules.cpp",
        "entropy_->low_confidence(candidates) : confidence < epsilon_;",
        "entropy_->low_confidence(candidates) : confidence > epsilon_;",
    ),
    Mutation(
        "branches-where-certain",
        "many branches where the draft is certain, few where it is not",
        "planner/round_planners.cpp",
        "const double doubt = 1.0 - point.candidates[0].confidence;",
        "const double doubt = point.candidates[0].confidence;",
    ),
    Mutation(
        "head-start-lost",
        "a branch that is kept from the last round is drafted from its first token again",
        "planner/round_planners.cpp",
        "return known == kNoNode ? first : NodeRef{tree.main_leaf(known)};",
        "return known == kNoNode ? first : NodeRef{known};",
    ),
    Mutation(
        "window-past-doubts",
        "windows are drafted past the token where the next round branches",
        "planner/round_planners.cpp",
        "  return !unbounded && policy().low_confidence(",
        "  return unbounded && policy().low_confidence(",
    ),
    Mutation(
        "threshold-backwards",
        "AdaEDL drafts more the less is accepted",
        "planner/policy_rules.cpp",
        "acceptance_ <= wanted_ ? kStep : -kStep",
        "acceptance_ <= wanted_ ? -kStep : kStep",
    ),
    Mutation(
        "unsure-heeded",
        "H-RAD's network decides however unsure it is",
        "planner/policy_rules.cpp",
        "  if (*likeliest < min_probability_) return;",
        "",
    ),
    Mutation(
        "prediction-remembered",
        "what H-RAD predicted for one round holds for all that follow",
        "planner/policy_rules.cpp",
        "predicted_ = std::exchange(next_predicted_, WindowAcceptance::kSome);",
        "predicted_ = next_predicted_;",
    ),
    Mutation(
        "rejection-drafted-on",
        "a window that H-RAD has given up is drafted on",
        "planner/round_planners.cpp",
        "if (rejection_predicted_ && !point.children.empty() && n_branches_ > 1)",
        "if (false && !point.children.empty() && n_branches_ > 1)",
    ),
)
