/// The data of a policy: the round that it sees, its plan, and the outcome. Plain data.
#pragma once

#include <optional>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/options.h"
#include "specbranch/sampling/choice.h"

namespace specbranch {

/// A plan for one round. A plan changes the speed, never a token.
struct Plan {
  int draft_length = 0;  ///< tokens drafted past the branch point at most.
  int branch_at = -1;    ///< drafted tokens before the branch point; -1: the mode's own rule.
  int branches = 1;      ///< branches at most; fewer where sequences or candidates run out.
  int submit = -1;       ///< drafted tokens to verify at most; -1: up to the branch point.

  bool operator==(const Plan&) const = default;
};

/// The allowed values of a plan.
struct PlanLimits {
  int max_draft = 0;      ///< `draft_length`: 0 .. this.
  int max_branch_at = 0;  ///< `branch_at`: -1 .. this, the length of the main path.
  int max_branches = 1;   ///< `branches`: 1 .. this.
  int max_submit = 0;     ///< `submit`: -1 .. this.
};

/// Throws InvalidArgument that names the first field out of range, its value and its limits.
void validate(const Plan& plan, const PlanLimits& limits);

/// How many candidates of a node a caller's policy sees, and how many nodes.
inline constexpr int kPolicyCandidates = 8;
inline constexpr int kPolicyNodes = 256;

/// A token of the draft tree as the policy sees it.
struct PolicyNode {
  int parent = -1;  ///< index among the round's nodes; -1: the root.
  Token token = 0;
  double confidence = 1.0;            ///< the draft's, for this token after its parent.
  std::vector<Candidate> candidates;  ///< best first; empty: the draft has not gone on from here.
};

/// The outcome of a round.
struct PolicyOutcome {
  std::optional<Plan> plan;  ///< empty: the policy was skipped, or is built in.
  int n_submitted = 0;       ///< drafted tokens that the target verified ...
  int n_accepted = 0;        ///< ... and of these, how many it chose too.
  bool branch_hit = false;   ///< the target's own token after those was drafted, too.
  int n_rolled_back = 0;
  std::vector<Token> committed;  ///< what became text.
};

/// A round as a caller's policy sees it.
struct PolicyRound {
  Mode mode = Mode::kAutoregressive;
  Pos position = 0;               ///< of the root, the newest token of the text.
  std::vector<PolicyNode> nodes;  ///< the root, then the main path, then the rest; parents first.
  int n_path = 0;                 ///< nodes[1 .. n_path] are the main path.
  PlanLimits limits;
  double acceptance = 1.0;      ///< running share of the submitted tokens that were accepted.
  double target_us = 0.0;       ///< running mean of a verification's time; 0: not known yet.
  double draft_us = 0.0;        ///< running mean of a draft pass's time; 0: not known yet.
  std::vector<float> features;  ///< see `Verification::features`; empty: no features.
  int n_feature_layers = 0;     ///< K of `features`.
  std::vector<PolicyOutcome> outcomes;  ///< since the policy's last answer; oldest first.
};

}  // namespace specbranch
