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

/// Follows `choices` down from the front of `verified`, the nodes that were verified. Every step
/// but the last is one of them; the last one may be the target's own token, or lie on a branch that
/// was not verified. The steps hold as long as `choices`. Throws PreconditionError for a choice
/// after the first that was not verified.
std::vector<WalkStep> walk(const SpeculationTree& tree, std::span<const NodeId> verified,
                           std::span<const Choice> choices);

}  // namespace specbranch
