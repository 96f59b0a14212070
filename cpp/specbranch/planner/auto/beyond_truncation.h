/// Learns what tokens beyond the draft's truncation are worth.
#pragma once

#include <span>

#include "specbranch/base/types.h"
#include "specbranch/report/profile.h"
#include "specbranch/sampling/choice.h"

namespace specbranch {

/// With top-k, top-p or min-p the target allows other tokens than the draft's own logits would.
/// This learns how often the target chooses a token beyond the draft's truncation, relative to the
/// draft's confidence, and whether such a token may even be the draft's first choice. The first
/// choice of a draft that agrees with its target stays the target's own choice.
class BeyondTruncation {
 public:
  /// `table` outlives this and is kept up to date.
  explicit BeyondTruncation(AcceptanceTable* table) : table_(table) {}

  /// How the draft must rank `k` candidates.
  RankOptions options(int k) const;

  /// Learns from one choice: the target chose `token`, the draft had proposed `candidates`.
  void observe(std::span<const Candidate> candidates, Token token);

  /// Reduces the weight of all old observations, because the text may have changed.
  void discount_history();

 private:
  double weight() const;
  void compare_firsts(std::span<const Candidate> candidates, double weight, Token token);

  AcceptanceTable* table_;
};

}  // namespace specbranch
