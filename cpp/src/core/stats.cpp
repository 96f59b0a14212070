#include "specbranch/core/stats.h"

#include <algorithm>

namespace specbranch {

void BusyMeter::add(Side side, std::int64_t begin_us, std::int64_t end_us) {
  begin_us = std::max(begin_us, start_us_);
  if (end_us <= begin_us) return;
  const bool target = side == Side::kTarget;
  (target ? target_us_ : draft_us_) += end_us - begin_us;
  auto& own = recent_[target ? 0 : 1];
  auto& other = recent_[target ? 1 : 0];
  for (const Interval& interval : other) {
    overlap_us_ += std::max<std::int64_t>(
        0, std::min(end_us, interval.end_us) - std::max(begin_us, interval.begin_us));
  }
  // A later interval of the same side begins after this one: the other's that end before it are
  // done.
  std::erase_if(other, [&](const Interval& interval) { return interval.end_us <= begin_us; });
  own.push_back({begin_us, end_us});
}

}  // namespace specbranch
