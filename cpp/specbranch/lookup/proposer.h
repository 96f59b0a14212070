/// A source of drafted tokens that needs no forward pass.
#pragma once

#include <optional>

#include "specbranch/base/types.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// *Contract:* deterministic; only committed tokens change it. A proposal may be wrong: the text
/// does not depend on it.
class Proposer {
 public:
  virtual ~Proposer() = default;

  /// A token joins the text.
  virtual void commit(Token token) = 0;

  /// The token that probably follows `node`, whose tree is rooted at the last committed token.
  virtual std::optional<Proposal> propose(const SpeculationTree& tree, NodeId node) = 0;
};

}  // namespace specbranch
