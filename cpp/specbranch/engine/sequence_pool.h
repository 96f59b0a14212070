/// Hands out the sequence ids of a model to sessions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/options.h"

namespace specbranch {

/// A session gets the free id whose last text has the most tokens in common with its prompt, since
/// their cells may be reused: of a text with the same adapters, as others make other cells, and of
/// one that keeps the larger part of its own. If none has many, it gets the one that has been free
/// for the longest time, so that a new conversation leaves the newer ones alone, also those with
/// the same system prompt. With `adjacent`, it gets one beside an id that is taken, if there is
/// one. *Thread safety:* none.
class SequencePool {
 public:
  using Adapters = std::optional<AdapterSet>;  ///< no value: those of the engine.

  /// Fewer tokens in common are not worth the other cells of a sequence.
  static constexpr std::ptrdiff_t kLeastCommon = 32;

  /// `adjacent`: a batch of sequences whose ids follow each other is faster.
  explicit SequencePool(int n_seq, bool adjacent = false) : adjacent_(adjacent) {
    for (SeqId seq = 0; seq < n_seq; ++seq) give_back(seq);
  }

  bool empty() const { return free_.empty(); }

  /// Before: it is not empty.
  SeqId take(std::span<const Token> prompt = {}, const Adapters& adapters = {}) {
    const auto common = [&](const Entry& one) -> std::ptrdiff_t {
      if (one.adapters != adapters) return 0;
      const auto n = std::ranges::mismatch(one.text, prompt).in1 - one.text.begin();
      return 2 * n < std::ssize(one.text) ? 0 : n;
    };
    auto best = std::ranges::max_element(free_, {}, common);
    if (common(*best) < kLeastCommon) best = oldest();
    const SeqId seq = best->seq;
    taken_.push_back(std::move(*best));
    free_.erase(best);
    return seq;
  }

  /// `text`: what the session's sequence holds about, or nothing.
  void give_back(SeqId seq, std::vector<Token> text = {}, Adapters adapters = {}) {
    std::erase_if(taken_, [seq](const Entry& one) { return one.seq == seq; });
    free_.push_back({seq, ++n_given_, std::move(text), std::move(adapters)});
  }

  /// The session has not begun: the sequence is as it was before `take`.
  void give_back_unused(SeqId seq) {
    const auto found = std::ranges::find(taken_, seq, &Entry::seq);
    Entry entry = std::move(*found);
    taken_.erase(found);
    const auto place = std::ranges::upper_bound(free_, entry.number, {}, &Entry::number);
    free_.insert(place, std::move(entry));
  }

 private:
  struct Entry {
    SeqId seq = 0;
    std::int64_t number = 0;  ///< in the order in which sequences became free.
    std::vector<Token> text;
    Adapters adapters;  ///< of the text.
  };

  /// The free id of the oldest text, with `adjacent` of those beside a taken one if there are any.
  std::vector<Entry>::iterator oldest() {
    if (!adjacent_) return free_.begin();
    const auto found = std::ranges::find_if(free_, [this](const Entry& one) {
      return std::ranges::any_of(
          taken_, [&one](const Entry& other) { return std::abs(one.seq - other.seq) == 1; });
    });
    return found == free_.end() ? free_.begin() : found;
  }

  bool adjacent_;
  std::vector<Entry> free_;   ///< that of the oldest text first.
  std::vector<Entry> taken_;  ///< as they were when they were taken.
  std::int64_t n_given_ = 0;
};

}  // namespace specbranch
