/// How probably each known token follows a node: what the draft model and the texts say together.
#pragma once

#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/auto/source_agreement.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

struct NextTokens {
  std::vector<double> ranks;  ///< probabilities of the draft's candidates; none: not evaluated.
  NodeId text = kNoNode;      ///< the child of a text, unless it is the draft's first choice.
  double text_chance = 0.0;   ///< its probability.
  bool text_ranked = false;   ///< it is among `ranks`, too.
  bool in_texts = false;      ///< a text proposes a token, be it the draft's first choice.

  /// A text's token is the most probable one.
  bool text_first() const {
    return text != kNoNode && (ranks.empty() || text_chance > ranks.front());
  }
};

/// Both learn from what the target chooses. Neither is owned.
struct TokenSources {
  const AcceptanceModel& draft;
  const SourceAgreement& agreement;

  /// At most the first `n_ranks` candidates.
  NextTokens after(const SpeculationTree& tree, NodeId node, int n_ranks) const;
};

}  // namespace specbranch
