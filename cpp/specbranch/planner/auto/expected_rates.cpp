#include "specbranch/planner/auto/expected_rates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace specbranch {
namespace {

constexpr int kLevels = 24;            ///< levels of a chain's probability, a log scale.
constexpr double kLeastChance = 0.01;  ///< of a chain that is still drafted.
constexpr int kLongestChain = 32;
constexpr int kIterations = 8;
constexpr double kConverged = 1e-3;

/// The expected tokens, and the expected time until the verification ends.
struct Expectation {
  double tokens = 0.0;
  double time_us = 0.0;

  double value(double rate) const { return tokens - rate * time_us; }
};

Expectation mix(const Expectation& a, const Expectation& b, double share) {
  return {a.tokens + share * (b.tokens - a.tokens), a.time_us + share * (b.time_us - a.time_us)};
}

/// One cycle: draft a chain, then verify it. The chain stops where extending it does not pay.
class Cycle {
 public:
  Cycle(const CostModel& costs, std::span<const AcceptanceClass> classes, int longest)
      : classes_(classes) {
    for (int n = 1; n <= longest; ++n) verify_us_.push_back(costs.target_of_all(n, longest));
    const double step = -std::log(kLeastChance) / (kLevels - 1);
    for (std::size_t i = 0; i < kLevels; ++i) {
      chance_[i] = std::exp(-step * static_cast<double>(i));
    }
    for (const AcceptanceClass& one : classes) {
      shift_.push_back(-std::log(std::max(one.chance, 1e-6)) / step);
    }
  }

  /// Tokens and time of the best cycle, if a microsecond is worth `rate` tokens and a draft step
  /// adds `draft_us`.
  Expectation best(double rate, double draft_us) const {
    std::array<Expectation, kLevels> next;  // [level of the chain's chance], a chain one longer
    next.fill({0.0, verify_us_.back()});
    for (std::size_t n = verify_us_.size() - 1; n-- > 0;) {
      const Expectation stop{0.0, verify_us_[n]};
      std::array<Expectation, kLevels> now;
      for (std::size_t level = 0; level < kLevels; ++level) {
        const Expectation more = extended(level, stop, next, rate, draft_us);
        now[level] = more.value(rate) > stop.value(rate) ? more : stop;
      }
      next = now;
    }
    return {1.0 + next[0].tokens, next[0].time_us};
  }

 private:
  /// Adds one draft step to a chain of this level. For each class, the chain then stops or goes on.
  Expectation extended(std::size_t level, const Expectation& stop,
                       const std::array<Expectation, kLevels>& next, double rate,
                       double draft_us) const {
    Expectation sum{0.0, draft_us};
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      const double at = static_cast<double>(level) + shift_[i];
      Expectation taken = stop;
      if (at < kLevels - 1) {
        const auto whole = static_cast<std::size_t>(at);
        taken = mix(next[whole], next[whole + 1], at - static_cast<double>(whole));
        taken.tokens += chance_[level] * classes_[i].chance;
        if (taken.value(rate) < stop.value(rate)) taken = stop;
      }
      sum.tokens += classes_[i].share * taken.tokens;
      sum.time_us += classes_[i].share * taken.time_us;
    }
    return sum;
  }

  std::span<const AcceptanceClass> classes_;
  std::vector<double> verify_us_;  ///< [n - 1]
  std::array<double, kLevels> chance_{};
  std::vector<double> shift_;  ///< levels that a class costs.
};

/// The greatest ratio of tokens to time over all policies (Dinkelbach's iteration).
double best_rate(const Cycle& cycle, double draft_us, double rate) {
  for (int i = 0; i < kIterations; ++i) {
    const Expectation found = cycle.best(rate, draft_us);
    const double better = found.tokens / found.time_us;
    if (better < rate * (1.0 + kConverged)) return std::max(rate, better);
    rate = better;
  }
  return rate;
}

}  // namespace

ExpectedRates expected_rates(const CostModel& costs, std::span<const AcceptanceClass> classes,
                             int longest) {
  // The costs of longer batches of all texts are not known.
  const int most = std::max(1, StepCurve::kLongest / costs.n_texts());
  longest = std::clamp(longest, 1, std::min(kLongestChain, most));
  ExpectedRates found;
  found.autoregressive = 1.0 / costs.target_of_all(1, longest);
  const double step = costs.draft(1);
  const Cycle cycle(costs, classes, longest);
  found.sequential = best_rate(cycle, step, found.autoregressive);
  // While the target runs, a draft step costs only the delay that it causes. It costs its full time
  // only after a rejected first choice: then the target has nothing to verify and waits.
  double alpha = 0.0;
  for (const AcceptanceClass& one : classes) alpha += one.share * one.chance;
  const double beside = std::min(1.0, costs.interference());
  const double charge = step * (1.0 - alpha + alpha * beside);
  found.parallel = std::min(best_rate(cycle, charge, found.autoregressive),
                            1.0 / (step * costs.draft_slowdown()));
  return found;
}

}  // namespace specbranch
