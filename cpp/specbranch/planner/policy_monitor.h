/// Collects the data for a caller's policy. Owned by the decoder.
#pragma once

#include <vector>

#include "specbranch/model/policy.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// *Thread safety:* none; owned by a decoder.
class PolicyMonitor {
 public:
  /// `active` false: the policy is a built-in one, nothing is kept.
  explicit PolicyMonitor(bool active) : active_(active) {}

  bool active() const { return active_; }

  void on_step(const StepTime& step);
  void on_features(const std::vector<float>& features);
  void on_outcome(const PolicyOutcome& outcome);

  /// Drops the outcomes that the policy has seen.
  void forget_outcomes() { outcomes_.clear(); }

  PolicyRound round(const View& view, const Request& request) const;

 private:
  bool active_;
  double acceptance_ = 1.0;
  double target_us_ = 0.0;
  double draft_us_ = 0.0;
  std::vector<float> features_;
  std::vector<PolicyOutcome> outcomes_;
};

/// The allowed values of a plan in the round that begins now.
PlanLimits plan_limits(const View& view, const Request& request);

}  // namespace specbranch
