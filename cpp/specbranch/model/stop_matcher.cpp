#include "specbranch/model/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace specbranch {

StopMatcher::StopMatcher(std::vector<std::string> stops, int n_free)
    : stops_(std::move(stops)), n_free_(n_free) {}

StopMatcher::Result StopMatcher::append(std::string_view piece) {
  if (n_free_ > 0) {
    --n_free_;
    return {std::string(piece), {}};
  }
  held_ += piece;
  std::size_t cut = std::string::npos;
  const std::string* found = nullptr;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at >= cut) continue;
    cut = at;
    found = &stop;
  }
  if (found != nullptr) {
    Result result{held_.substr(0, cut), *found};
    held_.clear();
    return result;
  }
  // Hold back the longest end of the text that begins a stop string.
  std::size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
    }
  }
  Result result{held_.substr(0, held_.size() - keep), {}};
  held_.erase(0, held_.size() - keep);
  return result;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace specbranch
