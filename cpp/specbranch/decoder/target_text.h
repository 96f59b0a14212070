/// What the target's sequence holds of a text, and what makes it hold the text again.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/messages.h"

namespace specbranch {

/// Plans the target's part of a verification: what is taken back before it, and which rows.
///
/// Where rows can be cut, the rejected ones are. Where only whole sequences can be copied
/// (Rollback::kCopies), a copy of the text stays in the session's spare sequence before drafted
/// tokens are decoded. If one of them is rejected, the copy takes their place, and the tokens that
/// were accepted are decoded again: as the first rows of the next verification, which costs less
/// than a pass of their own.
///
/// The sequence holds nothing of a verification's branches. The accepted tokens of one are decoded
/// again, too: then the cells of every text lie in the order in which plain decoding has them, on
/// which the last bits of the logits depend.
class TargetText {
 public:
  /// `seq`: the target's sequence for this text.
  TargetText(const Capabilities& target, SeqId seq);

  /// The sequences of the session, the text's first.
  std::vector<SeqId> seqs() const;

  /// The session is open with a text of which `n_prefill` tokens are read before the first
  /// verification. `lengths`: cells of each of `seqs`, prefixes of the text.
  void open(std::span<const Pos> lengths, Pos n_prefill);

  /// Rows of a verification from the root at position `root` on that only decode the text again.
  int n_replayed(Pos root) const;

  /// Drafted tokens of that verification at most.
  int max_path(Pos root) const;

  /// The verification of `rows`, the first of which is the root's; all are wanted. `text`: all
  /// tokens up to the root, or nothing if nothing was ever drafted.
  VerifyCommand verify(GenerationId id, Pos root, std::span<const Token> text,
                       std::vector<Row> rows);

  /// Of the last verification's cells those before `end` are the text's.
  void keep(Pos end) { right_ = end; }

 private:
  /// The next verification needs the copy.
  bool restores(Pos root) const;

  Rollback rollback_;
  int max_batch_;
  SeqId seq_;
  SeqId spare_;
  Pos held_ = 0;   ///< cells of `seq_`.
  Pos right_ = 0;  ///< those before this position are the text's.
  Pos saved_ = 0;  ///< cells of `spare_`: a prefix of the text.
};

}  // namespace specbranch
