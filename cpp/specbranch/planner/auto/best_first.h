/// Which nodes the draft should evaluate next: those most likely to be committed.
#pragma once

#include <vector>

#include "specbranch/planner/auto/calibration.h"
#include "specbranch/planner/auto/costs.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// A node that may be evaluated: the root, or a child that a node has or may get.
struct Growth {
  NodeRef node;
  double chance = 0.0;  ///< that it will be part of the text.
};

/// The most probable path from the root.
struct Chain {
  NodeId end = kNoNode;         ///< last node of it that exists.
  bool open = false;            ///< `end` is evaluated: its best candidate goes on.
  std::vector<double> chances;  ///< of each token after the root, the open one included.
};

struct GrowthLimits {
  int max_depth = 0;     ///< nodes are evaluated above this depth only.
  int max_branches = 1;  ///< children of a node.
  int max_lanes = 1;
  double floor = 0.0;  ///< less probable nodes are not worth a lane.
};

Chain best_chain(const View& view, const Calibration& calibration, int max_length);

/// The most probable nodes to evaluate, best first, as many as have a draft sequence to go to and
/// as bring the most chance a microsecond.
std::vector<Growth> best_growth(const View& view, const Calibration& calibration,
                                const CostModel& costs, const GrowthLimits& limits);

}  // namespace specbranch
