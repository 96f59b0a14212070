/// Hands out the sequence ids of a model to sessions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// A session gets the free id whose last text has the most tokens in common with its prompt, since
/// their cells may be reused. If none has many, it gets the one that has been free for the longest
/// time, so that a new conversation leaves the newer ones alone. *Thread safety:* none.
class SequencePool {
 public:
  /// Fewer tokens in common are not worth the other cells of a sequence.
  static constexpr std::ptrdiff_t kLeastCommon = 32;

  explicit SequencePool(int n_seq) {
    for (SeqId seq = 0; seq < n_seq; ++seq) free_.push_back({seq, {}});
  }

  bool empty() const { return free_.empty(); }

  /// Before: it is not empty.
  SeqId take(std::span<const Token> prompt = {}) {
    const auto common = [prompt](const Free& one) {
      return std::ranges::mismatch(one.text, prompt).in1 - one.text.begin();
    };
    auto best = std::ranges::max_element(free_, {}, common);
    if (common(*best) < kLeastCommon) best = free_.begin();
    const SeqId seq = best->seq;
    free_.erase(best);
    return seq;
  }

  /// `text`: what the session's sequence holds about, or nothing.
  void give_back(SeqId seq, std::vector<Token> text = {}) {
    free_.push_back({seq, std::move(text)});
  }

 private:
  struct Free {
    SeqId seq = 0;
    std::vector<Token> text;
  };

  std::vector<Free> free_;  ///< that of the oldest text first.
};

}  // namespace specbranch
