#include "specbranch/planner/auto/tree_expansion.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "specbranch/lookup/text_path.h"

namespace specbranch {
namespace {

/// A node after which texts know more is not worth reading what the draft has not read before it.
constexpr double kLeastUnknown = 0.2;

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

  /// For a child of `parent`; null: the node goes to a sequence of its own.
  bool take(const Node* parent) {
    if (parent != nullptr && parent->seq != kNoSeq) {
      Pos& tip = tips_[static_cast<std::size_t>(parent->seq)];
      if (tip == parent->pos) {
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

/// A node that the draft may evaluate, or an evaluated one with its children.
struct Source {
  NodeId id = kNoNode;
  bool itself = false;
  /// Of the children by rank, or of the node itself: that it is committed, and that no text knows
  /// what follows.
  std::vector<double> chances;
  int next = 0;  ///< first rank that is not evaluated yet.
};

/// A node on the way to others.
struct Visit {
  NodeId id = kNoNode;
  double chance = 1.0;
  bool offered = false;  ///< as a child of its parent.
};

class Frontier {
 public:
  Frontier(const View& view, const TokenSources& sources, const ExpansionLimits& limits)
      : tree_(view.tree), token_sources_(sources), limits_(limits) {
    std::vector<Visit> stack{{tree_.root(), 1.0, false}};
    while (!stack.empty()) {
      const Visit next = stack.back();
      stack.pop_back();
      visit(next, stack);
    }
    std::ranges::make_heap(heap_, Worse{this});
  }

  bool empty() const { return heap_.empty(); }

  /// The most probable one; its next sibling takes its place with `advance`.
  ExpansionCandidate top() const {
    const Source& source = sources_[heap_.front()];
    const NodeRef node = source.itself ? NodeRef{source.id} : NodeRef{source.id, source.next};
    return {node, chance_of(heap_.front())};
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
  void visit(const Visit& here, std::vector<Visit>& stack) {
    const Node& node = tree_.at(here.id);
    const int depth = tree_.depth(here.id);
    if (depth >= limits_.max_depth) return;
    const NextTokens next = token_sources_.after(tree_, here.id, AcceptanceTable::kRanks);
    if (!node.evaluated && !here.offered) offer_itself(here);
    if (depth + 1 >= limits_.max_depth) return;
    Source source{here.id, false, next.ranks, 0};
    for (std::size_t rank = 0; rank < source.chances.size(); ++rank) {
      source.chances[rank] *= here.chance;
      const NodeId child = child_of(node, rank);
      if (child == kNoNode) continue;
      const bool offered =
          static_cast<int>(rank) < limits_.max_branches || tree_.at(child).text_probability == 0.0;
      descend({child, source.chances[rank], offered}, stack);
      source.chances[rank] *= unknown_after(child);
    }
    if (next.text != kNoNode && !next.text_ranked) {
      descend({next.text, here.chance * next.text_chance, false}, stack);
    }
    if (!node.evaluated || !skip_known(source)) return;
    heap_.push_back(sources_.size());
    sources_.push_back(std::move(source));
  }

  /// All such nodes of a pass would read the same tokens: the best one is enough.
  void offer_itself(const Visit& here) {
    const double chance = here.chance * unknown_after(here.id);
    if (here.id != tree_.root() && chance < kLeastUnknown) return;
    if (itself_ == kNone) {
      itself_ = sources_.size();
      heap_.push_back(itself_);
      sources_.emplace_back();
    } else if (sources_[itself_].chances.front() >= chance) {
      return;
    }
    sources_[itself_] = {here.id, true, {chance}, 0};
  }

  void descend(const Visit& next, std::vector<Visit>& stack) const {
    if (next.chance >= limits_.min_chance) stack.push_back(next);
  }

  NodeId child_of(const Node& node, std::size_t rank) const {
    return tree_.find_child(node.id, node.candidates[rank].token);
  }

  /// The probability that no text knows what follows a node.
  double unknown_after(NodeId id) const {
    const NodeId text = best_text_child(tree_, id);
    return text == kNoNode ? 1.0 : 1.0 - tree_.at(text).text_probability;
  }

  /// Goes to the first rank that is not evaluated; false: there is none.
  bool skip_known(Source& source) const {
    if (source.itself) return false;
    const Node& node = tree_.at(source.id);
    const int n = std::min(static_cast<int>(source.chances.size()), limits_.max_branches);
    for (; source.next < n; ++source.next) {
      const Token token = node.candidates[static_cast<std::size_t>(source.next)].token;
      const NodeId child = tree_.find_child(source.id, token);
      if (child == kNoNode || !tree_.at(child).evaluated) break;
    }
    return source.next < n;
  }

  double chance_of(std::size_t index) const {
    const Source& source = sources_[index];
    return source.chances[static_cast<std::size_t>(source.next)];
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

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  const SpeculationTree& tree_;
  const TokenSources& token_sources_;
  ExpansionLimits limits_;
  std::vector<Source> sources_;
  std::vector<std::size_t> heap_;
  std::size_t itself_ = kNone;  ///< the source that is a node itself.
};

/// Two references mean the same node.
bool same(const SpeculationTree& tree, const NodeRef& a, const NodeRef& b) {
  if (a == b) return true;
  const NodeId found = tree.find(a);
  return found != kNoNode && found == tree.find(b);
}

}  // namespace

DraftPath best_path(const View& view, const TokenSources& sources, NodeId begin, int max_length,
                    int max_drafted) {
  const SpeculationTree& tree = view.tree;
  DraftPath path;
  path.end = begin;
  double chance = 1.0;
  while (static_cast<int>(path.chances.size()) < max_length) {
    const NextTokens next = sources.after(tree, path.end, 1);
    if (next.ranks.empty() && next.text == kNoNode) break;
    if (!next.in_texts && --max_drafted < 0) break;
    if (next.in_texts) ++path.n_text;
    chance *= next.text_first() ? next.text_chance : next.ranks.front();
    path.chances.push_back(chance);
    const NodeId child = next.text_first()
                             ? next.text
                             : tree.find_child(path.end, tree.at(path.end).candidates[0].token);
    if (child == kNoNode) {
      path.open = true;
      break;
    }
    path.end = child;
  }
  return path;
}

DraftPath cut(const SpeculationTree& tree, DraftPath path, int n) {
  if (n >= static_cast<int>(path.chances.size())) return path;
  path.chances.resize(static_cast<std::size_t>(n));
  path.open = false;
  while (tree.depth(path.end) > n) path.end = tree.at(path.end).parent;
  return path;
}

int n_undecoded(const View& view, NodeId node) {
  int n = 0;
  for (; view.tree.at(node).seq == kNoSeq; ++n) {
    if (node == view.tree.root()) return n + std::max(1, view.n_unread);
    node = view.tree.at(node).parent;
  }
  return std::max(1, n);
}

std::vector<ExpansionCandidate> best_expansion(const View& view, const TokenSources& sources,
                                               const CostModel& costs,
                                               const ExpansionLimits& limits) {
  const SpeculationTree& tree = view.tree;
  if (limits.max_depth < 1) return {};
  Frontier frontier(view, sources, limits);
  SequenceBudget budget(view);
  std::vector<ExpansionCandidate> found;
  const auto place = [&](ExpansionCandidate candidate) {
    const auto& [node, rank] = candidate.node;
    const bool child = rank != NodeRef::kItself;
    if (!budget.take(child ? &tree.at(node) : nullptr)) return false;
    if (!child) candidate.n_tokens = n_undecoded(view, node);
    found.push_back(candidate);
    return true;
  };
  if (limits.awaited.node != kNoNode) place({limits.awaited, 1.0});
  while (!frontier.empty() && static_cast<int>(found.size()) < limits.max_nodes) {
    const ExpansionCandidate candidate = frontier.top();
    if (candidate.chance < limits.min_chance) break;
    const bool known = limits.awaited.node != kNoNode && same(tree, candidate.node, limits.awaited);
    frontier.pop(known || place(candidate));
  }
  double sum = 0.0;
  double best = 0.0;
  int n_tokens = 0;
  std::size_t n_best = 0;
  for (std::size_t b = 0; b < found.size(); ++b) {
    sum += found[b].chance;
    n_tokens += found[b].n_tokens;
    const double worth = sum / costs.draft(n_tokens);
    if (worth > best) {
      best = worth;
      n_best = b + 1;
    }
  }
  found.resize(n_best);
  return found;
}

}  // namespace specbranch
