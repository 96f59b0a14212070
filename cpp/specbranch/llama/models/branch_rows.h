/// Where the rows of a verification's branches lie in the target's context.
#pragma once

#include <span>
#include <vector>

#include "specbranch/llama/context/context.h"
#include "specbranch/model/model.h"

namespace specbranch::llama {

/// Each branch has a sequence of its own, which shares the cells of the text. A row that leads to
/// several branches is one cell of all their sequences. Afterwards the sequences are cut to the
/// text, so that the next branches need little more than its newest tokens, and so that no cell of
/// a branch lies between those of the text.
///
/// *Thread safety:* none; on the target's thread.
class BranchRows {
 public:
  /// The sequences from `first` on. `context` outlives this.
  BranchRows(LlamaContext& context, SeqId first, int n);

  /// Appends the rows of `segment`, which may have as many branches as there are sequences, to
  /// `batch`; the logits of all are wanted. The tokens refer to this, until the next call.
  void append(const Segment& segment, std::vector<BatchToken>& batch);

  /// The batch is decoded: drops the rows of branches. `length`: of the text before it.
  void drop(Pos length);

  /// Empties the sequences, whose cells would outlive the text's.
  void clear() { drop(0); }

 private:
  void share_text(SeqId text, SeqId branch);

  LlamaContext& context_;
  SeqId first_;
  int n_;
  SeqId text_ = kNoSeq;                   ///< whose cells the sequences share.
  std::vector<std::vector<SeqId>> seqs_;  ///< [i]: of row i, that of its path or branch first.
};

}  // namespace specbranch::llama
