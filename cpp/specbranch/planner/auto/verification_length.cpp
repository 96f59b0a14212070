#include "specbranch/planner/auto/verification_length.h"

#include <cmath>
#include <cstddef>

namespace specbranch {

double verification_us(const CostModel& costs, const View& view, int n, double expected,
                       double all) {
  const int again = view.n_replayed;
  const double us = costs.padded_target(n + again, view.max_path + 1 + again);
  if (!view.replays) return us;
  const int later = again + static_cast<int>(std::lround(expected));
  return us + (1.0 - all) * (costs.target(1 + later) - costs.target(1));
}

int verification_padding(const CostModel& costs, const View& view, int n) {
  return costs.pad(n + view.n_replayed, view.max_path + 1 + view.n_replayed);
}

VerificationLength best_length(const CostModel& costs, const View& view,
                               std::span<const double> chances, double rate) {
  double expected = 1.0;
  const double single = expected - rate * verification_us(costs, view, 1, expected, 1.0);
  VerificationLength best{1, single, 0.0};
  for (std::size_t i = 0; i < chances.size(); ++i) {
    const int n = static_cast<int>(i) + 2;
    expected += chances[i];
    const double value = expected - rate * verification_us(costs, view, n, expected, chances[i]);
    if (value > best.value) best = {n, value, value - single};
  }
  return best;
}

}  // namespace specbranch
