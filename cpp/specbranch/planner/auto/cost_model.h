/// The cost model: the time of a step as a function of its batch length, updated by every step.
#pragma once

#include <vector>

#include "specbranch/planner/planner.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// The time of a step as a function of its batch length. Lengths between two measured lengths are
/// interpolated. With one measurement or none, the curve has an assumed small slope.
class StepCurve {
 public:
  static constexpr int kLongest = 96;

  /// `table`: [n - 1] in microseconds, 0 where it was not measured; refreshed in place.
  explicit StepCurve(std::vector<double>* table);

  /// Microseconds of a step over `n` >= 1 tokens.
  double at(int n) const;

  /// At least one length has a measured time.
  bool known() const { return known_; }

  /// Length `n` has a measured time of its own.
  bool measured(int n) const;

  /// Learns from a step over `n` tokens that took `us`; `weight` (0 to 1) scales the update. An
  /// outlier is ignored, but several outliers in a row replace the old value.
  void refresh(int n, double us, double weight = 1.0);

  /// Sets the time of one token while no time is known; default: one millisecond.
  void assume(double us);

 private:
  void rebuild();

  std::vector<double>* table_;
  std::vector<int> counts_;    ///< how often each entry was refreshed.
  std::vector<int> n_wild_;    ///< outliers in a row, by entry.
  std::vector<double> curve_;  ///< [n - 1], every length.
  double assumed_us_ = 1000.0;
  bool known_ = false;
};

/// Estimates how much one model slows down while the other model runs (contention).
class SlowdownEstimator {
 public:
  explicit SlowdownEstimator(double slowdown = 1.0) : speed_(1.0 / slowdown) {}

  /// Learns from a step whose time was 1 / `alone_share` of its time alone, and which overlapped
  /// with the other model for the share `overlap`. Returns the new estimate, at least 1.
  double observe(double alone_share, double overlap);

 private:
  double speed_;  ///< mean speed while both run, as a share of the speed alone.
};

/// The step times of both models, and their slow-down when both run.
class CostModel {
 public:
  /// `costs` outlives this and is kept up to date.
  explicit CostModel(StepCosts* costs);

  /// Microseconds of a verification of `n` tokens, alone on the machine.
  double target(int n) const { return target_.at(n); }

  /// Padding tokens that make a verification of `n` tokens fastest, `longest` tokens in all.
  int pad(int n, int longest) const;

  /// Microseconds of a verification of `n` tokens, padded where padding is faster.
  double padded_target(int n, int longest) const { return target(n + pad(n, longest)); }

  /// Microseconds of a draft pass over `b` sequences, alone on the machine.
  double draft(int b) const { return draft_.at(b); }

  double target_slowdown() const { return costs_->target_slowdown; }
  double draft_slowdown() const { return costs_->draft_slowdown; }

  /// The delay of the target, in microseconds, per microsecond of draft work beside it.
  double interference() const;

  /// Both models have been timed.
  bool known() const { return target_.known() && draft_.known(); }
  bool target_known() const { return target_.known(); }

  /// Learns from a step. A step alone updates its curve. An overlapped step of one token updates
  /// the slow-down. A longer overlapped step updates the curve, after division by the slow-down.
  void on_step(const StepTime& step);

 private:
  void assume_missing();

  StepCosts* costs_;
  StepCurve target_;
  StepCurve draft_;
  SlowdownEstimator beside_draft_;   ///< of the target.
  SlowdownEstimator beside_target_;  ///< of the draft.
};

}  // namespace specbranch
