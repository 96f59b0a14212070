#include "specbranch/planner/auto/beyond_truncation.h"

#include <algorithm>
#include <cmath>

namespace specbranch {
namespace {

constexpr double kPriorExpected = 8.0;  ///< confidences summed; their hits: kBeyondWeight of it.
constexpr double kWeightDecay = 0.999;
constexpr double kIdleDecay = 0.9999;  ///< where no such token was proposed: one in 20 is tried.
constexpr double kLeastWeight = 0.02;  ///< below, such tokens are not worth a branch.
constexpr double kLeastTrials = 32.0;
constexpr double kTrialDecay = 0.995;
constexpr double kZ = 1.96;  ///< both bounds together: 95 %.

/// The bounds of a share by Wilson's score interval (Wilson 1927).
double wilson_bound(double hits, double n, double z) {
  const double share = hits / n;
  const double z2 = z * z;
  const double spread = std::sqrt(share * (1.0 - share) / n + z2 / (4.0 * n * n));
  return (share + z2 / (2.0 * n) + z * spread) / (1.0 + z2 / n);
}

}  // namespace

double BeyondTruncation::weight() const {
  const double hits = table_->beyond_hits + kBeyondWeight * kPriorExpected;
  return std::min(1.0, hits / (table_->beyond_expected + kPriorExpected));
}

RankOptions BeyondTruncation::options(int k) const {
  RankOptions options(k);
  options.beyond_weight = weight();
  if (options.beyond_weight < kLeastWeight) options.beyond_weight = 0.0;
  options.beyond_first = table_->beyond_first;
  return options;
}

void BeyondTruncation::observe(std::span<const Candidate> candidates, Token token) {
  // The confidences were reduced by the weight. Without it, they would add up to `all`.
  double beyond = 0.0;
  bool hit = false;
  for (const Candidate& candidate : candidates) {
    if (!candidate.beyond) continue;
    beyond += candidate.confidence;
    hit = hit || candidate.token == token;
  }
  if (!(beyond > 0.0)) {
    // Otherwise a weight of 0 would stay, as nothing shows any more that it is wrong.
    table_->beyond_hits *= kIdleDecay;
    table_->beyond_expected *= kIdleDecay;
    return;
  }
  const double used = weight();
  const double all = 1.0 - beyond + beyond / used;
  compare_firsts(candidates, used, token);
  table_->beyond_hits = kWeightDecay * table_->beyond_hits + (hit ? 1.0 : 0.0);
  table_->beyond_expected = kWeightDecay * table_->beyond_expected + beyond / used / all;
}

/// A trial: the best token beyond the truncation would have been the first choice without it, and
/// one of the two is right.
void BeyondTruncation::compare_firsts(std::span<const Candidate> candidates, double weight,
                                      Token token) {
  const auto best = std::ranges::find_if(candidates, &Candidate::beyond);
  const auto own =
      std::ranges::find_if(candidates, [](const Candidate& one) { return !one.beyond; });
  if (best == candidates.end() || own == candidates.end()) return;
  if (best->confidence / weight <= own->confidence) return;
  if (best->token != token && own->token != token) return;
  table_->beyond_trials = kTrialDecay * table_->beyond_trials + 1.0;
  table_->beyond_wins = kTrialDecay * table_->beyond_wins + (best->token == token ? 1.0 : 0.0);
  if (table_->beyond_trials < kLeastTrials) return;
  if (wilson_bound(table_->beyond_wins, table_->beyond_trials, -kZ) > 0.5) {
    table_->beyond_first = true;
  }
  if (wilson_bound(table_->beyond_wins, table_->beyond_trials, kZ) < 0.5) {
    table_->beyond_first = false;
  }
}

void BeyondTruncation::discount_history() {
  if (table_->beyond_expected <= kPriorExpected) return;
  table_->beyond_hits *= kPriorExpected / table_->beyond_expected;
  table_->beyond_expected = kPriorExpected;
}

}  // namespace specbranch
