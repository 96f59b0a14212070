/// Which nodes the draft should evaluate next: those most likely to be committed.
#pragma once

#include <vector>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/auto/cost_model.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// A node that may be evaluated: the root, or a child that a node has or may get.
struct ExpansionCandidate {
  NodeRef node;
  double chance = 0.0;  ///< that it will be part of the text.
};

/// The most probable path from the root.
struct DraftPath {
  NodeId end = kNoNode;         ///< last node of it that exists.
  bool open = false;            ///< `end` is evaluated: its best candidate goes on.
  std::vector<double> chances;  ///< of each token after the root, the open one included.
};

struct ExpansionLimits {
  int max_depth = 0;     ///< nodes are evaluated above this depth only.
  int max_branches = 1;  ///< children of a node.
  int max_nodes = 1;
  double min_chance = 0.0;  ///< less probable nodes are not worth a sequence.
};

DraftPath best_path(const View& view, const AcceptanceModel& acceptance, int max_length);

/// The most probable nodes to evaluate, best first, as many as have a draft sequence to go to and
/// as bring the most chance a microsecond.
std::vector<ExpansionCandidate> best_expansion(const View& view, const AcceptanceModel& acceptance,
                                               const CostModel& costs,
                                               const ExpansionLimits& limits);

}  // namespace specbranch
