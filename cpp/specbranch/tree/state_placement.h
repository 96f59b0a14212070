/// Placement for recurrent and hybrid drafts: a sequence is copied or dropped as a whole.
#pragma once

#include <span>

#include "specbranch/tree/branch_placement.h"

namespace specbranch {

/// A recurrent state is the sum of its whole sequence: it cannot be cut, so a sequence serves a
/// node only if it holds a prefix of the node's path and nothing else. Before a branch goes on past
/// a node whose state may be wanted again, a copy stays behind: a checkpoint. Checkpoints lie in
/// sequences that no live node uses. When these run short, the one goes whose loss would cost the
/// fewest tokens to decode again.
class StatePlacement final : public BranchPlacement {
 public:
  /// Sequences that branches leave to checkpoints: one holds the newest prefix of the text that
  /// there is, another one the state that becomes the next such prefix.
  static constexpr int kReserved = 2;

  void place(SpeculationTree& tree, std::span<const NodeId> nodes, KvLedger& ledger,
             DraftCommand& command) const override;
  int count_free(const SpeculationTree& tree, const KvLedger& ledger) const override;
  void undo(SpeculationTree& tree, KvLedger& ledger,
            std::span<const SequenceInput> sent) const override;
};

}  // namespace specbranch
