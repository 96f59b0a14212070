/// Where the tokens that the target chose lead in the speculation tree.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/model.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// One token that the target chose.
struct WalkStep {
  const Choice* choice = nullptr;  ///< belongs to the verification.
  NodeId parent = kNoNode;         ///< the node that it follows.
  NodeId node = kNoNode;           ///< the node that holds it; kNoNode: it was not drafted.
  Origin origin = Origin::kTarget;
};

/// Follows `choices` down from the front of `path`, the nodes that were verified. Every step but
/// the last lies on that path; the last one may be the target's own token, or lie on a branch. The
/// steps hold as long as `choices`. Throws PreconditionError for a choice after the first that
/// leaves the path.
std::vector<WalkStep> walk(const SpeculationTree& tree, std::span<const NodeId> path,
                           std::span<const Choice> choices);

}  // namespace specbranch
