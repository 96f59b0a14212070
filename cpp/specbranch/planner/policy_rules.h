/// The rules of the policies for planners: the built-in rules, and the caller's plan.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "specbranch/model/hrad.h"
#include "specbranch/model/policy.h"

namespace specbranch {

/// AdaEDL's threshold (arXiv:2410.18351) with the on-line rule that it takes from Draft & Verify
/// (arXiv:2309.08168): it rises while less is accepted than wanted, and falls while more is.
class EntropyThreshold {
 public:
  EntropyThreshold(double lambda, double acceptance) : lambda_(lambda), wanted_(acceptance) {}

  /// `1 - sqrt(kGamma * H)`, a lower bound of the chance that the next token is accepted, is below
  /// the threshold. H: entropy in nats of the confidences, which are normalised over `candidates`.
  bool low_confidence(std::span<const Candidate> candidates) const;

  /// A verification accepted this share of what was submitted.
  void update(double accepted);

  double lambda() const { return lambda_; }

 private:
  static constexpr double kGamma = 0.2;
  static constexpr double kStep = 0.01;           ///< epsilon of the paper.
  static constexpr double kKeepAcceptance = 0.5;  ///< beta 1.
  static constexpr double kKeepLambda = 0.9;      ///< beta 2.

  double lambda_;
  double wanted_;
  double acceptance_ = 1.0;
};

/// How far a round drafts, and where it stops or branches.
class RoundPolicy {
 public:
  explicit RoundPolicy(const Request& request);

  /// Tokens a round drafts at most, without a plan.
  int gamma() const { return gamma_; }

  /// Candidates that must be known after each node.
  int width() const;

  /// The draft's first choice among `candidates`, of that confidence, ends a chain before it, or
  /// becomes a branch point.
  bool low_confidence(double confidence, std::span<const Candidate> candidates) const;

  /// A low confidence also ends a window that is drafted during a verification, where no branch is.
  bool ends_windows() const { return entropy_.has_value(); }

  /// H-RAD's prediction for the tokens past the newest token; kSome: no prediction.
  WindowAcceptance predicted() const { return predicted_; }

  /// The caller's policy must plan this round.
  bool wants_plan() const { return hook_ && !answered_; }
  void set_plan(const std::optional<Plan>& plan);
  const std::optional<Plan>& plan() const { return plan_; }

  void on_features(std::span<const float> features);
  void on_outcome(const PolicyOutcome& outcome);
  void end_round();

 private:
  int gamma_;
  double epsilon_;
  bool hook_;
  std::optional<EntropyThreshold> entropy_;
  std::unique_ptr<HradClassifier> hrad_;
  double min_probability_ = 0.0;
  WindowAcceptance predicted_ = WindowAcceptance::kSome;
  /// The prediction for the round after the pending verification.
  WindowAcceptance next_predicted_ = WindowAcceptance::kSome;
  bool answered_ = false;
  std::optional<Plan> plan_;
};

}  // namespace specbranch
