/// The cost model: the step times of both models, updated by every step.
#pragma once

#include <algorithm>
#include <cmath>

#include "specbranch/planner/padding.h"
#include "specbranch/planner/planner.h"
#include "specbranch/planner/step_curve.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// The step times of both models, and their slow-down when both run.
class CostModel {
 public:
  /// `profile` outlives this, and its costs are kept up to date.
  explicit CostModel(PairProfile* profile);

  /// Microseconds of a verification of `n` tokens, alone on the machine. A batch is not faster than
  /// one token; where it was measured so, the measurement was disturbed. Where other texts share
  /// the batch, it has their tokens, too: as many as the last ones had.
  double target(int n) const {
    const int n_others = rounded(others_->target_tokens);
    return std::max(batch(n_others + 1), batch(n_others + n));
  }

  /// False: the target takes no padding tokens.
  void set_padding(bool pads) { pads_ = pads; }

  /// Padding tokens that make a verification of `n` tokens fastest, `longest` tokens in all. One
  /// token is never padded.
  int pad(int n, int longest) const;

  /// Microseconds of a verification of `n` tokens, padded where padding is faster.
  double padded_target(int n, int longest) const { return target(n + pad(n, longest)); }

  /// Microseconds of a padded verification in which every running text has `n` tokens.
  double target_of_all(int n, int longest) const {
    return crowded() ? batch(n * n_texts()) : padded_target(n, longest);
  }

  /// Microseconds of a batch of `n` tokens, alone on the machine. That of several texts is padded
  /// where padding is faster.
  double batch(int n) const { return target_.at(in_batch(n)); }

  /// Microseconds of a draft pass over `b` sequences of every running text, alone on the machine.
  double draft(int b) const { return draft_.at(b * n_texts()); }

  /// Texts that run at the same time and share the batches.
  int n_texts() const { return others_->n_running + 1; }
  bool crowded() const { return n_texts() > 1; }

  double target_slowdown() const { return costs_->target_slowdown; }
  double draft_slowdown() const { return costs_->draft_slowdown; }

  /// The delay of the target, in microseconds, per microsecond of draft work beside it.
  double interference() const;

  /// Both models have been timed.
  bool known() const { return target_.known() && draft_.known(); }
  bool target_known() const { return target_.known(); }

  /// A recent step of the target alone says what one token of every text takes alone. If not,
  /// neither the gain of speculation nor the slow-down is certain. Of the texts, those count that
  /// take part in the batches; the others still read their prompts.
  bool baseline_known(double doubt) const {
    return target_.doubt(in_batch(std::min(n_texts(), 1 + rounded(others_->target_tokens)))) <=
           doubt;
  }

  /// Nothing but the measurement while loading, in which other programs may have run, says what a
  /// verification of several tokens takes; beside others, one of two tokens of every text.
  bool verification_unproven() const { return target_.shape_doubt(n_texts()) > kUnproven; }
  /// The same of the slow-down.
  bool slowdown_unproven() const { return target_.slowdown_doubt() > kUnproven; }

  /// Steps of the target since it last decoded one token of every text, alone on the machine; many
  /// if it has not in this text, or beside other texts.
  int steps_since_plain() const {
    return crowded() ? rounded(others_->batches_since_plain) : steps_since_plain_;
  }

  /// Such a step is due, `interval` steps after the last one. Beside texts of other modes, which
  /// may draft on, it may not come: after a few batches it is tried later again.
  bool plain_step_due(int interval) const {
    const int since = steps_since_plain();
    return since >= interval && (!crowded() || since % interval < kPlainTries);
  }

  /// Microseconds by which one more row makes a batch of several texts longer: the mean up to
  /// `n` tokens of each.
  double row_us(int n) const {
    return (target_of_all(n, n) - target_of_all(1, 1)) / static_cast<double>((n - 1) * n_texts());
  }

  /// Learns from a step: its curve, and the slow-down if it ran beside the other model.
  void on_step(const StepTime& step);

 private:
  /// Below the doubt of a measurement while loading, above that after one step.
  static constexpr double kUnproven = 0.2;
  static constexpr int kPlainTries = 3;  ///< batches in a row in which several texts wait for one.

  static int rounded(double n_others) { return static_cast<int>(std::lround(n_others)); }
  /// The length of a batch of `n` tokens, padding of the engine included.
  int in_batch(int n) const {
    return crowded() ? n + batch_padding(n, costs_->target_us, others_->longest_padded) : n;
  }
  void assume_missing();

  StepCosts* costs_;
  OtherTexts* others_;
  StepCurve target_;
  StepCurve draft_;
  int steps_since_plain_ = 1'000'000;
  bool pads_ = true;
};

/// The costs of `profile`, where lengths that no step has had are interpolated.
StepCosts without_gaps(PairProfile profile);

}  // namespace specbranch
