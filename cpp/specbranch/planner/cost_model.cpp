#include "specbranch/planner/cost_model.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "specbranch/planner/padding.h"

namespace specbranch {
namespace {

/// A typical draft is this much faster than its target.
constexpr double kAssumedRatio = 8.0;
/// Weight of the newest batch among the tokens of other texts.
constexpr double kNewestBatch = 0.5;

}  // namespace

CostModel::CostModel(PairProfile* profile)
    : costs_(&profile->costs),
      others_(&profile->others),
      target_(&costs_->target_us, &costs_->target_slowdown, &profile->doubts.target),
      draft_(&costs_->draft_us, &costs_->draft_slowdown, &profile->doubts.draft) {
  target_.begin_text();
  draft_.begin_text();
  assume_missing();
}

void CostModel::assume_missing() {
  if (!draft_.known()) draft_.assume(target_.at(1) / kAssumedRatio);
  if (!target_.known() && draft_.known()) {
    target_.assume(draft_.at(1) * kAssumedRatio);
  }
}

int CostModel::pad(int n, int longest) const {
  if (n == 1 || !pads_) return 0;  // plain decoding, by which everything else is judged
  if (crowded()) return 0;         // a batch of several texts is not padded
  return best_padding(n, std::min(longest, StepCurve::kLongest),
                      [this](int m) { return target(m); });
}

double CostModel::interference() const {
  return (1.0 - 1.0 / target_slowdown()) * draft_slowdown();
}

void CostModel::on_step(const StepTime& step) {
  const auto us = static_cast<double>(step.end_us - step.begin_us);
  // A draft pass that also reads committed text has no length of its own.
  if (step.n_extra > 0) return;
  const bool of_target = step.role == ModelRole::kTarget;
  if (of_target) {
    const bool alone = step.overlap <= StepCurve::kAlone;
    const int n = step.n_tokens + step.n_others;
    steps_since_plain_ = alone && n == 1 ? 0 : steps_since_plain_ + 1;
    // Each text tells of the same batch.
    double& batches = others_->batches_since_plain;
    batches = alone && crowded() && n == step.n_texts ? 0.0 : batches + 1.0 / n_texts();
    others_->target_tokens += kNewestBatch * (step.n_others - others_->target_tokens);
  }
  StepCurve& curve = of_target ? target_ : draft_;
  std::int64_t& learned_us = others_->learned_us[of_target ? 0 : 1];
  const bool learned = step.n_texts > 1 && step.end_us == learned_us;
  if (learned || step.n_parts > 1) {  // the curve is of batches that are computed at once
    curve.refresh();
  } else {
    curve.observe(step.n_tokens + step.n_others + step.n_pad, us, step.overlap);
  }
  learned_us = step.end_us;
  assume_missing();
}

StepCosts without_gaps(PairProfile profile) {
  StepCosts costs = profile.costs;
  profile.others = {};  // of one text
  const CostModel model(&profile);
  const auto fill = [](std::vector<double>& curve, const auto& us_of) {
    for (std::size_t i = 0; i < curve.size(); ++i) {
      if (!(curve[i] > 0.0)) curve[i] = us_of(static_cast<int>(i) + 1);
    }
  };
  fill(costs.target_us, [&](int n) { return model.target(n); });
  fill(costs.draft_us, [&](int n) { return model.draft(n); });
  return costs;
}

}  // namespace specbranch
