/// What steps cost: curves over batch length from what was measured, refreshed by steps taken.
#pragma once

#include <vector>

#include "specbranch/planner/planner.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// Time of a step against the length of its batch. Lengths that were not measured lie on the line
/// between their neighbours; with one measurement or none, on an assumed gentle slope.
class StepCurve {
 public:
  static constexpr int kLongest = 96;

  /// `table`: [n - 1] in microseconds, 0 where it was not measured; refreshed in place.
  explicit StepCurve(std::vector<double>* table);

  /// Microseconds of a step over `n` >= 1 tokens.
  double at(int n) const;

  /// Something was measured, by whomever.
  bool known() const { return known_; }

  /// `n` itself was measured.
  bool measured(int n) const;

  /// A step over `n` tokens took `us`, `weight` (0 to 1) of which is to be believed. A single wild
  /// time is ignored; several in a row are the truth.
  void refresh(int n, double us, double weight = 1.0);

  /// The time of one token while nothing is known; one millisecond unless told.
  void assume(double us);

 private:
  void rebuild();

  std::vector<double>* table_;
  std::vector<int> counts_;    ///< how often each entry was refreshed.
  std::vector<int> n_wild_;    ///< wild times in a row, by entry.
  std::vector<double> curve_;  ///< [n - 1], every length.
  double assumed_us_ = 1000.0;
  bool known_ = false;
};

/// How much the work of the other model slows one down.
class SlowdownEstimator {
 public:
  explicit SlowdownEstimator(double slowdown = 1.0) : speed_(1.0 / slowdown) {}

  /// A step that overlapped with the other model for `overlap` of its time took 1 / `alone_share`
  /// of its time alone. Returns the slow-down as it is known now, at least 1.
  double observe(double alone_share, double overlap);

 private:
  double speed_;  ///< of that alone, on the average.
};

/// Both models' curves and what they do to each other.
class CostModel {
 public:
  /// `costs` outlives this and is kept up to date.
  explicit CostModel(StepCosts* costs);

  /// Microseconds of a verification of `n` tokens, alone on the machine.
  double target(int n) const { return target_.at(n); }

  /// Tokens to add to a verification of `n` so that it is as quick as can be, `longest` in all.
  int pad(int n, int longest) const;

  /// A verification of `n` tokens, padded where that pays.
  double padded_target(int n, int longest) const { return target(n + pad(n, longest)); }

  /// Microseconds of a draft pass over `b` sequences, alone on the machine.
  double draft(int b) const { return draft_.at(b); }

  double target_slowdown() const { return costs_->target_slowdown; }
  double draft_slowdown() const { return costs_->draft_slowdown; }

  /// How much longer the target takes in all for every microsecond of the draft's work that runs
  /// beside it.
  double interference() const;

  /// Both models have been timed.
  bool known() const { return target_.known() && draft_.known(); }
  bool target_known() const { return target_.known(); }

  /// Steps alone refresh the curves; of the others single tokens the slow-downs, longer ones the
  /// curves with that slow-down taken out.
  void on_step(const StepTime& step);

 private:
  void assume_missing();

  StepCosts* costs_;
  StepCurve target_;
  StepCurve draft_;
  SlowdownEstimator beside_draft_;   ///< what the target feels.
  SlowdownEstimator beside_target_;  ///< what the draft feels.
};

}  // namespace specbranch
