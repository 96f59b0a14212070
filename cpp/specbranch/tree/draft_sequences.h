/// Where the draft's branches lie in its KV cache: what every pass forks, cuts and decodes.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "specbranch/model/messages.h"
#include "specbranch/tree/kv_ledger.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// Owns the ledger and the pass under way; of the nodes it sets `seq` alone. What follows from a
/// pass's answer is the decoder's business.
class DraftSequences {
 public:
  /// Sequence 0 holds all of `text` but its last token.
  void reset(std::vector<Token> text, int n_seq) { ledger_.reset(std::move(text), n_seq); }

  /// More of the text is now certain.
  void commit(Token token) { ledger_.commit(token); }

  std::span<const Token> text() const { return ledger_.committed(); }
  int n_seq() const { return ledger_.n_seq(); }

  /// Sequences that no live node of `tree` uses.
  int count_free(const SpeculationTree& tree) const;

  /// A pass that evaluates `nodes`, one sequence each; it is under way from now on.
  DraftCommand plan(SpeculationTree& tree, std::span<const NodeId> nodes, int width);

  /// Nodes of the pass under way, in the order of its sequences; empty: there is none.
  std::span<const NodeId> in_flight() const { return in_flight_; }

  /// The pass under way was asked to stop; it ends with `undo`, or with `done` if it was too late.
  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

  /// Some node of the pass is still in `tree`, or the pass reads so much of the text that it is of
  /// use whatever became of its nodes.
  bool matters(const SpeculationTree& tree) const;

  /// The pass was carried out.
  void done();

  /// The pass was cut short: its sequences are as before, but for what made room for it.
  void undo(SpeculationTree& tree);

 private:
  /// A sequence that holds the begin of a node's path.
  struct Source {
    SeqId seq = 0;
    Pos held = -1;            ///< cells of the path that it holds, the node itself not among them.
    bool ends_there = false;  ///< it holds nothing more, and no other sequence of the pass uses it.
  };

  void place(SpeculationTree& tree, NodeId id, DraftCommand& command);
  Source choose_source(const SpeculationTree& tree, std::span<const NodeId> path,
                       std::span<const SequenceInput> taken);
  SeqId make_room(const SpeculationTree& tree, const Source& source, DraftCommand& command);
  void append(SpeculationTree& tree, std::span<const NodeId> path, SeqId seq, Pos held,
              DraftCommand& command);
  SeqId free_seq(const SpeculationTree& tree, std::span<const SequenceInput> taken) const;

  KvLedger ledger_;
  std::vector<NodeId> in_flight_;
  std::vector<SequenceInput> sent_;
  bool cancelled_ = false;
};

}  // namespace specbranch
