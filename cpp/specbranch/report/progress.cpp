#include "specbranch/report/progress.h"

#include <algorithm>

namespace specbranch {

void Progress::add_scores(std::span<const TokenScore> scores) {
  const std::lock_guard lock(mutex_);
  scores_.insert(scores_.end(), scores.begin(), scores.end());
}

std::vector<TokenScore> Progress::scores() const {
  const std::lock_guard lock(mutex_);
  return scores_;
}

void Progress::begin(std::int64_t now_us) {
  const std::lock_guard lock(mutex_);
  trace_.begin_us = now_us;
}

void Progress::record(const TraceSpan& span, std::span<const TraceRound> rounds) {
  const std::lock_guard lock(mutex_);
  trace_.spans.push_back(span);
  for (const TraceRound& round : rounds) {
    trace_.rounds.push_back(round);
    trace_.rounds.back().features.clear();
  }
}

Trace Progress::since(std::size_t n_spans, std::size_t n_rounds) const {
  const std::lock_guard lock(mutex_);
  const auto rest = [](const auto& all, std::size_t n) {
    return std::remove_cvref_t<decltype(all)>(
        all.begin() + static_cast<std::ptrdiff_t>(std::min(n, all.size())), all.end());
  };
  return {rest(trace_.spans, n_spans), rest(trace_.rounds, n_rounds), trace_.begin_us};
}

}  // namespace specbranch
