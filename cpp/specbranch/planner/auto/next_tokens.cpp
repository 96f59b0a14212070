#include "specbranch/planner/auto/next_tokens.h"

#include <algorithm>
#include <cstddef>

#include "specbranch/lookup/text_path.h"

namespace specbranch {
namespace {

/// Divides what the first token leaves among the others as before.
void share_rest(std::vector<double>& ranks, double before, double now) {
  const double factor = before < 1.0 ? std::max(0.0, 1.0 - now) / (1.0 - before) : 0.0;
  for (std::size_t j = 1; j < ranks.size(); ++j) ranks[j] *= factor;
}

/// The draft does not know the grammar, so what it says counts only where the grammar is wrong.
void beside_forced(NextTokens& next, const Node& node, const Node& child) {
  const double p = child.text_probability;
  next.text = child.id;
  next.text_chance = p;
  for (std::size_t rank = 0; rank < next.ranks.size(); ++rank) {
    next.ranks[rank] *= 1.0 - p;
    if (node.candidates[rank].token != child.token) continue;
    next.text_chance = next.ranks[rank] += p;
    next.text_ranked = true;
    if (rank == 0) next.text = kNoNode;
  }
}

}  // namespace

NextTokens TokenSources::after(const SpeculationTree& tree, NodeId id, int n_ranks) const {
  const Node& node = tree.at(id);
  NextTokens next;
  if (node.evaluated) next.ranks = draft.chances(node.candidates, n_ranks);
  const NodeId text = best_text_child(tree, id);
  if (text == kNoNode) return next;
  next.in_texts = true;
  const Node& child = tree.at(text);
  if (next.ranks.empty()) {
    next.text = text;
    next.text_chance = child.text_probability;
    return next;
  }
  if (child.forced) {
    beside_forced(next, node, child);
    return next;
  }
  const double first = next.ranks.front();
  if (child.token == node.candidates.front().token) {
    next.ranks.front() = agreement.together(first, child.text_probability);
    share_rest(next.ranks, first, next.ranks.front());
    return next;
  }
  const Rivals rivals = agreement.apart(first, child.text_probability);
  next.text = text;
  next.text_chance = rivals.text;
  next.ranks.front() = rivals.draft;
  share_rest(next.ranks, first, rivals.draft + rivals.text);
  for (std::size_t rank = 1; rank < next.ranks.size(); ++rank) {
    if (node.candidates[rank].token != child.token) continue;
    next.ranks[rank] = next.text_chance = std::max(next.text_chance, next.ranks[rank]);
    next.text_ranked = true;
  }
  return next;
}

}  // namespace specbranch
