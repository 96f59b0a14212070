#include "specbranch/planner/auto/verification_tree.h"

#include <algorithm>
#include <cstddef>

#include "specbranch/planner/auto/verification_length.h"

namespace specbranch {
namespace {

/// Of a step over one token. Where a row costs more, a branch gains less than the error of what is
/// known about improbable tokens and about the costs.
constexpr double kMostRowCost = 0.1;
/// The root and two nodes after it: fewer rows have no branch.
constexpr int kLeastRows = 3;

/// Microseconds of a row of a batch of `n`, after the first one; the mean.
double row_us(const CostModel& costs, int n) {
  return (costs.target(n) - costs.target(1)) / static_cast<double>(n - 1);
}

bool rows_are_cheap(const CostModel& costs, int n) {
  return row_us(costs, n) <= kMostRowCost * costs.target(1);
}

/// A node that may join, or has joined.
struct Member {
  NodeRef node;
  NodeId id = kNoNode;     ///< where the node exists.
  std::size_t parent = 0;  ///< its index; of the root: nothing.
  double chance = 1.0;
  bool in_texts = false;
  bool on_path = true;
  bool has_child = false;
};

/// The tree as it grows: by the most probable node each time, so that every part of it that was
/// there once is a tree, too.
class GrowingTree {
 public:
  GrowingTree(const View& view, const TokenSources& sources, int max_drafted)
      : view_(view), sources_(sources), n_branches_(view.n_branches), n_drafted_(max_drafted) {
    const NodeId root = view.tree.root();
    nodes_.push_back({{root}, root});
    offer_children(0);
  }

  /// Adds the next node; false: there is none that may join.
  bool grow() {
    while (!offers_.empty()) {
      std::ranges::pop_heap(offers_, worse);
      Member next = offers_.back();
      offers_.pop_back();
      Member& parent = nodes_[next.parent];
      const bool branches = parent.has_child;
      if ((branches && n_branches_ == 0) || (!next.in_texts && n_drafted_ == 0)) continue;
      if (branches) --n_branches_;
      if (!next.in_texts) --n_drafted_;
      next.on_path = parent.on_path && !branches;
      parent.has_child = true;
      nodes_.push_back(next);
      offer_children(nodes_.size() - 1);
      return true;
    }
    return false;
  }

  const Member& newest() const { return nodes_.back(); }

  /// The ends among the first `n` nodes, that of the path first.
  std::vector<NodeRef> ends(std::size_t n) const {
    std::vector<bool> inner(n);
    for (std::size_t i = 1; i < n; ++i) inner[nodes_[i].parent] = true;
    std::vector<NodeRef> ends;
    for (std::size_t i = 0; i < n; ++i) {
      if (!inner[i]) ends.insert(nodes_[i].on_path ? ends.begin() : ends.end(), nodes_[i].node);
    }
    return ends;
  }

 private:
  /// Order of the heap; the earlier offer wins a tie, so that the order is the same everywhere.
  static bool worse(const Member& a, const Member& b) {
    if (a.chance != b.chance) return a.chance < b.chance;
    return a.parent != b.parent ? a.parent > b.parent : a.node.rank > b.node.rank;
  }

  void offer(std::size_t parent, const NodeRef& node, double p, bool in_texts) {
    Member member{node, view_.tree.find(node), parent};
    member.chance = nodes_[parent].chance * p;
    member.in_texts = in_texts;
    offers_.push_back(member);
    std::ranges::push_heap(offers_, worse);
  }

  void offer_children(std::size_t parent) {
    const NodeId id = nodes_[parent].id;
    if (id == kNoNode || view_.tree.depth(id) >= view_.max_path) return;
    const NextTokens next = sources_.after(view_.tree, id, AcceptanceTable::kRanks);
    for (std::size_t rank = 0; rank < next.ranks.size(); ++rank) {
      const NodeRef child{id, static_cast<int>(rank)};
      const NodeId known = view_.tree.find(child);
      const bool in_texts = known != kNoNode && view_.tree.at(known).text_probability > 0.0;
      offer(parent, child, next.ranks[rank], in_texts);
    }
    if (next.text != kNoNode && !next.text_ranked) {
      offer(parent, {next.text}, next.text_chance, true);
    }
  }

  const View& view_;
  const TokenSources& sources_;
  int n_branches_;
  int n_drafted_;
  std::vector<Member> nodes_;   ///< in the order in which they joined, the root first.
  std::vector<Member> offers_;  ///< a heap.
};

}  // namespace

bool branches_can_pay(const View& view, const CostModel& costs) {
  if (view.n_branches == 0) return false;
  for (int n = kLeastRows; n <= view.max_path + 1; ++n) {
    if (rows_are_cheap(costs, n)) return true;
  }
  return false;
}

VerificationTree best_tree(const View& view, const TokenSources& sources, const CostModel& costs,
                           int max_drafted, double rate) {
  GrowingTree tree(view, sources, max_drafted);
  double expected = 1.0;
  double again = 0.0;  // rows that the next verification will decode again
  std::size_t best = 1;
  double most = expected - rate * verification_us(costs, view, 1, expected, 1.0);
  const auto longest = static_cast<std::size_t>(view.max_path) + 1;
  for (std::size_t n = 2; n <= longest && tree.grow(); ++n) {
    expected += tree.newest().chance;
    if (!tree.newest().on_path) again += tree.newest().chance;
    const int rows = static_cast<int>(n);
    if (again > 0.0 && !rows_are_cheap(costs, rows)) continue;
    const double us =
        verification_us(costs, view, rows, expected, 1.0) + again * row_us(costs, rows);
    const double value = expected - rate * us;
    if (value <= most) continue;
    best = n;
    most = value;
  }
  std::vector<NodeRef> ends = tree.ends(best);
  VerificationTree found{ends.front(), {}, static_cast<int>(best), most};
  found.branches.assign(ends.begin() + 1, ends.end());
  return found;
}

}  // namespace specbranch
