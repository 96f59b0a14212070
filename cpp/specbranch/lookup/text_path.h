/// The path of the tree that texts propose.
#pragma once

#include <vector>

#include "specbranch/lookup/proposer.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// How far `extend_by_text` goes.
struct TextExtension {
  int max_depth = 0;             ///< of the deepest new node.
  double min_probability = 0.0;  ///< of a path, from its first node on.
};

/// Adds the most probable continuation that `proposer` knows: a chain from `node` on. Older
/// probabilities of texts along this chain are dropped. Returns its last node; `node`: no text
/// goes on there.
NodeId extend_by_text(SpeculationTree& tree, Proposer& proposer, NodeId node,
                      const TextExtension& limits);

/// The child of `node` that texts propose with the greatest probability; kNoNode: none does.
NodeId best_text_child(const SpeculationTree& tree, NodeId node);

/// The most probable path that texts propose.
struct TextPath {
  std::vector<NodeId> nodes;    ///< the root first.
  std::vector<double> chances;  ///< that the node becomes text, of each after the root.
};

/// At most `max_length` tokens after the root.
TextPath best_text_path(const SpeculationTree& tree, int max_length);

}  // namespace specbranch
