/// Which path each draft sequence holds, kept lazily: a commit touches no idle sequence.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// A sequence's path is a prefix of the committed text and a tail of drafted tokens. The tail is
/// only compared with what was committed meanwhile when the sequence is used again.
///
/// Owns no KV: the caller turns what it plans here into `Fork` and `Truncate`.
class KvLedger {
 public:
  /// Sequence 0 holds the first `committed.size() - 1` tokens, the others nothing.
  void reset(std::vector<Token> committed, int n_seq);

  /// More of the text is now certain.
  void commit(Token token) { committed_.push_back(token); }

  std::span<const Token> committed() const { return committed_; }
  int n_seq() const { return static_cast<int>(entries_.size()); }

  /// Cells that `seq` holds.
  Pos length(SeqId seq) const;

  /// Length of the common prefix of what `seq` holds and the committed text followed by `tail`.
  Pos common(SeqId seq, std::span<const Token> tail);

  /// Length of the common prefix of what two sequences hold.
  Pos common_of(SeqId a, SeqId b);

  void truncate(SeqId seq, Pos length);
  void append(SeqId seq, Token token);

  /// `to` becomes the first `length` cells of `from`.
  void copy(SeqId from, SeqId to, Pos length);

 private:
  struct Entry {
    Pos base = 0;             ///< cells that agree with the committed text.
    std::vector<Token> tail;  ///< cells after those.
  };
  void normalize(Entry& entry) const;

  std::vector<Token> committed_;
  std::vector<Entry> entries_;
};

}  // namespace specbranch
