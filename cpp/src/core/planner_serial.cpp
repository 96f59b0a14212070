// Planners that never run both models at once: `autoregressive` and `speculative`.
#include "planners.h"

namespace specbranch {

Decision AutoregressivePlanner::next(const View& view, Grower& /*grow*/) {
  Decision decision;
  if (view.target_idle && view.submitted == kNoNode) decision.submit = view.tree.root();
  return decision;
}

Decision SpeculativePlanner::next(const View& view, Grower& grow) {
  Decision decision;
  if (view.submitted != kNoNode || !view.draft_idle) return decision;
  const SpeculationTree& tree = view.tree;
  NodeId leaf = tree.main_leaf(tree.root());
  const int goal = std::min({rule_.gamma(), view.max_depth, view.max_path});
  bool complete = !view.draft_usable || tree.depth(leaf) >= goal;
  if (!complete && tree.at(leaf).evaluated) {
    const auto& candidates = tree.at(leaf).candidates;
    if (candidates.empty() || rule_.doubts(candidates[0].confidence)) {
      complete = true;
    } else {
      leaf = grow.child(leaf, 0);
      complete = tree.depth(leaf) >= goal;
    }
  }
  if (!complete) {
    decision.evaluate.push_back(leaf);
  } else if (view.target_idle) {
    decision.submit = leaf;
  }
  return decision;
}

}  // namespace specbranch
