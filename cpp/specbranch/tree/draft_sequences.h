/// What the draft's sequences hold, and the pass that runs over them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "specbranch/model/messages.h"
#include "specbranch/tree/branch_placement.h"
#include "specbranch/tree/kv_ledger.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// Owns the ledger and the running pass. It changes only the member `seq` of nodes. The decoder
/// applies the answer of a pass.
class DraftSequences {
 public:
  /// Starts with `text`, of which the draft reads the tokens from `origin` on. The draft must begin
  /// before the first pass. `draft`: its sequences, and whether they can be cut. `first`: the
  /// model's id of the first of them.
  void reset(std::vector<Token> text, const Capabilities& draft, Pos origin = 0, SeqId first = 0);

  /// The draft has opened its session with the text of `reset` from `origin` on: each sequence
  /// holds so many of these tokens, none of them the last. Throws PreconditionError for lengths
  /// that this rules out.
  void open(std::span<const Pos> lengths);

  /// The draft has read on: sequence 0 holds `length` of these tokens.
  void prefilled(Pos length);

  /// What sequence 0 must hold before the first pass: these tokens without the last one.
  Pos n_prefill() const { return n_prefill_; }

  /// The model's ids of the sequences. Within the tree and the ledger they count from 0.
  std::vector<SeqId> seqs() const;

  /// Appends a committed token to the text.
  void commit(Token token) { ledger_.commit(token); }

  std::span<const Token> text() const { return ledger_.committed(); }
  int n_seq() const { return ledger_.n_seq(); }

  /// Tokens of the text that no sequence holds.
  Pos n_unread() const;

  /// The number of sequences that further branches may take.
  int count_free(const SpeculationTree& tree) const;

  /// Plans and starts a pass that evaluates `nodes`, each in a sequence of its own. `rank`: of
  /// the candidates after each node.
  DraftCommand plan(SpeculationTree& tree, std::span<const NodeId> nodes, const RankOptions& rank);

  /// The nodes of the running pass, in the order of its inputs; empty: no pass runs.
  std::span<const NodeId> in_flight() const { return in_flight_; }

  /// Notes that the running pass was aborted. It ends with `undo`, or with `done` if the abort came
  /// too late.
  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

  /// The pass is still useful: some node of it is still in `tree`, or it reads so much committed
  /// text that the next pass needs its cells.
  bool matters(const SpeculationTree& tree) const;

  /// Ends the pass: the draft has done it.
  void done();

  /// Ends the pass: the draft has aborted it. The forks and cuts before it remain.
  void undo(SpeculationTree& tree);

 private:
  void to_model(DraftCommand& command) const;

  std::unique_ptr<const BranchPlacement> placement_;
  KvLedger ledger_;
  Pos n_prefill_ = 0;
  SeqId first_ = 0;
  std::vector<NodeId> in_flight_;
  std::vector<SequenceInput> sent_;
  bool cancelled_ = false;
};

}  // namespace specbranch
