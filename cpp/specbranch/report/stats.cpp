#include "specbranch/report/stats.h"

#include <algorithm>

namespace specbranch {

void BusyMeter::start(std::int64_t begin_us) {
  start_us_ = begin_us;
  overlap_us_ = 0;
  // The other model's first command is under way, so that all its intervals are still here.
  for (Activity& model : models_) {
    model.busy_us = 0;
    for (const Interval& interval : model.recent) {
      model.busy_us +=
          std::max<std::int64_t>(0, interval.end_us - std::max(interval.begin_us, begin_us));
    }
  }
}

void BusyMeter::sent(ModelRole role, std::int64_t now_us) {
  models_[role == ModelRole::kTarget ? 0 : 1].sent_us = now_us;
}

void BusyMeter::add(ModelRole role, std::int64_t begin_us, std::int64_t end_us) {
  const bool target = role == ModelRole::kTarget;
  Activity& own = models_[target ? 0 : 1];
  Activity& other = models_[target ? 1 : 0];
  own.sent_us.reset();
  const std::int64_t counted_us = std::max(begin_us, start_us_);
  for (const Interval& interval : other.recent) {
    overlap_us_ += std::max<std::int64_t>(
        0, std::min(end_us, interval.end_us) - std::max(counted_us, interval.begin_us));
  }
  // This model's next command is yet to be sent, so that it begins after all of these.
  other.recent.clear();
  own.busy_us += std::max<std::int64_t>(0, end_us - counted_us);
  if (other.sent_us && *other.sent_us < end_us) own.recent.push_back({begin_us, end_us});
}

}  // namespace specbranch
