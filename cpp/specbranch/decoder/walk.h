/// Follows the target's choices down the draft tree.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/model.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// One token that the target chose.
struct WalkStep {
  const Choice* choice = nullptr;  ///< a choice of the verification, which owns it.
  NodeId parent = kNoNode;         ///< the node that it follows.
  NodeId node = kNoNode;           ///< the node of the token; kNoNode: it is not in the tree.
  /// kTarget also for a token that a text has proposed and that was not verified: it brought
  /// nothing.
  Origin origin = Origin::kTarget;
};

/// Follows `choices` down from the front of `path`, the nodes that were verified. Every step but
/// the last lies on that path; the last one may be the target's own token, or lie on a branch. The
/// steps hold as long as `choices`. Throws PreconditionError for a choice after the first that
/// leaves the path.
std::vector<WalkStep> walk(const SpeculationTree& tree, std::span<const NodeId> path,
                           std::span<const Choice> choices);

}  // namespace specbranch
