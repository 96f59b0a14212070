/// From a draft's confidence to the chance of being right, learnt on line.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/report/profile.h"
#include "specbranch/sampling/choice.h"

namespace specbranch {

/// First choices of the draft that are accepted about equally often.
struct AcceptanceClass {
  double share = 0.0;   ///< of all first choices.
  double chance = 0.0;  ///< acceptance probability of one of them.
};

/// First choices: `p1 = q1 * r[bin of q1]`; rank j: `p_j = (1 - p1) * q_j / (1 - q1) * k_j`, never
/// above p1. `r` and `k` are ratios of what was right to what was promised.
class AcceptanceModel {
 public:
  /// `table` outlives this and is kept up to date.
  explicit AcceptanceModel(AcceptanceTable* table) : table_(table) {}

  /// Chance of each of the first `n` candidates to be what the target chooses.
  std::vector<double> chances(std::span<const Candidate> candidates, int n) const;

  /// The target chose `token` where the draft had proposed `candidates`.
  void observe(std::span<const Candidate> candidates, Token token);

  /// How often first choices are right.
  double alpha() const;

  /// Groups the draft's first choices into a few classes, from the least to the most probable.
  /// Their mean acceptance probability is `alpha` plus `optimism` times its standard error.
  std::vector<AcceptanceClass> acceptance_classes(double optimism) const;

  /// Observations that `alpha` rests on; old ones count less.
  double evidence() const { return table_->first_count; }

  /// When to look again; kept from one generation to the next.
  AcceptanceTable& table() { return *table_; }
  const AcceptanceTable& table() const { return *table_; }

  /// What is known may be out of date: new observations shall count for more.
  void discount_history();

 private:
  double first_chance(double q1) const;

  AcceptanceTable* table_;
};

}  // namespace specbranch
