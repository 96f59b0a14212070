// Planners that overlap both models in lock-step rounds: `pearl` and `specbranch`.
#include <cmath>

#include "specbranch/planner/planners.h"

namespace specbranch {

bool RoundPlanner::may_begin(const View& view) const {
  return branch_point_ == kNoNode && view.submitted == kNoNode && view.target_idle &&
         view.draft_idle;
}

bool RoundPlanner::wants_plan(const View& view) const {
  return policy().wants_plan() && may_begin(view) && view.draft_usable;
}

NodeId RoundPlanner::begin_round(const View& view) {
  const SpeculationTree& tree = view.tree;
  const auto& plan = policy().plan();
  const WindowAcceptance predicted = plan ? WindowAcceptance::kSome : policy().predicted();
  first_branch_ = n_branches_ = 0;
  drafted_ = false;
  rejection_predicted_ = predicted == WindowAcceptance::kNone;
  gamma_ = plan ? plan->draft_length : policy().gamma();
  if (plan && plan->branch_at >= 0) {
    branch_point_ = on_main_path(tree, plan->branch_at);
  } else if (predicted == WindowAcceptance::kSome) {
    branch_point_ = branch_point(view);
  } else {
    branch_point_ = on_main_path(tree, rejection_predicted_ ? 0 : view.max_path);
  }
  const bool bounded = plan && plan->submit >= 0;
  return on_main_path(tree,
                      std::min(view.max_path, bounded ? plan->submit : tree.depth(branch_point_)));
}

Decision RoundPlanner::next(const View& view) {
  Decision decision;
  if (may_begin(view)) decision.submit = {begin_round(view)};
  if (branch_point_ == kNoNode) return decision;
  if (view.draft_idle && !drafted_) {
    draft(view, decision);
    drafted_ = decision.evaluate.empty();
  }
  return decision;
}

bool RoundPlanner::may_apply(const View& view) { return drafted_ && view.draft_idle; }

void RoundPlanner::on_verification(const View& /*view*/, bool /*hit*/) {
  branch_point_ = kNoNode;
  end_round();
}

void RoundPlanner::draft(const View& view, Decision& decision) {
  const SpeculationTree& tree = view.tree;
  const int base = tree.depth(branch_point_);
  const int goal = std::min(base + gamma_, view.max_depth);
  if (!view.draft_usable || base >= goal) return;
  if (!tree.at(branch_point_).evaluated) {
    decision.evaluate.push_back({branch_point_});
    return;
  }
  if (n_branches_ == 0) branch_out(view, decision);
  for (int rank = first_branch_; rank < n_branches_; ++rank) {
    NodeRef end = end_of_branch(tree, rank);
    const NodeId leaf = tree.find(end);
    if (leaf != kNoNode && tree.at(leaf).evaluated) {
      if (tree.depth(leaf) >= goal || !may_extend(tree.at(leaf))) continue;
      end = {leaf, 0};
      decision.grow.push_back(end);
    }
    if (tree.depth(end) < goal) decision.evaluate.push_back(end);
  }
}

void RoundPlanner::branch_out(const View& view, Decision& decision) {
  const Node& point = view.tree.at(branch_point_);
  const auto& plan = policy().plan();
  // If the first choice will be rejected, there must be another one.
  const int wanted =
      plan ? plan->branches : std::max(branches(view, point), rejection_predicted_ ? 2 : 1);
  // The first branch goes on where the branch point is, if the draft still has it there.
  const int room = std::max(1, view.free_seqs + (point.seq == kNoSeq ? 0 : 1));
  n_branches_ = std::min({wanted, max_branches_, room, static_cast<int>(point.candidates.size())});
  for (int rank = 0; rank < n_branches_; ++rank) decision.grow.push_back({branch_point_, rank});
  // Do not extend the existing draft if H-RAD predicts its rejection.
  if (rejection_predicted_ && !point.children.empty() && n_branches_ > 1) first_branch_ = 1;
}

NodeRef RoundPlanner::end_of_branch(const SpeculationTree& tree, int rank) const {
  const NodeRef first{branch_point_, rank};
  const NodeId known = tree.find(first);
  // A branch that was kept from the last round may have a head start.
  return known == kNoNode ? first : NodeRef{tree.main_leaf(known)};
}

bool RoundPlanner::may_extend(const Node& leaf) const {
  return !leaf.candidates.empty() && !ends_window(leaf);
}

NodeId PearlPlanner::branch_point(const View& view) const {
  const SpeculationTree& tree = view.tree;
  NodeId leaf = tree.main_leaf(tree.root());
  while (tree.depth(leaf) > view.max_path) leaf = tree.at(leaf).parent;
  return leaf;
}

bool PearlPlanner::ends_window(const Node& leaf) const {
  return policy().ends_windows() &&
         policy().low_confidence(leaf.candidates[0].confidence, leaf.candidates);
}

NodeId SpecBranchPlanner::branch_point(const View& view) const {
  const SpeculationTree& tree = view.tree;
  NodeId point = tree.root();
  for (const NodeId next : tree.path_nodes(tree.main_leaf(point))) {
    if (next == point) continue;
    if (tree.depth(next) > view.max_path) break;
    if (policy().low_confidence(tree.at(next).confidence, tree.at(point).candidates)) break;
    point = next;
  }
  return point;
}

bool SpecBranchPlanner::ends_window(const Node& leaf) const {
  const bool unbounded = policy().plan() || policy().predicted() == WindowAcceptance::kAll;
  return !unbounded && policy().low_confidence(leaf.candidates[0].confidence, leaf.candidates);
}

int SpecBranchPlanner::branches(const View& /*view*/, const Node& point) const {
  if (point.candidates.empty()) return 0;
  const double doubt = 1.0 - point.candidates[0].confidence;
  return std::max(1, static_cast<int>(std::floor(static_cast<double>(max_branches_) * doubt)));
}

}  // namespace specbranch
