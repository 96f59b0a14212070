/// Chooses the nodes of the draft tree to evaluate next: those most likely to be committed.
#pragma once

#include <vector>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/cost_model.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// A node that the draft may evaluate: the root, or an existing or possible child of a node.
struct ExpansionCandidate {
  NodeRef node;
  double chance = 0.0;  ///< probability that the node is committed.
};

/// The most probable path from the root.
struct DraftPath {
  NodeId end = kNoNode;         ///< last node of the path that exists.
  bool open = false;            ///< the path goes on with the best candidate of `end`.
  std::vector<double> chances;  ///< of each token after the root, that candidate included.
};

struct ExpansionLimits {
  int max_depth = 0;        ///< only nodes above this depth are evaluated.
  int max_branches = 1;     ///< children of a node.
  int max_nodes = 1;        ///< nodes of one draft pass.
  double min_chance = 0.0;  ///< nodes with a smaller chance are not evaluated.
};

/// The path of best candidates from the root, at most `max_length` tokens.
DraftPath best_path(const View& view, const AcceptanceModel& acceptance, int max_length);

/// The most probable nodes to evaluate, best first. The number is limited by the free KV sequences,
/// then cut to the count that maximizes sum(chance) / step time.
std::vector<ExpansionCandidate> best_expansion(const View& view, const AcceptanceModel& acceptance,
                                               const CostModel& costs,
                                               const ExpansionLimits& limits);

}  // namespace specbranch
