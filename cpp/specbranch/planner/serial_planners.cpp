// Planners that never run both models at once: `autoregressive` and `speculative`.
#include "specbranch/planner/planners.h"

namespace specbranch {

Decision AutoregressivePlanner::next(const View& view) {
  Decision decision;
  if (view.target_idle && view.submitted == kNoNode) decision.submit = {view.tree.root()};
  return decision;
}

NodeId on_main_path(const SpeculationTree& tree, int depth) {
  const std::vector<NodeId> path = tree.path_nodes(tree.main_leaf(tree.root()));
  return path[std::min(static_cast<std::size_t>(depth), path.size() - 1)];
}

bool SpeculativePlanner::wants_plan(const View& view) const {
  return policy().wants_plan() && view.submitted == kNoNode && view.draft_idle && view.draft_usable;
}

int SpeculativePlanner::wanted_depth() const {
  if (const auto& plan = policy().plan()) {
    return (plan->branch_at < 0 ? start_depth_ : plan->branch_at) + plan->draft_length;
  }
  return policy().predicted() == WindowAcceptance::kNone ? 1 : policy().gamma();
}

bool SpeculativePlanner::stops_at(const Node& leaf) const {
  if (leaf.candidates.empty()) return true;
  if (policy().plan() || policy().predicted() != WindowAcceptance::kSome) return false;
  return policy().low_confidence(leaf.candidates[0].confidence, leaf.candidates);
}

/// The node before the first improbable token that a text proposes.
NodeId SpeculativePlanner::end_of_text(const SpeculationTree& tree, const TextPath& path) const {
  for (std::size_t i = 1; i < path.nodes.size(); ++i) {
    const Node& node = tree.at(path.nodes[i]);
    const Candidate proposed{node.token, node.text_probability};
    if (policy().low_confidence(node.text_probability, {&proposed, 1})) return path.nodes[i - 1];
  }
  return path.nodes.back();
}

Decision SpeculativePlanner::next(const View& view) {
  Decision decision;
  if (view.submitted != kNoNode || !view.draft_idle) return decision;
  const SpeculationTree& tree = view.tree;
  const NodeId leaf = tree.main_leaf(tree.root());
  if (start_depth_ < 0) start_depth_ = tree.depth(leaf);
  const int goal = std::min({wanted_depth(), view.max_depth, view.max_path});
  NodeRef end{leaf};
  if (!view.draft_usable) {
    const TextPath path = best_text_path(tree, goal);
    if (path.nodes.size() > 1) end = {end_of_text(tree, path)};
  }
  bool complete = !view.draft_usable || tree.depth(leaf) >= goal;
  if (!complete && tree.at(leaf).evaluated) {
    if (stops_at(tree.at(leaf))) {
      complete = true;
    } else {
      end = {leaf, 0};
      decision.grow.push_back(end);
      complete = tree.depth(end) >= goal;
    }
  }
  if (!complete) {
    decision.evaluate.push_back(end);
  } else if (view.target_idle) {
    const auto& plan = policy().plan();
    const bool bounded = plan && plan->submit >= 0;
    const int depth = std::min(view.max_path, bounded ? plan->submit : tree.depth(end));
    decision.submit = depth >= tree.depth(end) ? end : NodeRef{on_main_path(tree, depth)};
  }
  return decision;
}

void SpeculativePlanner::on_verification(const View& /*view*/, bool /*hit*/) {
  start_depth_ = -1;
  end_round();
}

}  // namespace specbranch
