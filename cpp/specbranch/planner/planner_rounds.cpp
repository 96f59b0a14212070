// Planners that overlap both models in lock-step rounds: `pearl` and `specbranch`.
#include <cmath>

#include "specbranch/planner/planners.h"

namespace specbranch {

bool RoundPlanner::may_begin(const View& view) const {
  return point_ == kNoNode && view.submitted == kNoNode && view.target_idle && view.draft_idle;
}

bool RoundPlanner::wants_plan(const View& view) const {
  return policy().wants_plan() && may_begin(view) && view.draft_usable;
}

NodeId RoundPlanner::begin_round(const View& view) {
  const SpeculationTree& tree = view.tree;
  const auto& plan = policy().plan();
  const WindowFate fate = plan ? WindowFate::kSome : policy().fate();
  leaves_.clear();
  drafted_ = false;
  distrusted_ = fate == WindowFate::kNone;
  gamma_ = plan ? plan->draft_length : policy().gamma();
  if (plan && plan->branch_at >= 0) {
    point_ = on_main_path(tree, plan->branch_at);
  } else if (fate == WindowFate::kSome) {
    point_ = branch_point(view);
  } else {
    point_ = on_main_path(tree, distrusted_ ? 0 : view.max_path);
  }
  const bool bounded = plan && plan->submit >= 0;
  return on_main_path(tree, std::min(view.max_path, bounded ? plan->submit : tree.depth(point_)));
}

Decision RoundPlanner::next(const View& view, Grower& grow) {
  Decision decision;
  if (may_begin(view)) decision.submit = begin_round(view);
  if (point_ == kNoNode) return decision;
  if (view.draft_idle && !drafted_) {
    decision.evaluate = to_evaluate(view, grow);
    drafted_ = decision.evaluate.empty();
  }
  return decision;
}

bool RoundPlanner::may_apply(const View& view) { return drafted_ && view.draft_idle; }

void RoundPlanner::on_verdict(const View& /*view*/, bool /*hit*/) {
  point_ = kNoNode;
  end_round();
}

void RoundPlanner::branch_out(const View& view, Grower& grow) {
  const Node& point = view.tree.at(point_);
  const auto& plan = policy().plan();
  // Where the first choice is foretold to be wrong, there must be another one.
  int wanted = plan ? plan->branches : std::max(branches(view, point), distrusted_ ? 2 : 1);
  wanted = std::min(
      {wanted, max_branches_, 1 + view.free_seqs, static_cast<int>(point.candidates.size())});
  const bool drafted_before = !point.children.empty();
  for (int rank = 0; rank < wanted; ++rank) {
    leaves_.push_back(view.tree.main_leaf(grow.child(point_, rank)));
  }
  if (distrusted_ && drafted_before && leaves_.size() > 1) leaves_.erase(leaves_.begin());
}

std::vector<NodeId> RoundPlanner::to_evaluate(const View& view, Grower& grow) {
  const SpeculationTree& tree = view.tree;
  const int base = tree.depth(point_);
  const int goal = std::min(base + gamma_, view.max_depth);
  if (!view.draft_usable || base >= goal) return {};
  if (!tree.at(point_).evaluated) return {point_};
  if (leaves_.empty()) branch_out(view, grow);
  std::vector<NodeId> evaluate;
  for (NodeId& leaf : leaves_) {
    // A leaf that was evaluated grows by one; a branch kept from the last round may have a head
    // start.
    const Node& end = tree.at(leaf);
    if (end.evaluated && tree.depth(leaf) < goal && !end.candidates.empty() && !ends_window(end)) {
      leaf = grow.child(leaf, 0);
    }
    if (tree.depth(leaf) < goal && !tree.at(leaf).evaluated) evaluate.push_back(leaf);
  }
  return evaluate;
}

NodeId PearlPlanner::branch_point(const View& view) const {
  const SpeculationTree& tree = view.tree;
  NodeId leaf = tree.main_leaf(tree.root());
  while (tree.depth(leaf) > view.max_path) leaf = tree.at(leaf).parent;
  return leaf;
}

bool PearlPlanner::ends_window(const Node& leaf) const {
  return policy().ends_windows() && policy().doubts(leaf.candidates[0].confidence, leaf.candidates);
}

NodeId SpecBranchPlanner::branch_point(const View& view) const {
  const SpeculationTree& tree = view.tree;
  NodeId point = tree.root();
  for (const NodeId next : tree.path_nodes(tree.main_leaf(point))) {
    if (next == point) continue;
    if (tree.depth(next) > view.max_path) break;
    if (policy().doubts(tree.at(next).confidence, tree.at(point).candidates)) break;
    point = next;
  }
  return point;
}

bool SpecBranchPlanner::ends_window(const Node& leaf) const {
  const bool unbounded = policy().plan() || policy().fate() == WindowFate::kAll;
  return !unbounded && policy().doubts(leaf.candidates[0].confidence, leaf.candidates);
}

int SpecBranchPlanner::branches(const View& /*view*/, const Node& point) const {
  if (point.candidates.empty()) return 0;
  const double doubt = 1.0 - point.candidates[0].confidence;
  return std::max(1, static_cast<int>(std::floor(static_cast<double>(k_max_) * doubt)));
}

}  // namespace specbranch
