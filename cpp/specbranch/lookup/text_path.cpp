#include "specbranch/lookup/text_path.h"

#include <optional>

namespace specbranch {

NodeId extend_by_text(SpeculationTree& tree, Proposer& proposer, NodeId node,
                      const TextExtension& limits) {
  double probability = 1.0;
  for (int depth = tree.depth(node) + 1;; ++depth) {
    for (const NodeId child : tree.at(node).children) tree.at(child).text_probability = 0.0;
    if (depth > limits.max_depth) return node;
    const std::optional<Proposal> proposal = proposer.propose(tree, node);
    if (!proposal) return node;
    probability *= proposal->probability;
    if (probability < limits.min_probability) return node;
    node = tree.add_child(node, *proposal);
  }
}

NodeId best_text_child(const SpeculationTree& tree, NodeId node) {
  NodeId best = kNoNode;
  double probability = 0.0;
  for (const NodeId child : tree.at(node).children) {
    if (tree.at(child).text_probability <= probability) continue;
    best = child;
    probability = tree.at(child).text_probability;
  }
  return best;
}

TextPath best_text_path(const SpeculationTree& tree, int max_length) {
  TextPath path;
  path.nodes.push_back(tree.root());
  double chance = 1.0;
  while (static_cast<int>(path.chances.size()) < max_length) {
    const NodeId best = best_text_child(tree, path.nodes.back());
    if (best == kNoNode) break;
    chance *= tree.at(best).text_probability;
    path.nodes.push_back(best);
    path.chances.push_back(chance);
  }
  return path;
}

}  // namespace specbranch
