#include "specbranch/planner/auto/cost_model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace specbranch {
namespace {

constexpr double kAssumedSlope = 0.15;  ///< per token more, of one token's time.
constexpr double kWild = 3.0;           ///< a time this many times more or less is an outlier.
constexpr int kWildInARow = 3;
constexpr double kRefresh = 0.1;
constexpr double kRefreshShared = 0.15;  ///< of the slow-down, by a step that overlaps in full.
constexpr double kDrift = 0.02;  ///< share of a change that the other lengths follow at once.
constexpr int kTrusted = 8;      ///< times that an entry of the profile counts as measured.
constexpr double kAlone = 0.02;
constexpr double kShared = 0.3;  ///< overlap from which a step tells something of the slow-down.
constexpr double kMaxSlowdown = 4.0;
constexpr double kMaxSpeed = 1.5;     ///< of a step that came out quicker than alone.
constexpr double kSharedDoubt = 0.5;  ///< of a step's time that is believed less if overlapped.
/// A typical draft is this much quicker than its target.
constexpr double kAssumedRatio = 8.0;

double assumed_shape(int n) { return 1.0 + kAssumedSlope * static_cast<double>(n - 1); }

}  // namespace

StepCurve::StepCurve(std::vector<double>* table) : table_(table) {
  counts_.assign(kLongest, 0);
  n_wild_.assign(kLongest, 0);
  const std::size_t n = std::min<std::size_t>(table_->size(), kLongest);
  for (std::size_t i = 0; i < n; ++i) {
    if ((*table_)[i] > 0.0) counts_[i] = kTrusted;
  }
  rebuild();
}

double StepCurve::at(int n) const {
  return curve_[static_cast<std::size_t>(std::clamp(n, 1, kLongest) - 1)];
}

bool StepCurve::measured(int n) const {
  return n >= 1 && n <= kLongest && counts_[static_cast<std::size_t>(n - 1)] > 0;
}

void StepCurve::assume(double us) {
  if (known_ || !(us > 0.0)) return;
  assumed_us_ = us;
  rebuild();
}

void StepCurve::refresh(int n, double us, double weight) {
  if (n < 1 || n > kLongest || !std::isfinite(us) || us <= 0.0) return;
  const auto i = static_cast<std::size_t>(n - 1);
  if (table_->size() <= i) table_->resize(i + 1, 0.0);
  double& entry = (*table_)[i];
  double ratio = 1.0;
  if (entry <= 0.0 || counts_[i] == 0) {
    entry = us;
  } else if (us > kWild * entry || us * kWild < entry) {
    if (++n_wild_[i] < kWildInARow) return;
    entry = us;
    counts_[i] = 0;
  } else {
    const double rate = std::max(kRefresh, 1.0 / static_cast<double>(counts_[i] + 1)) * weight;
    ratio = us / entry;
    entry += rate * (us - entry);
  }
  n_wild_[i] = 0;
  ++counts_[i];
  // A longer text or a slower clock changes the times of all lengths.
  const double drift = 1.0 + kDrift * weight * (ratio - 1.0);
  for (std::size_t k = 0; k < table_->size(); ++k) {
    if (k != i) (*table_)[k] *= drift;
  }
  rebuild();
}

void StepCurve::rebuild() {
  curve_.resize(kLongest);
  int last = 0;  // the measured length before n; 0: none.
  int first = 0;
  const auto entry = [&](int n) { return (*table_)[static_cast<std::size_t>(n - 1)]; };
  const int n_table = static_cast<int>(std::min<std::size_t>(table_->size(), kLongest));
  for (int n = 1; n <= n_table; ++n) {
    if (!(entry(n) > 0.0)) continue;
    for (int k = last + 1; k <= n; ++k) {
      double& value = curve_[static_cast<std::size_t>(k - 1)];
      if (last == 0) {
        value = entry(n) * assumed_shape(k) / assumed_shape(n);
      } else {
        const double share = static_cast<double>(k - last) / static_cast<double>(n - last);
        value = entry(last) + share * (entry(n) - entry(last));
      }
    }
    if (first == 0) first = n;
    last = n;
  }
  known_ = last > 0;
  for (int n = last + 1; n <= kLongest; ++n) {
    double value = assumed_us_ * assumed_shape(n);
    if (last > 0 && last == first) {
      value = entry(last) * assumed_shape(n) / assumed_shape(last);
    } else if (last > 0) {
      const double slope = (entry(last) - entry(first)) / static_cast<double>(last - first);
      value = entry(last) + std::max(0.0, slope) * static_cast<double>(n - last);
    }
    curve_[static_cast<std::size_t>(n - 1)] = value;
  }
}

double SlowdownEstimator::observe(double alone_share, double overlap) {
  // The step ran for us * (1 - o) at full speed, and for us * o at speed 1 / s. The sum of the work
  // is the time alone. We average 1 / s, because its mean has no bias when times scatter.
  const double seen = 1.0 + (alone_share - 1.0) / overlap;
  const double rate = kRefreshShared * overlap * overlap;  // the less overlap, the more it scatters
  speed_ += rate * (std::clamp(seen, 1.0 / kMaxSlowdown, kMaxSpeed) - speed_);
  return std::max(1.0, 1.0 / speed_);
}

CostModel::CostModel(StepCosts* costs)
    : costs_(costs), target_(&costs->target_us), draft_(&costs->draft_us) {
  costs_->target_slowdown = std::clamp(costs_->target_slowdown, 1.0, kMaxSlowdown);
  costs_->draft_slowdown = std::clamp(costs_->draft_slowdown, 1.0, kMaxSlowdown);
  beside_draft_ = SlowdownEstimator(costs_->target_slowdown);
  beside_target_ = SlowdownEstimator(costs_->draft_slowdown);
  assume_missing();
}

void CostModel::assume_missing() {
  if (!draft_.known()) draft_.assume(target_.at(1) / kAssumedRatio);
  if (!target_.known() && draft_.known()) target_.assume(draft_.at(1) * kAssumedRatio);
}

int CostModel::pad(int n, int longest) const {
  int best = n;
  for (int m = n + 1; m <= std::min(longest, StepCurve::kLongest); ++m) {
    if (target(m) < target(best)) best = m;
  }
  return best - n;
}

double CostModel::interference() const {
  return (1.0 - 1.0 / target_slowdown()) * draft_slowdown();
}

void CostModel::on_step(const StepTime& step) {
  const auto us = static_cast<double>(step.end_us - step.begin_us);
  if (!(us > 0.0) || step.n_tokens < 1) return;
  const bool is_target = step.role == ModelRole::kTarget;
  StepCurve& curve = is_target ? target_ : draft_;
  SlowdownEstimator& estimator = is_target ? beside_draft_ : beside_target_;
  double& slowdown = is_target ? costs_->target_slowdown : costs_->draft_slowdown;
  const double o = std::clamp(step.overlap, 0.0, 1.0);
  if (o <= kAlone) {
    curve.refresh(step.n_tokens, us);
  } else if (step.n_tokens > 1 || !curve.measured(1)) {
    // Divide by the slow-down to get the time alone. The slow-down itself is learned from single
    // tokens, because their time alone is known best.
    const double weight = 1.0 - kSharedDoubt * o;
    curve.refresh(step.n_tokens, us * (1.0 - o + o / slowdown), weight);
  } else if (o >= kShared) {
    slowdown = estimator.observe(curve.at(1) / us, o);
  }
  assume_missing();
}

}  // namespace specbranch
