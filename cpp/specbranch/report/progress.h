/// The progress of a generation, readable while it runs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/token_score.h"
#include "specbranch/report/trace.h"

namespace specbranch {

/// How far a prompt is, and the record so far.
///
/// *Thread safety:* every method from any thread.
/// *Lifecycle:* made with the request, which shares it with the models.
class Progress {
 public:
  /// The target holds so many tokens of the prompt.
  void set_prefilled(Pos n) noexcept { n_prefilled_.store(n, std::memory_order_relaxed); }
  Pos prefilled() const noexcept { return n_prefilled_.load(std::memory_order_relaxed); }

  /// Scores of the tokens of the prompt that follow those that were added before.
  void add_scores(std::span<const TokenScore> scores);
  std::vector<TokenScore> scores() const;

  /// The generation has begun, and what follows is its record.
  void begin(std::int64_t now_us);

  /// Spans and rounds that are new; of the rounds everything but their features is kept.
  void record(const TraceSpan& span, std::span<const TraceRound> rounds);

  /// What was recorded after the first `n_spans` and `n_rounds`.
  Trace since(std::size_t n_spans, std::size_t n_rounds) const;

 private:
  std::atomic<Pos> n_prefilled_{0};
  mutable std::mutex mutex_;
  Trace trace_;
  std::vector<TokenScore> scores_;
};

}  // namespace specbranch
