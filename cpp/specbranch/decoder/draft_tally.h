/// Counts what becomes of drafted tokens.
#pragma once

#include <span>
#include <vector>

#include "specbranch/decoder/submission.h"
#include "specbranch/decoder/walk.h"
#include "specbranch/model/policy.h"
#include "specbranch/report/stats.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// Keeps the counters of a generation. It changes only the member `main` of nodes: a node is main
/// from when it counts in `n_drafted`. Tokens of a text count when they are verified on the path,
/// or accepted: before, they have cost nothing.
class DraftTally {
 public:
  const Counters& counters() const { return counters_; }

  /// `node`, a candidate of the draft, has joined the tree.
  void drafted(SpeculationTree& tree, NodeId node);

  /// The verification of `submission` begins.
  void submitted(SpeculationTree& tree, const Submission& submission);

  /// That verification has ended, also if nobody needs its result.
  void verified(const Submission& submission);

  void draft_step(int n_tokens);
  void policy_skipped() { ++counters_.policy_skipped; }
  void generated() { ++counters_.n_generated; }

  /// `steps` of the verification of `submission` have become text; `tree` is as before. `drafts`:
  /// the mode drafts. Returns whether it is a branch miss.
  bool committed(SpeculationTree& tree, const Submission& submission,
                 std::span<const WalkStep> steps, const PolicyOutcome& outcome, bool drafts);

  /// These nodes were rolled back. Returns the tokens of those that are main.
  std::vector<Token> dropped(std::span<const Node> nodes);

  /// The generation has ended: what is left in the tree was never judged.
  void settle(const SpeculationTree& tree);

 private:
  void make_main(Node& node);
  void promote(SpeculationTree& tree, NodeId id);

  Counters counters_;
};

}  // namespace specbranch
