/// How many tokens a verification should have.
#pragma once

#include <span>

#include "specbranch/planner/cost_model.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// Microseconds of a verification of `n` tokens, of which `expected` become text; all with
/// probability `all`. Where a rejection makes the target decode the accepted ones again, that is
/// part of the price.
double verification_us(const CostModel& costs, const View& view, int n, double expected,
                       double all);

/// Padding tokens of a verification of `n` tokens, where a longer batch is faster.
int verification_padding(const CostModel& costs, const View& view, int n);

/// A number of tokens, the root among them, and what verifying them is worth.
struct VerificationLength {
  int n = 1;
  double value = 0.0;  ///< expected tokens - rate * microseconds.
  double gain = 0.0;   ///< `value` over that of a single token.
};

/// The most valuable length of a path. `chances`: of each token after the root that it becomes
/// text. `rate`: the tokens that a microsecond is worth.
VerificationLength best_length(const CostModel& costs, const View& view,
                               std::span<const double> chances, double rate);

}  // namespace specbranch
