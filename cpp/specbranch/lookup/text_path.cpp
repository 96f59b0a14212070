#include "specbranch/lookup/text_path.h"

#include <optional>

namespace specbranch {

void extend_by_text(SpeculationTree& tree, Proposer& proposer, const TextExtension& limits) {
  NodeId node = tree.root();
  double probability = 1.0;
  for (int depth = 1;; ++depth) {
    for (const NodeId child : tree.at(node).children) tree.at(child).text_probability = 0.0;
    if (depth > limits.max_depth) return;
    const std::optional<Proposal> proposal = proposer.propose(tree, node);
    if (!proposal) return;
    probability *= proposal->probability;
    if (probability < limits.min_probability) return;
    node = tree.add_child(node, *proposal);
  }
}

TextPath best_text_path(const SpeculationTree& tree, int max_length) {
  TextPath path;
  path.nodes.push_back(tree.root());
  double chance = 1.0;
  while (static_cast<int>(path.chances.size()) < max_length) {
    NodeId best = kNoNode;
    double probability = 0.0;
    for (const NodeId child : tree.at(path.nodes.back()).children) {
      if (tree.at(child).text_probability <= probability) continue;
      best = child;
      probability = tree.at(child).text_probability;
    }
    if (best == kNoNode) break;
    chance *= probability;
    path.nodes.push_back(best);
    path.chances.push_back(chance);
  }
  return path;
}

}  // namespace specbranch
