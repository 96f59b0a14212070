#include "specbranch/decoder/target_text.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/model/row_tree.h"

namespace specbranch {
namespace {

/// From so many rows on, a verification decodes them again without drafted tokens. Then nothing can
/// be rejected, so that the next one begins with a copy of the whole text.
constexpr int kMostReplayed = 8;

}  // namespace

TargetText::TargetText(const Capabilities& target, SeqId seq)
    : rollback_(target.rollback),
      max_batch_(target.max_batch),
      seq_(seq),
      spare_(target.spare_of(seq)),
      right_(std::numeric_limits<Pos>::max()) {}  // before `open` nothing is known to be wrong

std::vector<SeqId> TargetText::seqs() const {
  if (rollback_ == Rollback::kCopies) return {seq_, spare_};
  return {seq_};
}

void TargetText::open(std::span<const Pos> lengths, Pos n_prefill) {
  held_ = right_ = n_prefill;
  saved_ = lengths.size() > 1 ? lengths[1] : 0;
}

bool TargetText::restores(Pos root) const { return rollback_ == Rollback::kCopies && held_ > root; }

int TargetText::n_replayed(Pos root) const {
  const Pos stays = restores(root) ? saved_ : std::min(right_, root);
  return static_cast<int>(root - stays);
}

int TargetText::max_path(Pos root) const {
  const int n = n_replayed(root);
  return n >= kMostReplayed ? 0 : std::max(0, max_batch_ - 1 - n);
}

VerifyCommand TargetText::verify(GenerationId id, Pos root, std::span<const Token> text,
                                 std::vector<Row> rows) {
  VerifyCommand command;
  if (restores(root)) {
    command.ops.emplace_back(Fork{spare_, seq_, 0, held_, saved_});
    held_ = saved_;
  } else if (const Pos stays = std::min({held_, right_, root}); held_ > stays) {
    command.ops.emplace_back(Truncate{seq_, held_, stays});
    held_ = stays;
  }
  const bool saves = rollback_ == Rollback::kCopies && rows.size() > 1 && held_ == root;
  if (saves && saved_ < held_) {
    command.ops.emplace_back(Fork{seq_, spare_, saved_, saved_, held_});
    saved_ = held_;
  }
  if (held_ < root && static_cast<Pos>(text.size()) != root + 1) {
    throw PreconditionError("[TargetText::verify] the text has " + std::to_string(text.size()) +
                            " tokens; expected " + std::to_string(root + 1));
  }
  std::vector<Row> replayed;
  for (Pos pos = held_; pos < root; ++pos) {
    replayed.push_back({text[static_cast<std::size_t>(pos)], /*wanted=*/false});
  }
  for (Row& row : rows) {
    if (row.parent != Row::kBefore) row.parent += static_cast<int>(replayed.size());
  }
  rows.insert(rows.begin(), replayed.begin(), replayed.end());
  const Pos begin = held_;
  right_ = held_ += static_cast<Pos>(path_length(rows));
  command.segments.push_back({id, seq_, begin, std::move(rows)});
  return command;
}

}  // namespace specbranch
