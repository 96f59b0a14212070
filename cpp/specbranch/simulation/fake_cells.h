/// KV bookkeeping of the models without weights. Private to the core.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/model.h"

namespace specbranch {

/// KV of all sequences, by content; checks every precondition of `Model`.
class FakeCells {
 public:
  /// `whole`: a sequence is copied or dropped as a whole (Rollback::kCopies).
  FakeCells(int n_seq, bool whole) : whole_(whole), cells_(static_cast<std::size_t>(n_seq)) {}

  /// The cells of `seq`; throws PreconditionError naming `method` if there is no such sequence.
  std::vector<Token>& at(SeqId seq, const char* method);
  const std::vector<Token>& at(SeqId seq, const char* method) const;

  Pos length(SeqId seq) const { return static_cast<Pos>(at(seq, "length").size()); }

  void truncate(const Truncate& op);
  void fork(const Fork& op);

  /// What `Model::open` demands. The first of `seqs` takes over the longest prefix of the prompt
  /// that any of them holds; returns its length.
  int open(std::span<const SeqId> seqs, std::span<const Token> prompt);

  /// A pass over `seqs` has ended early. Where sequences are whole they are lost.
  void end_early(std::span<const SeqId> seqs);

  /// What `Model::prefill` demands.
  void prefill(SeqId seq, std::span<const Token> prompt, Pos begin, Pos end,
               const Capabilities& limits);

  /// What `TargetModel::verify` demands.
  void check_segments(std::span<const Segment> segments, int n_pad,
                      const Capabilities& limits) const;

  /// What `DraftModel::draft` demands.
  void check_inputs(std::span<const SequenceInput> inputs, const Capabilities& limits) const;

  /// Appends checked tokens; returns all that `seq` then holds, until the next change.
  std::span<const Token> append(SeqId seq, std::span<const Token> tokens);

  /// Appends the path of a checked segment: the cells of branches stay nowhere.
  void append_path(const Segment& segment);

 private:
  void check(SeqId seq, const char* method) const;
  void check_room(int n_tokens, const char* method, const Capabilities& limits) const;

  bool whole_;
  std::vector<std::vector<Token>> cells_;
};

}  // namespace specbranch
