/// The largest perturbed scores of a whole vocabulary, without perturbing most of it.
#pragma once

#include <vector>

#include "specbranch/sampling/noise.h"
#include "specbranch/sampling/score_row.h"

namespace specbranch {

/// A token with its score plus noise.
struct Perturbed {
  Token token = 0;
  double value = 0.0;
};

/// Order of perturbed scores: the largest first, the lowest id first among equal ones.
struct BetterValue {
  bool operator()(const Perturbed& a, const Perturbed& b) const {
    return a.value > b.value || (a.value == b.value && a.token < b.token);
  }
};

/// The `m` largest of `float(score / temperature) + noise`, best first; -inf scores are left out.
/// `temperature` is above 0.
///
/// A token whose block's largest score lies d below the m-th best value so far needs noise above d,
/// which one random number in e^d brings. So random bits are compared with one threshold a block,
/// and only what passes becomes noise.
std::vector<Perturbed> perturbed_top(const ScoreRow& row, float temperature,
                                     const PositionNoise& noise, int m);

}  // namespace specbranch
