/// KV bookkeeping of the models without weights. Private to the core.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/model.h"

namespace specbranch {

/// KV of all sequences, by content; checks every precondition of `Model`.
class FakeCells {
 public:
  explicit FakeCells(int n_seq) : cells_(static_cast<std::size_t>(n_seq)) {}

  /// The cells of `seq`; throws PreconditionError naming `method` if there is no such sequence.
  std::vector<Token>& at(SeqId seq, const char* method);
  const std::vector<Token>& at(SeqId seq, const char* method) const;

  Pos length(SeqId seq) const { return static_cast<Pos>(at(seq, "length").size()); }

  void truncate(const Truncate& op);
  void fork(const Fork& op);

  /// What `Model::begin` demands. Sequence 0 takes over the longest prefix that any sequence holds;
  /// returns its length.
  int begin(std::span<const Token> prompt);

  /// What `TargetModel::verify` demands.
  void check_path(Pos pos, std::span<const Token> path, int n_pad,
                  const Capabilities& limits) const;

  /// What `DraftModel::draft` demands.
  void check_inputs(std::span<const SequenceInput> inputs, const Capabilities& limits) const;

  /// Appends checked tokens; returns all that `seq` then holds, until the next change.
  std::span<const Token> append(SeqId seq, std::span<const Token> tokens);

 private:
  void check(SeqId seq, const char* method) const;

  std::vector<std::vector<Token>> cells_;
};

}  // namespace specbranch
