/// The ledger of the draft's KV cache: the path that each sequence holds.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// The path of a sequence is a prefix of the committed text, then a tail of drafted tokens. Lazy:
/// the ledger compares a tail with newly committed tokens only when the sequence is used again.
///
/// The ledger owns no KV cells: the caller sends `Fork` and `Truncate` to the model.
class KvLedger {
 public:
  /// Starts anew: every sequence is empty. The sequences hold nothing of the text before position
  /// `origin`, and count it as if they held it: that is the length of an empty one.
  void reset(std::vector<Token> committed, int n_seq, Pos origin = 0);

  Pos origin() const { return origin_; }

  /// Each sequence holds so many of the first committed tokens.
  void begin(std::span<const Pos> lengths);

  /// `seq`, which holds nothing but committed tokens, holds the first `length` of them.
  void extend(SeqId seq, Pos length);

  /// Appends a committed token to the text.
  void commit(Token token) { committed_.push_back(token); }

  std::span<const Token> committed() const { return committed_; }
  int n_seq() const { return static_cast<int>(entries_.size()); }

  /// The position after the last cell of `seq`.
  Pos length(SeqId seq) const;

  /// Length of the common prefix of the path of `seq` and the committed text followed by `tail`.
  Pos common(SeqId seq, std::span<const Token> tail) const;

  /// The tokens of `seq` after its longest common prefix with the committed text. Valid until the
  /// next change.
  std::span<const Token> tail(SeqId seq);

  /// Length of the common prefix of the paths of two sequences.
  Pos common_of(SeqId a, SeqId b);

  void truncate(SeqId seq, Pos length);
  void append(SeqId seq, Token token);

  /// Sets the path of `to` to the first `length` cells of `from`.
  void copy(SeqId from, SeqId to, Pos length);

 private:
  struct Entry {
    Pos base = 0;             ///< length of the prefix that equals the committed text.
    std::vector<Token> tail;  ///< the tokens after that prefix.
  };
  void normalize(Entry& entry) const;

  std::vector<Token> committed_;
  Pos origin_ = 0;
  mutable std::vector<Entry> entries_;  ///< lazily compared with the text.
};

}  // namespace specbranch
