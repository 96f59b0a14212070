#include "specbranch/decoder/step_samples.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "specbranch/planner/interpolation.h"

namespace specbranch {
namespace {

constexpr double kUnknownSlope = 1.0 / 3.0;  ///< of a step, for one more token.
// CPUs have cheaper lengths behind dearer ones, but not by such a factor.
constexpr double kDoubt = 1.5;

double lower_median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

double StepSamples::median(int n) const { return lower_median(samples_.at(n)); }

double StepSamples::estimate(int n) const {
  const auto above = samples_.lower_bound(n);
  if (above != samples_.end() && above->first == n) return lower_median(above->second);
  const auto first = samples_.begin();
  if (above != samples_.end() && above != first) {
    const auto below = std::prev(above);
    return time_between({below->first, lower_median(below->second)},
                        {above->first, lower_median(above->second)}, n);
  }
  if (above == first) return lower_median(first->second);  // shorter than all that was measured
  const auto last = std::prev(samples_.end());
  const double longest = lower_median(last->second);
  const double shortest = lower_median(first->second);
  const double slope = last == first
                           ? kUnknownSlope * longest / last->first
                           : std::max(0.0, (longest - shortest) / (last->first - first->first));
  return longest + slope * (n - last->first);
}

std::vector<double> StepSamples::table(int max) const {
  std::vector<double> table;
  for (int n = 1; n <= max && !samples_.empty(); ++n) table.push_back(std::max(1.0, estimate(n)));
  return table;
}

bool StepSamples::doubtful(int n) const {
  if (!has(n)) return false;
  return std::ranges::any_of(samples_, [&, least = median(n) / kDoubt](const auto& entry) {
    return entry.first > n && lower_median(entry.second) < least;
  });
}

bool StepSamples::steady(double tolerance) const {
  return std::ranges::all_of(samples_, [&](const auto& entry) {
    const double middle = lower_median(entry.second);
    return middle - std::ranges::min(entry.second) <= tolerance * middle;
  });
}

}  // namespace specbranch
