#include "specbranch/planner/policy_rules.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

using Kind = PolicyOptions::Kind;

void check(const char* field, int value, int low, int high, const char* also = "") {
  if (value >= low && value <= high) return;
  throw InvalidArgument(std::string("the policy's plan has ") + field + " " +
                        std::to_string(value) + "; in this round it must be in " +
                        std::to_string(low) + " .. " + std::to_string(high) + also);
}

/// A field that a caller may leave to the mode: -1 here, None in Python.
void check_optional(const char* field, int value, int high) {
  if (value != -1) check(field, value, 0, high, ", or None");
}

}  // namespace

void validate(const Plan& plan, const PlanLimits& limits) {
  check("draft_length", plan.draft_length, 0, limits.max_draft);
  check_optional("branch_at", plan.branch_at, limits.max_branch_at);
  check("branches", plan.branches, 1, limits.max_branches);
  check_optional("submit", plan.submit, limits.max_submit);
}

bool EntropyThreshold::low_confidence(std::span<const Candidate> candidates) const {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.confidence;
  if (sum <= 0) return true;
  double entropy = 0;
  for (const Candidate& candidate : candidates) {
    const double share = candidate.confidence / sum;
    if (share > 0) entropy -= share * std::log(share);
  }
  return 1.0 - std::sqrt(kGamma * std::max(0.0, entropy)) < lambda_;
}

void EntropyThreshold::update(double accepted) {
  acceptance_ = kKeepAcceptance * acceptance_ + (1.0 - kKeepAcceptance) * accepted;
  const double aim = lambda_ + (acceptance_ <= wanted_ ? kStep : -kStep);
  lambda_ = std::clamp(kKeepLambda * lambda_ + (1.0 - kKeepLambda) * aim, 0.0, 1.0);
}

RoundPolicy::RoundPolicy(const Request& request)
    : gamma_(request.max_draft), epsilon_(request.policy.epsilon) {
  const PolicyOptions& policy = request.policy;
  hook_ = policy.kind == Kind::kHook;
  if (policy.kind == Kind::kFixed) {
    gamma_ = std::min(policy.gamma, request.max_draft);
    epsilon_ = 0.0;
  } else if (policy.kind == Kind::kAdaEdl) {
    entropy_.emplace(policy.lambda, policy.acceptance);
  } else if (policy.kind == Kind::kHrad) {
    hrad_ = std::make_unique<HradClassifier>(policy.hrad);
    min_probability_ = policy.min_probability;
  }
}

int RoundPolicy::width() const {
  if (entropy_) return kDraftCandidates;
  return hook_ ? kPolicyCandidates : 1;
}

bool RoundPolicy::low_confidence(double confidence, std::span<const Candidate> candidates) const {
  return entropy_ ? entropy_->low_confidence(candidates) : confidence < epsilon_;
}

void RoundPolicy::set_plan(const std::optional<Plan>& plan) {
  answered_ = true;
  plan_ = plan;
}

void RoundPolicy::on_features(std::span<const float> features) {
  if (!hrad_) return;
  const std::array<float, 3> chances = hrad_->probabilities(features);
  const auto likeliest = std::ranges::max_element(chances);
  if (*likeliest < min_probability_) return;  // `some`: the confidence decides
  next_predicted_ = static_cast<WindowAcceptance>(likeliest - chances.begin());
}

void RoundPolicy::on_outcome(const PolicyOutcome& outcome) {
  if (!entropy_ || outcome.n_submitted == 0) return;
  entropy_->update(static_cast<double>(outcome.n_accepted) / outcome.n_submitted);
}

void RoundPolicy::end_round() {
  predicted_ = std::exchange(next_predicted_, WindowAcceptance::kSome);
  answered_ = false;
  plan_.reset();
}

}  // namespace specbranch
