/// A source of drafted tokens that needs no forward pass.
#pragma once

#include <optional>

#include "specbranch/base/types.h"
#include "specbranch/model/forced_run.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// *Contract:* deterministic; only committed tokens, and what is said of the tokens after them,
/// change it. A proposal may be wrong: the text does not depend on it.
class Proposer {
 public:
  virtual ~Proposer() = default;

  /// A token joins the text.
  virtual void commit(Token token) = 0;

  /// The rule of the text forces these tokens after the last committed one.
  virtual void force(const ForcedRun& /*run*/) {}

  /// The token that probably follows `node`, whose tree is rooted at the last committed token.
  virtual std::optional<Proposal> propose(const SpeculationTree& tree, NodeId node) = 0;
};

}  // namespace specbranch
