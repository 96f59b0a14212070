/// Where the nodes of a draft pass go: the sequence that evaluates each of them.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/messages.h"
#include "specbranch/tree/kv_ledger.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// *Contract:* changes the ledger, and of nodes only the member `seq`. A node whose parent is the
/// last node of its sequence can always be placed; any other node needs one of `count_free`.
class BranchPlacement {
 public:
  virtual ~BranchPlacement() = default;
  BranchPlacement(const BranchPlacement&) = delete;
  BranchPlacement& operator=(const BranchPlacement&) = delete;

  /// Adds to `command` the forks and cuts, and an input for each of `nodes`, in their order.
  virtual void place(SpeculationTree& tree, std::span<const NodeId> nodes, KvLedger& ledger,
                     DraftCommand& command) const = 0;

  /// The number of sequences that further branches may take.
  virtual int count_free(const SpeculationTree& tree, const KvLedger& ledger) const = 0;

  /// Takes back the inputs of a pass that was aborted.
  virtual void undo(SpeculationTree& tree, KvLedger& ledger,
                    std::span<const SequenceInput> sent) const = 0;

 protected:
  BranchPlacement() = default;
};

/// By sequence: a live node uses it.
std::vector<bool> used_sequences(const SpeculationTree& tree, int n_seq);

/// Sequences that no live node uses.
int count_unused(const SpeculationTree& tree, int n_seq);

/// The tokens after the root on `path`, which begins with it.
std::vector<Token> tail_of(const SpeculationTree& tree, std::span<const NodeId> path);

/// Adds the input that decodes the tokens of the path that `seq` lacks.
void append_path(SpeculationTree& tree, std::span<const NodeId> path, SeqId seq, KvLedger& ledger,
                 DraftCommand& command);

}  // namespace specbranch
