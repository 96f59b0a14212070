/// A planner without any order: it grows, drafts and submits at random and never waits.
#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "specbranch/planner/planner.h"
#include "support/support.h"

namespace specbranch::test {

class ChaosPlanner final : public Planner {
 public:
  ChaosPlanner(std::uint64_t seed, int width, double haste)
      : random_(seed), width_(width), haste_(haste) {}

  Decision next(const View& view) override {
    Decision decision;
    if (view.draft_idle && view.draft_usable) draft(view, decision);
    if (view.target_idle && view.submitted == kNoNode) submit(view, decision);
    return decision;
  }

  bool may_apply(const View& /*view*/) override { return true; }
  int width() const override { return width_; }
  void on_verification(const View& /*view*/, bool /*hit*/) override {}

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

  void draft(const View& view, Decision& decision) {
    const SpeculationTree& tree = view.tree;
    std::vector<NodeId> evaluated;
    std::vector<NodeRef> open;
    for (const NodeId id : ids(view)) {
      const Node& node = tree.at(id);
      if (tree.depth(id) >= view.max_depth) continue;
      if (!node.evaluated) open.push_back({id});
      if (node.evaluated && !node.candidates.empty()) evaluated.push_back(id);
    }
    for (int n = random_.between(1, 6); n > 0 && !evaluated.empty(); --n) {
      const NodeId parent = take(evaluated);
      const auto n_candidates = static_cast<int>(tree.at(parent).candidates.size());
      const NodeRef child{parent, random_.chance(0.6) ? 0 : random_.between(0, n_candidates - 1)};
      if (tree.find(child) != kNoNode) continue;
      decision.grow.push_back(child);
      if (tree.depth(child) < view.max_depth) open.push_back(child);
    }
    // A chain goes on where it is: its end needs no sequence of its own.
    const NodeId leaf = tree.main_leaf(tree.root());
    const std::size_t n_nodes = tree.size() + decision.grow.size();
    const NodeRef end = decision.grow.empty() ? NodeRef{leaf} : decision.grow.back();
    const bool chain = tree.depth(end) + 1 == static_cast<int>(n_nodes);
    if (chain && view.free_seqs == 0) {
      // Not where texts have left a gap in what the draft has evaluated.
      const std::vector<NodeId> path = tree.path_nodes(leaf);
      const bool whole =
          std::ranges::all_of(path, [&](NodeId id) { return id == leaf || tree.at(id).evaluated; });
      if (whole && std::ranges::count(open, end) > 0) decision.evaluate = {end};
      return;
    }
    // The contract of `free_seqs`: each of these has a sequence to go to.
    for (int n = std::min(view.free_seqs, random_.between(1, 5)); n > 0 && !open.empty(); --n) {
      decision.evaluate.push_back(take(open));
    }
  }

  void submit(const View& view, Decision& decision) {
    const bool nothing_else = decision.evaluate.empty() && view.draft_idle;
    if (!nothing_else && !random_.chance(haste_)) return;
    std::vector<NodeRef> ends = decision.grow;
    for (const NodeId id : ids(view)) ends.push_back({id});
    std::erase_if(ends, [&](const NodeRef& ref) { return view.tree.depth(ref) > view.max_path; });
    decision.submit = take(ends);
    if (view.n_branches == 0) return;
    std::set<std::pair<NodeId, int>> rows = rows_to(view, decision.submit);
    for (int n = random_.between(0, view.n_branches); n > 0 && !ends.empty(); --n) {
      const NodeRef end = take(ends);
      std::set<std::pair<NodeId, int>> more = rows_to(view, end);
      more.insert(rows.begin(), rows.end());
      if (static_cast<int>(more.size()) > view.max_path + 1) continue;
      rows = std::move(more);
      decision.branches.push_back(end);
    }
  }

  /// What is verified on the way to `end`.
  static std::set<std::pair<NodeId, int>> rows_to(const View& view, const NodeRef& end) {
    std::set<std::pair<NodeId, int>> rows;
    for (const NodeId id : view.tree.path_nodes(end.node)) rows.insert({id, NodeRef::kItself});
    rows.insert({end.node, end.rank});
    return rows;
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
