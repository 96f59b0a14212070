/// Hands out the sequence ids of a model to sessions.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// The lowest free id comes first: with one session at a time it is always the same one, so that
/// its cells can be reused. *Thread safety:* none.
class SequencePool {
 public:
  explicit SequencePool(int n_seq) {
    for (SeqId seq = n_seq - 1; seq >= 0; --seq) free_.push_back(seq);
  }

  bool empty() const { return free_.empty(); }

  /// Before: it is not empty.
  SeqId take() {
    const SeqId seq = free_.back();
    free_.pop_back();
    return seq;
  }

  void give_back(SeqId seq) {
    free_.insert(std::ranges::lower_bound(free_, seq, std::greater()), seq);
  }

 private:
  std::vector<SeqId> free_;  ///< the lowest one last.
};

}  // namespace specbranch
