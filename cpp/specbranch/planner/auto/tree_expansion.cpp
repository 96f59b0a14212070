#include "specbranch/planner/auto/tree_expansion.h"

#include <algorithm>
#include <cstddef>
#include <unordered_set>
#include <utility>

namespace specbranch {
namespace {

/// The draft sequences that are left for a pass. A node continues its parent's sequence if that
/// sequence ends at the parent. Any other node takes a sequence that no live node uses.
class SequenceBudget {
 public:
  explicit SequenceBudget(const View& view) : n_free_(view.free_seqs) {
    tips_.assign(static_cast<std::size_t>(std::max(0, view.n_seqs)), -1);
    for (const auto& [id, node] : view.tree.nodes()) {
      if (node.seq == kNoSeq) continue;
      Pos& tip = tips_[static_cast<std::size_t>(node.seq)];
      tip = std::max(tip, node.pos);
    }
  }

  bool take(const Node& parent) {
    if (parent.seq != kNoSeq) {
      Pos& tip = tips_[static_cast<std::size_t>(parent.seq)];
      if (tip == parent.pos) {
        ++tip;
        return true;
      }
    }
    if (n_free_ == 0) return false;
    --n_free_;
    return true;
  }

 private:
  int n_free_;
  std::vector<Pos> tips_;  ///< last position of a live node, by sequence.
};

/// An evaluated node, and the children that the draft may evaluate.
struct Source {
  NodeId id = kNoNode;
  double chance = 1.0;  ///< of the node itself.
  std::vector<double> children;
  int next = 0;  ///< first rank that is not evaluated yet.
};

class Frontier {
 public:
  Frontier(const View& view, const AcceptanceModel& acceptance, const ExpansionLimits& limits)
      : tree_(view.tree), acceptance_(acceptance), limits_(limits) {
    std::vector<std::pair<NodeId, double>> stack{{tree_.root(), 1.0}};
    while (!stack.empty()) {
      const auto [id, chance] = stack.back();
      stack.pop_back();
      visit(id, chance, stack);
    }
    std::ranges::make_heap(heap_, Worse{this});
  }

  bool empty() const { return heap_.empty(); }

  /// The most probable one; its next sibling takes its place with `advance`.
  ExpansionCandidate top() const {
    const Source& source = sources_[heap_.front()];
    return {{source.id, source.next}, chance_of(heap_.front())};
  }

  void pop(bool advance) {
    std::ranges::pop_heap(heap_, Worse{this});
    Source& source = sources_[heap_.back()];
    ++source.next;
    if (advance && skip_known(source)) {
      std::ranges::push_heap(heap_, Worse{this});
    } else {
      heap_.pop_back();
    }
  }

 private:
  void visit(NodeId id, double chance, std::vector<std::pair<NodeId, double>>& stack) {
    const Node& node = tree_.at(id);
    if (!node.evaluated || tree_.depth(id) + 1 >= limits_.max_depth) return;
    Source source{id, chance, acceptance_.chances(node.candidates, AcceptanceTable::kRanks), 0};
    for (const NodeId child : node.children) {
      const auto rank = static_cast<std::size_t>(tree_.at(child).rank);
      if (rank >= source.children.size()) continue;
      const double p = chance * source.children[rank];
      if (p >= limits_.min_chance) stack.emplace_back(child, p);
    }
    if (!skip_known(source)) return;
    heap_.push_back(sources_.size());
    sources_.push_back(std::move(source));
  }

  /// Goes to the first rank that is not evaluated; false: there is none.
  bool skip_known(Source& source) const {
    const Node& node = tree_.at(source.id);
    const int n = std::min(static_cast<int>(source.children.size()), limits_.max_branches);
    for (; source.next < n; ++source.next) {
      const Token token = node.candidates[static_cast<std::size_t>(source.next)].token;
      const NodeId child = tree_.find_child(source.id, token);
      if (child == kNoNode || !tree_.at(child).evaluated) break;
    }
    return source.next < n;
  }

  double chance_of(std::size_t index) const {
    const Source& source = sources_[index];
    return source.chance * source.children[static_cast<std::size_t>(source.next)];
  }

  /// Order of the heap; the older node wins a tie, so that the order is the same everywhere.
  struct Worse {
    const Frontier* frontier;
    bool operator()(std::size_t a, std::size_t b) const {
      const double p = frontier->chance_of(a);
      const double q = frontier->chance_of(b);
      return p != q ? p < q : frontier->sources_[a].id > frontier->sources_[b].id;
    }
  };

  const SpeculationTree& tree_;
  const AcceptanceModel& acceptance_;
  ExpansionLimits limits_;
  std::vector<Source> sources_;
  std::vector<std::size_t> heap_;
};

}  // namespace

DraftPath best_path(const View& view, const AcceptanceModel& acceptance, int max_length) {
  const SpeculationTree& tree = view.tree;
  DraftPath path;
  path.end = tree.root();
  double chance = 1.0;
  while (tree.at(path.end).evaluated && static_cast<int>(path.chances.size()) < max_length) {
    const Node& node = tree.at(path.end);
    const std::vector<double> first = acceptance.chances(node.candidates, 1);
    if (first.empty()) break;
    chance *= first[0];
    path.chances.push_back(chance);
    const NodeId child = tree.find_child(path.end, node.candidates[0].token);
    if (child == kNoNode) {
      path.open = true;
      break;
    }
    path.end = child;
  }
  return path;
}

std::vector<ExpansionCandidate> best_expansion(const View& view, const AcceptanceModel& acceptance,
                                               const CostModel& costs,
                                               const ExpansionLimits& limits) {
  const SpeculationTree& tree = view.tree;
  if (limits.max_depth < 1) return {};
  if (!tree.at(tree.root()).evaluated) return {ExpansionCandidate{{tree.root()}, 1.0}};
  Frontier frontier(view, acceptance, limits);
  SequenceBudget budget(view);
  std::vector<ExpansionCandidate> found;
  while (!frontier.empty() && static_cast<int>(found.size()) < limits.max_nodes) {
    const ExpansionCandidate candidate = frontier.top();
    if (candidate.chance < limits.min_chance) break;
    const bool placed = budget.take(tree.at(candidate.node.node));
    if (placed) found.push_back(candidate);
    frontier.pop(placed);
  }
  double sum = 0.0;
  double best = 0.0;
  std::size_t n_best = 0;
  for (std::size_t b = 0; b < found.size(); ++b) {
    sum += found[b].chance;
    const double worth = sum / costs.draft(static_cast<int>(b) + 1);
    if (worth > best) {
      best = worth;
      n_best = b + 1;
    }
  }
  found.resize(n_best);
  return found;
}

}  // namespace specbranch
