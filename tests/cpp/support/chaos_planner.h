/// A planner without any order: it grows, drafts and submits at random and never waits.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "specbranch/planner/planner.h"
#include "support/support.h"

namespace specbranch::test {

class ChaosPlanner final : public Planner {
 public:
  ChaosPlanner(std::uint64_t seed, int width, double haste)
      : random_(seed), width_(width), haste_(haste) {}

  Decision next(const View& view, Grower& grow) override {
    Decision decision;
    if (view.draft_idle && view.draft_usable) draft(view, grow, decision);
    if (view.target_idle && view.submitted == kNoNode) submit(view, decision);
    return decision;
  }

  bool may_apply(const View& /*view*/) override { return true; }
  int width() const override { return width_; }
  void on_verdict(const View& /*view*/, bool /*hit*/) override {}

 private:
  std::vector<NodeId> ids(const View& view) const {
    std::vector<NodeId> ids;
    for (const auto& [id, node] : view.tree.nodes()) ids.push_back(id);
    std::ranges::sort(ids);
    return ids;
  }

  template <class T>
  T take(std::vector<T>& from) {
    const auto i =
        static_cast<std::ptrdiff_t>(random_.between(0, static_cast<int>(from.size()) - 1));
    const T value = from[static_cast<std::size_t>(i)];
    from.erase(from.begin() + i);
    return value;
  }

  void draft(const View& view, Grower& grow, Decision& decision) {
    std::vector<NodeId> evaluated;
    for (const NodeId id : ids(view)) {
      const Node& node = view.tree.at(id);
      if (node.evaluated && !node.candidates.empty() && view.tree.depth(id) < view.max_depth) {
        evaluated.push_back(id);
      }
    }
    for (int n = random_.between(1, 6); n > 0 && !evaluated.empty(); --n) {
      const NodeId parent = take(evaluated);
      const auto n_candidates = static_cast<int>(view.tree.at(parent).candidates.size());
      grow.child(parent, random_.chance(0.6) ? 0 : random_.between(0, n_candidates - 1));
    }
    std::vector<NodeId> open;
    for (const NodeId id : ids(view)) {
      if (!view.tree.at(id).evaluated && view.tree.depth(id) < view.max_depth) open.push_back(id);
    }
    // The contract of `free_seqs`: each of these has a sequence to go to.
    for (int n = std::min(view.free_seqs, random_.between(1, 5)); n > 0 && !open.empty(); --n) {
      decision.evaluate.push_back(take(open));
    }
    // A chain goes on where it is: its end needs no sequence of its own.
    const NodeId leaf = view.tree.main_leaf(view.tree.root());
    const bool chain = view.tree.depth(leaf) + 1 == static_cast<int>(view.tree.size());
    if (chain && view.free_seqs == 0 && !view.tree.at(leaf).evaluated &&
        view.tree.depth(leaf) < view.max_depth) {
      decision.evaluate = {leaf};
    }
  }

  void submit(const View& view, Decision& decision) {
    const bool nothing_else = decision.evaluate.empty() && view.draft_idle;
    if (!nothing_else && !random_.chance(haste_)) return;
    std::vector<NodeId> ends;
    for (const NodeId id : ids(view)) {
      if (view.tree.depth(id) <= view.max_path) ends.push_back(id);
    }
    decision.submit = take(ends);
  }

  Random random_;
  int width_;
  double haste_;
};

inline std::unique_ptr<Planner> make_chaos(std::uint64_t seed) {
  Random random(seed);
  return std::make_unique<ChaosPlanner>(random.next(), random.between(1, 5),
                                        0.5 * random.uniform());
}

}  // namespace specbranch::test
