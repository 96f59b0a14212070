#include "specbranch/llama/models/branch_rows.h"

#include <algorithm>
#include <cstddef>

#include "specbranch/model/row_tree.h"

namespace specbranch::llama {

BranchRows::BranchRows(LlamaContext& context, SeqId first, int n)
    : context_(context), first_(first), n_(n) {}

void BranchRows::append(const Segment& segment, std::vector<BatchToken>& batch) {
  const std::span<const Row> rows(segment.rows);
  seqs_.assign(rows.size(), {});
  SeqId seq = segment.seq;
  SeqId next = first_;
  if (has_branches(rows) && seq != text_) {
    clear();  // equal tokens of another text are no equal cells where its adapters differ
    text_ = seq;
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].parent != Row::kBefore) {
      seq = next++;
      share_text(segment.seq, seq);
      for (int above = rows[i].parent; above >= 0;
           above = parent_of(rows, static_cast<std::size_t>(above))) {
        seqs_[static_cast<std::size_t>(above)].push_back(seq);
      }
    }
    seqs_[i].push_back(seq);
  }
  const std::vector<Pos> depths = row_depths(rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::span<const SeqId> all(seqs_[i]);
    batch.push_back({rows[i].token, all.front(), segment.pos + depths[i], /*wants_logits=*/true,
                     all.subspan(1)});
  }
}

void BranchRows::share_text(SeqId text, SeqId branch) {
  const Pos length = context_.length(text);
  const Pos held = context_.length(branch);
  auto shared = static_cast<Pos>(context_.held(branch).common(context_.held(text)));
  if (shared < context_.least_prefix(branch)) shared = 0;
  context_.fork({text, branch, shared, held, length});
}

void BranchRows::drop(Pos length) {
  for (SeqId seq = first_; seq < first_ + n_; ++seq) {
    const Pos held = context_.length(seq);
    // The text that it branched from may be a longer one.
    const Pos kept = std::min(held, length);
    context_.truncate({seq, held, context_.can_truncate(seq, kept) ? kept : 0});
  }
}

}  // namespace specbranch::llama
