#include "specbranch/decoder/walk.h"

#include <algorithm>

#include "specbranch/base/errors.h"

namespace specbranch {

std::vector<WalkStep> walk(const SpeculationTree& tree, std::span<const NodeId> verified,
                           std::span<const Choice> choices) {
  std::vector<WalkStep> steps;
  NodeId parent = verified.front();
  for (const Choice& choice : choices) {
    if (!steps.empty() && steps.back().origin != Origin::kDraft) {
      throw PreconditionError("[walk] a choice after the first that was not verified");
    }
    WalkStep step{&choice, parent, kNoNode, Origin::kTarget};
    // An end token is no part of the text, so that it has no node.
    if (!choice.end) step.node = tree.find_child(parent, choice.token);
    if (step.node != kNoNode) {
      const bool known = std::ranges::find(verified, step.node) != verified.end();
      const bool drafted = tree.at(step.node).rank != kNoRank;
      if (known) {
        step.origin = Origin::kDraft;
      } else if (drafted) {
        step.origin = Origin::kBranch;
      }
      parent = step.node;
    }
    steps.push_back(step);
  }
  return steps;
}

}  // namespace specbranch
