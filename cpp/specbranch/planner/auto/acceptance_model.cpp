#include "specbranch/planner/auto/acceptance_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

namespace specbranch {
namespace {

constexpr double kPriorWeight = 4.0;  ///< observations; the prior takes the confidence as it is.
constexpr double kFirstDecay = 0.995;
constexpr double kRankDecay = 0.999;
constexpr double kAlphaDecay = 0.99;
constexpr double kPriorAlpha = 0.7;
constexpr double kMaxProbability = 0.995;
constexpr double kKeptObservations = 4.0;  ///< the weight that discount_history leaves.

constexpr std::size_t kClasses = 6;
/// The prior: first choices of a typical draft, half of them with a high confidence.
constexpr AcceptanceClass kTypical[] = {{0.25, 0.25}, {0.25, 0.65}, {0.5, 0.95}};

std::size_t bin_of(double q) {
  const int bin = static_cast<int>(q * AcceptanceTable::kBins);
  return static_cast<std::size_t>(std::clamp(bin, 0, AcceptanceTable::kBins - 1));
}

double bin_center(std::size_t bin) {
  return (static_cast<double>(bin) + 0.5) / AcceptanceTable::kBins;
}

}  // namespace

std::vector<double> AcceptanceModel::chances(std::span<const Candidate> candidates, int n) const {
  std::vector<double> chances;
  n = std::min(n, static_cast<int>(candidates.size()));
  if (n <= 0) return chances;
  chances.reserve(static_cast<std::size_t>(n));
  const double q1 = std::clamp(candidates[0].confidence, 0.0, 1.0);
  const double p1 = first_chance(q1);
  chances.push_back(p1);
  double left = 1.0 - p1;
  for (int j = 1; j < n; ++j) {
    const auto rank = static_cast<std::size_t>(std::min(j, AcceptanceTable::kRanks - 1));
    const Candidate& candidate = candidates[static_cast<std::size_t>(j)];
    const double k = candidate.beyond
                         ? 1.0
                         : (table_->rank_hits[rank] + 1.0) / (table_->rank_expected[rank] + 1.0);
    const double q = std::max(0.0, candidate.confidence);
    const double share = q1 < 1.0 ? q / (1.0 - q1) : 0.0;
    const double p = std::min({p1, left, (1.0 - p1) * share * k});
    chances.push_back(p);
    left -= p;
  }
  return chances;
}

double AcceptanceModel::first_chance(double q1) const {
  const std::size_t bin = bin_of(q1);
  const double prior = kPriorWeight * bin_center(bin);
  const double r = (table_->hits[bin] + prior) / (table_->expected[bin] + prior);
  return std::min(kMaxProbability, q1 * r);
}

void AcceptanceModel::observe(std::span<const Candidate> candidates, Token token) {
  const auto is_known = [](const Candidate& one) { return std::isfinite(one.confidence); };
  if (candidates.empty() || !std::ranges::all_of(candidates, is_known)) return;
  beyond_.observe(candidates, token);
  const double q1 = std::clamp(candidates[0].confidence, 0.0, 1.0);
  const bool first = candidates[0].token == token;
  const std::size_t bin = bin_of(q1);
  table_->hits[bin] = kFirstDecay * table_->hits[bin] + (first ? 1.0 : 0.0);
  table_->expected[bin] = kFirstDecay * table_->expected[bin] + q1;
  for (double& seen : table_->seen) seen *= kAlphaDecay;
  table_->seen[bin] += 1.0;
  table_->first_hits = kAlphaDecay * table_->first_hits + (first ? 1.0 : 0.0);
  table_->first_count = kAlphaDecay * table_->first_count + 1.0;
  if (first || q1 >= 1.0) return;
  const std::size_t n = std::min<std::size_t>(candidates.size(), AcceptanceTable::kRanks);
  for (std::size_t j = 1; j < n; ++j) {
    if (candidates[j].beyond) continue;
    const bool right = candidates[j].token == token;
    const double share = std::max(0.0, candidates[j].confidence) / (1.0 - q1);
    table_->rank_hits[j] = kRankDecay * table_->rank_hits[j] + (right ? 1.0 : 0.0);
    table_->rank_expected[j] = kRankDecay * table_->rank_expected[j] + share;
  }
}

double AcceptanceModel::alpha() const {
  return (table_->first_hits + kPriorWeight * kPriorAlpha) / (table_->first_count + kPriorWeight);
}

std::vector<AcceptanceClass> AcceptanceModel::acceptance_classes(double optimism) const {
  std::array<double, AcceptanceTable::kBins> seen = table_->seen;
  for (const AcceptanceClass& one : kTypical) seen[bin_of(one.chance)] += kPriorWeight * one.share;
  const double total = std::accumulate(seen.begin(), seen.end(), 0.0);
  // Merge neighbouring bins until the class is large enough.
  std::vector<AcceptanceClass> found;
  AcceptanceClass group;
  double mean = 0.0;
  for (std::size_t bin = 0; bin < seen.size(); ++bin) {
    const double share = seen[bin] / total;
    group.share += share;
    group.chance += share * first_chance(bin_center(bin));
    if (group.share < 1.0 / kClasses && bin + 1 < seen.size()) continue;
    if (!(group.share > 0.0)) break;
    mean += group.chance;
    group.chance /= group.share;
    found.push_back(std::exchange(group, {}));
  }
  // The bins learn slower than their average.
  const double a = alpha();
  const double deviation = std::sqrt(a * (1.0 - a) / (table_->first_count + kPriorWeight));
  const double bound = std::clamp(a + optimism * deviation, 0.0, kMaxProbability);
  for (AcceptanceClass& one : found) {
    if (bound <= mean) {
      one.chance *= bound / mean;
    } else {
      one.chance += (1.0 - one.chance) * (bound - mean) / (1.0 - mean);
    }
  }
  return found;
}

void AcceptanceModel::discount_history() {
  const auto shrink = [](double& part, double& whole, double limit) {
    if (whole <= limit) return;
    part *= limit / whole;
    whole = limit;
  };
  const double left =
      std::min(1.0, kKeptObservations / std::max(kKeptObservations, table_->first_count));
  for (double& seen : table_->seen) seen *= left;
  beyond_.discount_history();
  shrink(table_->first_hits, table_->first_count, kKeptObservations);
  for (std::size_t bin = 0; bin < table_->hits.size(); ++bin) {
    shrink(table_->hits[bin], table_->expected[bin], kKeptObservations * bin_center(bin));
  }
}

}  // namespace specbranch
