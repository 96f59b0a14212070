/// Rates that decoding can reach, from what steps cost and how sure the draft is.
#pragma once

#include <span>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/auto/cost_model.h"

namespace specbranch {

/// Rates that can be expected, in tokens a microsecond.
struct ExpectedRates {
  double autoregressive = 0.0;  ///< one token a step.
  double sequential =
      0.0;  ///< a chain as long as pays, then its verification; never below `autoregressive`.
  double parallel = 0.0;  ///< both models at once, with their slow-down.

  double best() const { return sequential > parallel ? sequential : parallel; }
};

/// `classes`: what first choices are worth, shares of sum 1. `longest`: tokens of a verification
/// at most.
///
/// The best policy for chains, by dynamic programming over their length and their chance: after
/// each draft step, which shows the next token's chance, the chain ends or goes on. Lengths thus
/// follow the draft's confidence, as those of the planner do; a fixed length would promise far less
/// where long verifications are dear.
ExpectedRates expected_rates(const CostModel& costs, std::span<const AcceptanceClass> classes,
                             int longest);

}  // namespace specbranch
