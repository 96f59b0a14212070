/// Planners decide what the draft expands and what the target verifies; one small class per mode.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "specbranch/core/options.h"
#include "specbranch/core/tree.h"
#include "specbranch/core/types.h"

namespace specbranch {

/// What a planner sees. References hold during the call.
struct View {
  const SpeculationTree& tree;
  bool target_idle = true;
  bool draft_idle = true;
  bool draft_usable = true;    ///< false: the draft cannot follow this text (vocabulary, context).
  NodeId submitted = kNoNode;  ///< end of the path under verification; kNoNode: none.
  int max_depth = 0;           ///< deepest useful node: more cannot be committed or drafted.
  int max_path = 0;            ///< drafted tokens that one verification takes at most.
  int free_seqs = 0;           ///< sequences that no live node uses.
};

/// Lets a planner turn candidates into nodes.
class Grower {
 public:
  virtual ~Grower() = default;

  /// The node for the candidate of `rank` after `parent`, made if it is not there yet.
  /// `parent` must be evaluated and have that many candidates.
  virtual NodeId child(NodeId parent, int rank) = 0;
};

/// What to start now; only for a model that is idle.
struct Decision {
  std::vector<NodeId> evaluate;  ///< nodes whose next tokens the draft is to find, one lane each.
  NodeId submit = kNoNode;       ///< verify the path from the root to here.
};

/// *Contract:* deterministic; looks at nothing but the view and its own state.
class Planner {
 public:
  virtual ~Planner() = default;

  /// Asked after every event while a model is idle. May grow the tree.
  virtual Decision next(const View& view, Grower& grow) = 0;

  /// A verdict is waiting while the draft may still be at work: may it be applied now? Lock-step
  /// modes say no until their round is drafted. Asked after `next`, so what could start has
  /// started.
  virtual bool may_apply(const View& view) = 0;

  /// Candidates wanted after each evaluated node.
  virtual int width() const = 0;

  /// A verdict was applied: the tree is rooted at the newest token. `hit`: that token was a node.
  virtual void on_verdict(const View& view, bool hit) = 0;
};

/// The planner of `request.mode`.
std::unique_ptr<Planner> make_planner(const Request& request);

}  // namespace specbranch
