/// Records the rounds of one generation for its trace. Owned by the decoder.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/policy.h"
#include "specbranch/report/trace.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// Told what happens to each verification, in this order: `on_submit`, then perhaps `on_branch`,
/// then `on_choice` for each of its tokens, then `on_outcome`.
///
/// *Thread safety:* none; owned by a decoder.
class RoundRecorder {
 public:
  /// `active` false: nothing is kept.
  explicit RoundRecorder(bool active) : active_(active) {}

  /// The decoder submits the path to `end`.
  void on_submit(const SpeculationTree& tree, NodeId end);

  /// Of what was submitted with it, the branch to `end` was accepted, or its first tokens were.
  void on_branch(const SpeculationTree& tree, NodeId end);

  /// The target chose `token` after `parent`.
  void on_choice(const Node& parent, Token token);

  /// The verification was applied. `branch_miss`: its last token was not in the tree.
  /// `rolled_back`: the dropped tokens of the main path. `features`: the features of the
  /// verification.
  void on_outcome(const PolicyOutcome& outcome, bool branch_miss, std::vector<Token> rolled_back,
                  const std::vector<float>& features);

  /// The rounds so far; `at_us` is the caller's to set.
  std::vector<TraceRound>& rounds() { return rounds_; }

 private:
  void set_window(const SpeculationTree& tree, NodeId end);

  bool active_;
  std::vector<TraceRound> rounds_;
  TraceRound current_;           ///< the round under verification.
  std::vector<float> features_;  ///< of the last verification that was applied.
};

}  // namespace specbranch
