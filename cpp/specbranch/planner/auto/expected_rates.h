/// The throughput model: the expected rate of each schedule, from step costs and acceptance.
#pragma once

#include <span>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/cost_model.h"

namespace specbranch {

/// Expected rates of the three schedules, in tokens per microsecond. Beside other texts: of each of
/// them, if all do the same.
struct ExpectedRates {
  double autoregressive = 0.0;  ///< one token a step.
  double sequential = 0.0;      ///< draft a chain, then verify it; at least `autoregressive`.
  double parallel = 0.0;        ///< both models at once, with their slow-down.

  double best() const { return sequential > parallel ? sequential : parallel; }
};

/// Computes the rates of the best policy for chains, by dynamic programming over the length of the
/// chain and its acceptance probability. After each draft step the acceptance class of the next
/// token is known, and the policy stops the chain or extends it. So lengths follow the draft's
/// confidence, as in the planner. A fixed length would give a much lower rate where long
/// verifications are expensive.
///
/// `classes`: acceptance classes of first choices; their shares add up to 1. `longest`: tokens of a
/// verification at most.
///
/// Verifications count as paths. Where branches gain, to know of them would make the choice of a
/// schedule better by 4 % at most: where rows cost nothing, a draft step takes half of a target
/// step, and a third of the first choices are right. With rows as on a GPU it is 2 % at most
/// (`test_schedule_with_branches.cpp`).
ExpectedRates expected_rates(const CostModel& costs, std::span<const AcceptanceClass> classes,
                             int longest);

}  // namespace specbranch
