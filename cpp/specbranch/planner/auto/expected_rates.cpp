#include "specbranch/planner/auto/expected_rates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace specbranch {
namespace {

constexpr std::size_t kLevels = 24;    ///< levels of a chain's probability, a log scale.
constexpr double kLeastChance = 0.01;  ///< of a chain that is still drafted.
constexpr int kLongestChain = 32;
constexpr int kIterations = 8;
constexpr double kConverged = 1e-3;

/// The expected tokens, and the expected time until the verification ends, of the best cycle.
struct Expectation {
  double tokens = 0.0;
  double time_us = 0.0;
};

/// Expectations of chains by the level of their probability. `value`: tokens, less the time at the
/// rate that a cycle is judged by.
struct Levels {
  std::array<double, kLevels> value{};
  std::array<double, kLevels> time_us{};
};

/// One cycle: draft a chain, then verify it. The chain stops where extending it does not pay.
class Cycle {
 public:
  Cycle(const CostModel& costs, std::span<const AcceptanceClass> classes, int longest) {
    for (int n = 1; n <= longest; ++n) verify_us_.push_back(costs.target_of_all(n, longest));
    const double step = -std::log(kLeastChance) / (kLevels - 1);
    for (std::size_t i = 0; i < kLevels; ++i) {
      chance_[i] = std::exp(-step * static_cast<double>(i));
    }
    for (const AcceptanceClass& one : classes) {
      const double shift = -std::log(std::max(one.chance, 1e-6)) / step;
      const auto whole = static_cast<std::size_t>(shift);
      classes_.push_back({one.share, one.chance, whole, shift - static_cast<double>(whole)});
    }
  }

  /// Tokens and time of the best cycle, if a microsecond is worth `rate` tokens and a draft step
  /// adds `draft_us`.
  Expectation best(double rate, double draft_us) const {
    Levels longer;  // a chain that is one token longer
    longer.value.fill(-rate * verify_us_.back());
    longer.time_us.fill(verify_us_.back());
    for (std::size_t n = verify_us_.size() - 1; n-- > 0;) {
      longer = chains(verify_us_[n], longer, rate, draft_us);
    }
    return {1.0 + longer.value[0] + rate * longer.time_us[0], longer.time_us[0]};
  }

 private:
  /// What becomes of a chain whose next token is of this class.
  struct Class {
    double share = 0.0;
    double chance = 0.0;
    std::size_t n_levels = 0;  ///< whole levels that the token costs the chain,
    double part = 0.0;         ///< and the part of one more.
  };

  /// Of chains of one length, which a verification of `stop_us` would end. With one more draft
  /// step, the chain stops or goes on for each class of its next token.
  Levels chains(double stop_us, const Levels& longer, double rate, double draft_us) const {
    const double stop = -rate * stop_us;
    Levels now;
    now.value.fill(-rate * draft_us);
    now.time_us.fill(draft_us);
    for (const Class& one : classes_) {
      // The least probable chains have no level that is less probable: they stop.
      const std::size_t n = kLevels - 1 - std::min(one.n_levels, kLevels - 1);
      for (std::size_t level = 0; level < n; ++level) {
        const std::size_t at = level + one.n_levels;
        const double more =
            mix(longer.value[at], longer.value[at + 1], one.part) + chance_[level] * one.chance;
        const bool goes_on = more >= stop;
        const double time_us = mix(longer.time_us[at], longer.time_us[at + 1], one.part);
        now.value[level] += one.share * (goes_on ? more : stop);
        now.time_us[level] += one.share * (goes_on ? time_us : stop_us);
      }
      for (std::size_t level = n; level < kLevels; ++level) {
        now.value[level] += one.share * stop;
        now.time_us[level] += one.share * stop_us;
      }
    }
    for (std::size_t level = 0; level < kLevels; ++level) {
      const bool goes_on = now.value[level] > stop;
      now.value[level] = goes_on ? now.value[level] : stop;
      now.time_us[level] = goes_on ? now.time_us[level] : stop_us;
    }
    return now;
  }

  static double mix(double a, double b, double share) { return a + share * (b - a); }

  std::vector<Class> classes_;
  std::vector<double> verify_us_;  ///< [n - 1]
  std::array<double, kLevels> chance_{};
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
  // No policy is slower there.
  found.parallel =
      std::min(best_rate(cycle, charge, found.sequential), 1.0 / (step * costs.draft_slowdown()));
  return found;
}

}  // namespace specbranch
