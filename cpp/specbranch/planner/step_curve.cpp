#include "specbranch/planner/step_curve.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <ranges>

#include "specbranch/planner/interpolation.h"

namespace specbranch {
namespace {

constexpr double squared(double x) { return x * x; }

// Standard deviations of logarithms of times. First what a measurement while loading may be wrong
// by: other programs run then, and its texts are short.
constexpr double kLevel = 0.35;
constexpr double kUnknownLevel = 1.0;  ///< before any time is known.
constexpr double kBatch = 0.25;        ///< all lengths above 1 together, over length 1.
constexpr double kShape = 0.15;        ///< a length and those close to it.
constexpr double kClose = 2.0;         ///< tokens over which that correlation fades.
constexpr double kEntry = 0.03;        ///< each length for itself.
constexpr double kInterpolated = 0.1;  ///< the same, for a length that was not measured.
constexpr double kSlowdown = 0.3;
// Then by how much they change from one step to the next.
constexpr double kLevelDrift = 0.03;
constexpr double kBatchDrift = 0.004;
constexpr double kEntryDrift = 0.004;
constexpr double kSlowdownDrift = 0.01;
constexpr double kTextDrift = 0.1;  ///< of the level, from one text to the next.
// And by how much one step scatters, which is learnt.
constexpr double kNoise = 0.1;
constexpr double kLeastNoise = 0.04;
constexpr double kMostNoise = 0.3;
constexpr double kNoiseRate = 0.05;
constexpr double kSharedNoise = 1.5;  ///< factor, beside the other model.
constexpr double kMostDoubt = 0.5;    ///< drift ends here.

constexpr double kWild = 3.0;  ///< standard deviations from which a time is an outlier.
constexpr int kWildInARow = 3;

constexpr double kLeastSlowdown = 2.0 / 3.0;
constexpr double kMostSlowdown = 4.0;

constexpr double kAssumedSlope = 0.15;  ///< per token more, of one token's time.

double assumed_shape(int n) { return 1.0 + kAssumedSlope * static_cast<double>(n - 1); }

}  // namespace

StepCurve::StepCurve(std::vector<double>* table, double* slowdown, std::vector<double>* doubt)
    : table_(table), slowdown_(slowdown), doubt_(doubt), noise_(squared(kNoise)) {
  *slowdown_ = std::clamp(*slowdown_, 1.0, kMostSlowdown);
  log_slowdown_ = std::log(*slowdown_);
  rebuild();
  if (doubt_->size() != static_cast<std::size_t>(kStates) * kStates) reset_doubt();
}

double StepCurve::at(int n) const {
  return curve_[static_cast<std::size_t>(std::clamp(n, 1, kLongest) - 1)];
}

bool StepCurve::measured(int n) const {
  const auto i = static_cast<std::size_t>(n - 1);
  return i < table_->size() && (*table_)[i] > 0.0;
}

double StepCurve::doubt(int n) const {
  const int i = std::clamp(n, 1, kLearned) - 1;
  return std::sqrt(covariance(i, i));
}

double StepCurve::shape_doubt(int n) const {
  const int i = std::clamp(n, 1, kLearned) - 1;
  const int j = std::clamp(2 * n, 1, kLearned) - 1;
  return std::sqrt(std::max(0.0, covariance(i, i) + covariance(j, j) - 2.0 * covariance(i, j)));
}

double StepCurve::slowdown_doubt() const { return std::sqrt(covariance(kSlow, kSlow)); }

void StepCurve::assume(double us) {
  if (known_ || !(us > 0.0)) return;
  assumed_us_ = us;
  rebuild();
}

void StepCurve::reset_doubt() {
  doubt_->assign(static_cast<std::size_t>(kStates) * kStates, 0.0);
  for (int i = 0; i < kLearned; ++i) {
    for (int j = 0; j < kLearned; ++j) {
      double& value = covariance(i, j);
      value = squared(known_ ? kLevel : kUnknownLevel);
      if (i == 0 || j == 0) continue;
      value += squared(kBatch) + squared(kShape) * std::exp(-std::abs(i - j) / kClose);
      if (i == j) value += squared(measured(i + 1) ? kEntry : kInterpolated);
    }
  }
  covariance(kSlow, kSlow) = squared(kSlowdown);
}

void StepCurve::add_to_level(double variance) {
  for (int i = 0; i < kLearned; ++i) {
    for (int j = 0; j < kLearned; ++j) covariance(i, j) += variance;
  }
}

void StepCurve::begin_text() {
  if (covariance(0, 0) < squared(kMostDoubt)) add_to_level(squared(kTextDrift));
}

void StepCurve::drift() {
  if (covariance(0, 0) < squared(kMostDoubt)) add_to_level(squared(kLevelDrift));
  if (covariance(kSlow, kSlow) < squared(kMostDoubt)) {
    covariance(kSlow, kSlow) += squared(kSlowdownDrift);
  }
  // All lengths together or none: with a part of such a block it would be no covariance any more.
  if (covariance(1, 1) < squared(kMostDoubt)) {
    for (int i = 1; i < kLearned; ++i) {
      for (int j = 1; j < kLearned; ++j) covariance(i, j) += squared(kBatchDrift);
    }
  }
  for (int i = 1; i < kLearned; ++i) {
    if (covariance(i, i) < squared(kMostDoubt)) covariance(i, i) += squared(kEntryDrift);
  }
}

bool StepCurve::repeated(bool longer) {
  if (longer != (n_wild_ > 0)) n_wild_ = 0;
  n_wild_ += longer ? 1 : -1;
  if (std::abs(n_wild_) < kWildInARow) return false;
  n_wild_ = 0;
  return true;
}

void StepCurve::observe(int n, double us, double overlap) {
  if (n < 1 || n > kLongest || !std::isfinite(us) || us <= 0.0) return;
  overlap = overlap <= kAlone ? 0.0 : std::min(overlap, 1.0);
  refresh();
  drift();
  learn(n, us, overlap);
  rebuild();
}

void StepCurve::refresh() {
  // The own slow-down may be below 1, which the shared one cannot be.
  if (std::max(1.0, std::exp(log_slowdown_)) != *slowdown_) log_slowdown_ = std::log(*slowdown_);
  rebuild();
}

StepCurve::Gain StepCurve::gain_of(int i, double slow_share, double noise) const {
  Gain found;
  for (int k = 0; k < kStates; ++k) {
    found.states[static_cast<std::size_t>(k)] =
        covariance(k, i) + slow_share * covariance(k, kSlow);
  }
  found.variance =
      found.states[static_cast<std::size_t>(i)] + slow_share * found.states[kSlow] + squared(noise);
  return found;
}

void StepCurve::learn(int n, double us, double overlap) {
  const int i = std::min(n, kLearned) - 1;
  // The step ran alone for a part of its time, and slower for the rest.
  const double slowdown = std::exp(log_slowdown_);
  const double stretch = 1.0 / (1.0 - overlap + overlap / slowdown);
  const double slow_share = overlap * stretch / slowdown;  // of a relative change of the slow-down
  const auto entry = static_cast<std::size_t>(n - 1);
  if (table_->size() <= entry) table_->resize(entry + 1, 0.0);
  const bool first = !known_;
  if (!measured(n)) {
    (*table_)[entry] = first ? us / stretch : at(n);
    rebuild();
  }

  const double noise = std::sqrt(noise_) * (1.0 + overlap * (kSharedNoise - 1.0));
  Gain gain = gain_of(i, slow_share, noise);
  // The mean time counts, and it is longer than the geometric mean.
  double surprise = first ? 0.0 : std::log(us / (at(n) * stretch)) + 0.5 * noise_;
  const double limit = kWild * std::sqrt(gain.variance);
  if (std::abs(surprise) <= limit) {
    n_wild_ = 0;
    const double scatter = squared(surprise) - (gain.variance - squared(noise));
    noise_ +=
        kNoiseRate * (std::clamp(scatter, squared(kLeastNoise), squared(kMostNoise)) - noise_);
  } else if (repeated(surprise > 0.0)) {
    // No outlier: the level has changed, or the slow-down.
    add_to_level(squared(surprise));
    if (overlap > 0.0) covariance(kSlow, kSlow) += squared(surprise);
    gain = gain_of(i, slow_share, noise);
  } else {
    surprise = surprise > 0.0 ? limit : -limit;
  }
  std::array<double, kStates> known{};  // a root of what the step takes from the covariance
  const double deviation = std::sqrt(gain.variance);
  std::ranges::transform(gain.states, known.begin(), [&](double x) { return x / deviation; });
  for (int k = 0; k < kStates; ++k) {
    for (int m = 0; m < kStates; ++m) {
      covariance(k, m) -= known[static_cast<std::size_t>(k)] * known[static_cast<std::size_t>(m)];
    }
  }
  const auto change = [&](int k) {
    return gain.states[static_cast<std::size_t>(k)] / gain.variance * surprise;
  };
  for (std::size_t k = 0; k < table_->size(); ++k) {
    (*table_)[k] *= std::exp(change(std::min(static_cast<int>(k), kLearned - 1)));
  }
  log_slowdown_ =
      std::clamp(log_slowdown_ + change(kSlow), std::log(kLeastSlowdown), std::log(kMostSlowdown));
  *slowdown_ = std::max(1.0, std::exp(log_slowdown_));
}

void StepCurve::rebuild() {
  curve_ = filled(*table_, assumed_us_);
  known_ =
      std::ranges::any_of(*table_ | std::views::take(kLongest), [](double us) { return us > 0.0; });
}

std::vector<double> StepCurve::filled(const std::vector<double>& table, double assumed_us) {
  std::vector<double> curve(kLongest);
  int last = 0;  // the measured length before n; 0: none.
  int first = 0;
  const auto entry = [&](int n) { return table[static_cast<std::size_t>(n - 1)]; };
  const int n_table = static_cast<int>(std::min<std::size_t>(table.size(), kLongest));
  for (int n = 1; n <= n_table; ++n) {
    if (!(entry(n) > 0.0)) continue;
    for (int k = last + 1; k <= n; ++k) {
      double& value = curve[static_cast<std::size_t>(k - 1)];
      value = last == 0 ? entry(n) * assumed_shape(k) / assumed_shape(n)
                        : time_between({last, entry(last)}, {n, entry(n)}, k);
    }
    if (first == 0) first = n;
    last = n;
  }
  for (int n = last + 1; n <= kLongest; ++n) {
    double value = assumed_us * assumed_shape(n);
    if (last > 0 && last == first) {
      value = entry(last) * assumed_shape(n) / assumed_shape(last);
    } else if (last > 0) {
      const double slope = (entry(last) - entry(first)) / static_cast<double>(last - first);
      value = entry(last) + std::max(0.0, slope) * static_cast<double>(n - last);
    }
    curve[static_cast<std::size_t>(n - 1)] = value;
  }
  return curve;
}

}  // namespace specbranch
