/// Placement for attention: branches share the cells of what they have in common.
#pragma once

#include <span>
#include <vector>

#include "specbranch/tree/branch_placement.h"

namespace specbranch {

/// A sequence can be cut anywhere, and a fork copies only the cells that the other one lacks. So
/// the sequence that holds most of a node's path serves it, whatever it holds after that.
class CellPlacement final : public BranchPlacement {
 public:
  void place(SpeculationTree& tree, std::span<const NodeId> nodes, KvLedger& ledger,
             DraftCommand& command) const override;
  int count_free(const SpeculationTree& tree, const KvLedger& ledger) const override;
  void undo(SpeculationTree& tree, KvLedger& ledger,
            std::span<const SequenceInput> sent) const override;
};

}  // namespace specbranch
