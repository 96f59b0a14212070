// Planners that overlap both models in lock-step rounds: `pearl` and `specbranch`.
#include <cmath>

#include "planners.h"

namespace specbranch {

Decision RoundPlanner::next(const View& view, Grower& grow) {
  Decision decision;
  if (point_ == kNoNode) {
    if (view.submitted != kNoNode || !view.target_idle || !view.draft_idle) return decision;
    point_ = branch_point(view);
    leaves_.clear();
    drafted_ = false;
    decision.submit = point_;
  }
  if (view.draft_idle && !drafted_) {
    decision.evaluate = to_evaluate(view, grow);
    drafted_ = decision.evaluate.empty();
  }
  return decision;
}

bool RoundPlanner::may_apply(const View& view) { return drafted_ && view.draft_idle; }

void RoundPlanner::on_verdict(const View& /*view*/, bool /*hit*/) { point_ = kNoNode; }

std::vector<NodeId> RoundPlanner::to_evaluate(const View& view, Grower& grow) {
  const SpeculationTree& tree = view.tree;
  const int base = tree.depth(point_);
  const int goal = std::min(base + rule_.gamma(), view.max_depth);
  if (!view.draft_usable || base >= goal) return {};
  const Node& point = tree.at(point_);
  if (!point.evaluated) return {point_};
  if (leaves_.empty()) {
    const int wanted = std::min({branches(view, point), width_, 1 + view.free_seqs,
                                 static_cast<int>(point.candidates.size())});
    for (int rank = 0; rank < wanted; ++rank) {
      leaves_.push_back(tree.main_leaf(grow.child(point_, rank)));
    }
  }
  std::vector<NodeId> evaluate;
  for (NodeId& leaf : leaves_) {
    // A leaf that was evaluated grows by one; a branch kept from the last round may have a head
    // start.
    if (tree.at(leaf).evaluated && tree.depth(leaf) < goal && !tree.at(leaf).candidates.empty()) {
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

NodeId SpecBranchPlanner::branch_point(const View& view) const {
  const SpeculationTree& tree = view.tree;
  NodeId point = tree.root();
  for (const NodeId next : tree.path_nodes(tree.main_leaf(point))) {
    if (next == point) continue;
    if (tree.depth(next) > view.max_path || rule().doubts(tree.at(next).confidence)) break;
    point = next;
  }
  return point;
}

int SpecBranchPlanner::branches(const View& /*view*/, const Node& point) const {
  if (point.candidates.empty()) return 0;
  const double doubt = 1.0 - point.candidates[0].confidence;
  return std::max(1, static_cast<int>(std::floor(static_cast<double>(k_max_) * doubt)));
}

std::unique_ptr<Planner> make_planner(const Request& request, PairProfile* /*profile*/) {
  switch (request.mode) {
    case Mode::kSpeculative:
      return std::make_unique<SpeculativePlanner>(request);
    case Mode::kPearl:
      return std::make_unique<PearlPlanner>(request);
    case Mode::kSpecBranch:
      return std::make_unique<SpecBranchPlanner>(request);
    case Mode::kAutoregressive:
    case Mode::kAuto:
      break;
  }
  return std::make_unique<AutoregressivePlanner>();
}

}  // namespace specbranch
