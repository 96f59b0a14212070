/// Which branches a verification should have beside its path.
#pragma once

#include <vector>

#include "specbranch/planner/auto/next_tokens.h"
#include "specbranch/planner/cost_model.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// Nodes to verify at once, and what that is worth.
struct VerificationTree {
  NodeRef end;                    ///< of the path.
  std::vector<NodeRef> branches;  ///< ends of branches, the most probable first.
  int n_rows = 1;                 ///< the root and all nodes.
  double value = 0.0;             ///< expected tokens - rate * microseconds.
};

/// Whether a verification may have branches, and rows are cheap enough for them at any length.
/// Where it is false `best_tree` finds no branch, and is not worth its time.
bool branches_can_pay(const View& view, const CostModel& costs);

/// The most valuable tree. It grows by its most probable node, which may be a candidate of the
/// draft or a token of a text, as long as `View::n_branches` and `View::max_path` allow. At most
/// `max_drafted` nodes are not proposed by texts. There are branches only where rows are cheap.
///
/// The first branch that the target takes makes it decode the branch's tokens again, with the next
/// verification.
VerificationTree best_tree(const View& view, const TokenSources& sources, const CostModel& costs,
                           int max_drafted, double rate);

}  // namespace specbranch
