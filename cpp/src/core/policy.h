/// The built-in stopping rules, as planners use them.
#pragma once

#include "specbranch/core/options.h"

namespace specbranch {

/// How many tokens a round drafts at most, and where it stops or branches before that.
class StoppingRule {
 public:
  StoppingRule(const PolicyOptions& policy, int max_draft)
      : gamma_(policy.kind == PolicyOptions::Kind::kFixed && policy.gamma < max_draft ? policy.gamma
                                                                                      : max_draft),
        epsilon_(policy.kind == PolicyOptions::Kind::kConfidence ? policy.epsilon : 0.0) {}

  int gamma() const { return gamma_; }

  /// A token of this confidence ends a chain before it, or becomes a branch point.
  bool doubts(double confidence) const { return confidence < epsilon_; }

 private:
  int gamma_;
  double epsilon_;
};

}  // namespace specbranch
