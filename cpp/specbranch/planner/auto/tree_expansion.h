/// Chooses the nodes of the draft tree to evaluate next: those most likely to be committed.
#pragma once

#include <vector>

#include "specbranch/planner/auto/next_tokens.h"
#include "specbranch/planner/cost_model.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// A node that the draft may evaluate: an existing one, or a possible child of a node.
struct ExpansionCandidate {
  NodeRef node;
  /// Probability that the node is committed, and that no text knows what follows it.
  double chance = 0.0;
  int n_tokens = 1;  ///< that the draft decodes for it: nodes before it may not be decoded yet.
};

/// The most probable path, of tokens of the draft model and of texts.
struct DraftPath {
  NodeId end = kNoNode;         ///< last node of the path that exists.
  bool open = false;            ///< the path goes on with the best candidate of `end`.
  int n_text = 0;               ///< tokens that texts propose.
  std::vector<double> chances;  ///< of each token after the first node, that candidate included.
};

struct ExpansionLimits {
  int max_depth = 0;        ///< only nodes above this depth are evaluated.
  int max_branches = 1;     ///< children of a node.
  int max_nodes = 1;        ///< nodes of one draft pass.
  double min_chance = 0.0;  ///< nodes with a smaller chance are not evaluated.
  NodeRef awaited = {};     ///< the target waits for it: it is evaluated first; kNoNode: none is.
};

/// The path of best tokens from `begin` on: at most `max_length` tokens, and at most `max_drafted`
/// of them that no text proposes.
DraftPath best_path(const View& view, const TokenSources& sources, NodeId begin, int max_length,
                    int max_drafted);

/// The first `n` tokens of a path from the root.
DraftPath cut(const SpeculationTree& tree, DraftPath path, int n);

/// Tokens that the draft must decode to evaluate `node`.
int n_undecoded(const View& view, NodeId node);

/// The most probable nodes to evaluate, best first. The number is limited by the free KV sequences,
/// then cut to the count that maximizes sum(chance) / step time.
std::vector<ExpansionCandidate> best_expansion(const View& view, const TokenSources& sources,
                                               const CostModel& costs,
                                               const ExpansionLimits& limits);

}  // namespace specbranch
