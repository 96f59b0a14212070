/// The acceptance model: the draft's confidence in, the acceptance probability out, learned online.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/planner/auto/beyond_truncation.h"
#include "specbranch/report/profile.h"
#include "specbranch/sampling/choice.h"

namespace specbranch {

/// A class of first choices of the draft whose acceptance probabilities are similar.
struct AcceptanceClass {
  double share = 0.0;   ///< of all first choices.
  double chance = 0.0;  ///< acceptance probability of one of them.
};

/// Calibrates confidences `q` to acceptance probabilities `p`. First choice: `p1 = q1 * r[bin of
/// q1]`. Rank j: `p_j = (1 - p1) * q_j / (1 - q1) * k_j`, at most p1. `r` and `k` are the accepted
/// counts divided by the counts that the confidences predicted. For a token beyond the truncation
/// `k_j` is 1: its confidence already has a learned weight (BeyondTruncation).
class AcceptanceModel {
 public:
  /// `table` outlives this and is kept up to date.
  explicit AcceptanceModel(AcceptanceTable* table) : table_(table), beyond_(table) {}

  /// How the draft must rank `k` candidates.
  RankOptions rank_options(int k) const { return beyond_.options(k); }

  /// The acceptance probabilities of the first `n` candidates.
  std::vector<double> chances(std::span<const Candidate> candidates, int n) const;

  /// Learns from one choice: the target chose `token`, the draft had proposed `candidates`.
  void observe(std::span<const Candidate> candidates, Token token);

  /// The acceptance rate of first choices.
  double alpha() const;

  /// Groups the draft's first choices into a few classes, from the least to the most probable.
  /// Their mean acceptance probability is `alpha` plus `optimism` times its standard error.
  std::vector<AcceptanceClass> acceptance_classes(double optimism) const;

  /// The number of observations behind `alpha`; old observations count less.
  double evidence() const { return table_->first_count; }

  /// The counts, and when to probe the draft again. They outlive a generation.
  AcceptanceTable& table() { return *table_; }
  const AcceptanceTable& table() const { return *table_; }

  /// Reduces the weight of all old observations, because the text may have changed.
  void discount_history();

 private:
  double first_chance(double q1) const;

  AcceptanceTable* table_;
  BeyondTruncation beyond_;
};

}  // namespace specbranch
