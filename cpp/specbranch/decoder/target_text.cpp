#include "specbranch/decoder/target_text.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "specbranch/base/errors.h"

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
      spare_(target.spare_of(seq)) {}

std::vector<SeqId> TargetText::seqs() const {
  if (rollback_ == Rollback::kCopies) return {seq_, spare_};
  return {seq_};
}

void TargetText::open(std::span<const Pos> lengths, Pos n_prefill) {
  held_ = n_prefill;
  saved_ = lengths.size() > 1 ? lengths[1] : 0;
}

bool TargetText::restores(Pos root) const { return rollback_ == Rollback::kCopies && held_ > root; }

int TargetText::n_replayed(Pos root) const {
  return restores(root) ? static_cast<int>(root - saved_) : 0;
}

int TargetText::max_path(Pos root) const {
  const int n = n_replayed(root);
  return n >= kMostReplayed ? 0 : std::max(0, max_batch_ - 1 - n);
}

VerifyCommand TargetText::verify(GenerationId id, Pos root, std::span<const Token> text,
                                 std::span<const Token> path) {
  VerifyCommand command;
  if (restores(root)) {
    command.ops.emplace_back(Fork{spare_, seq_, 0, held_, saved_});
    held_ = saved_;
  } else if (held_ > root) {
    command.ops.emplace_back(Truncate{seq_, held_, root});
    held_ = root;
  }
  const bool saves = rollback_ == Rollback::kCopies && path.size() > 1 && held_ == root;
  if (saves && saved_ < held_) {
    command.ops.emplace_back(Fork{seq_, spare_, saved_, saved_, held_});
    saved_ = held_;
  }
  Segment segment = path_segment(id, seq_, held_, path);
  if (held_ < root && static_cast<Pos>(text.size()) != root + 1) {
    throw PreconditionError("[TargetText::verify] the text has " + std::to_string(text.size()) +
                            " tokens; expected " + std::to_string(root + 1));
  }
  std::vector<Row> replayed;
  for (Pos pos = held_; pos < root; ++pos) {
    replayed.push_back({text[static_cast<std::size_t>(pos)], /*wanted=*/false});
  }
  segment.rows.insert(segment.rows.begin(), replayed.begin(), replayed.end());
  held_ += static_cast<Pos>(segment.rows.size());
  command.segments.push_back(std::move(segment));
  return command;
}

}  // namespace specbranch
