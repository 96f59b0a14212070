// What a new session of the target reuses: LlamaTarget's sequences, and texts in host memory.
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "specbranch/llama/models/target.h"

namespace specbranch::llama {
namespace {

std::size_t common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return static_cast<std::size_t>(end - a.begin());
}

}  // namespace

/// Empties `seq` if its cells were computed with other adapters: equal tokens are then no equal
/// cells.
void LlamaTarget::forget_other_adapters(const AdapterSet& adapters, SeqId seq) {
  AdapterSet& held = held_adapters_[static_cast<std::size_t>(seq)];
  if (adapters == held) return;
  empty(seq);
  held = adapters;
}

void LlamaTarget::empty(SeqId seq) { truncate({seq, context_.length(seq), 0}); }

/// Cuts the sequence of a new session to what its prompt reuses, of its own cells or of another
/// sequence's; returns its length.
int LlamaTarget::keep_prefix(const TargetSession& session) {
  const std::span<const Token> prefill = session.prefill();
  const SeqId seq = session.seq();
  SeqId like = seq;
  Pos n_kept = 0;
  if (checkpoints_) {
    like = most_like(session);
    n_kept = checkpoints_->begin(seq, like, prefill, n_usable(like), session.adapters());
  }
  int n_reused = reusable(prefill, seq);
  if (!context_.can_truncate(seq, n_reused)) n_reused = 0;
  if (const SeqId other = holder(session, std::max(n_reused, n_kept) + 1); other != kNoSeq) {
    n_reused = reusable(prefill, other);
    take_over(other, seq, n_reused);
  } else if (n_reused >= n_kept) {
    truncate({seq, context_.length(seq), n_reused});
  } else {
    if (like != seq) {
      context_.fork({like, seq, 0, context_.length(seq), context_.length(like)});
    }
    checkpoints_->restore(seq, n_kept);
    n_reused = n_kept;
  }
  prefilled(seq) = n_reused;
  return n_reused;
}

/// Cells of attention layers that may be used again. A checkpoint has none: those that are there
/// may come from generation.
Pos LlamaTarget::n_usable(SeqId seq) const {
  return options_.prefix_reuse == PrefixReuse::kExact ? prefilled_[static_cast<std::size_t>(seq)]
                                                      : context_.length(seq);
}

/// Of the sequences of all texts that which holds the most of the session's prompt, as the session
/// would compute it: its own, if no other one holds more.
SeqId LlamaTarget::most_like(const TargetSession& session) const {
  SeqId found = session.seq();
  // The logits of cells that are there are gone.
  if (session.scores_prompt() || !context_.can_restore_copies()) return found;
  const auto n_same = [&](SeqId seq) {
    const std::size_t n_common = common_prefix(context_.content(seq), session.prefill());
    return std::min(n_usable(seq), static_cast<Pos>(n_common));
  };
  // Its own cells may be of other adapters, before they go.
  const bool alike = held_adapters_[static_cast<std::size_t>(found)] == session.adapters();
  Pos most = alike ? n_same(found) : 0;
  for (SeqId other = 0; other < options_.n_seq; ++other) {
    if (other == session.seq()) continue;
    if (held_adapters_[static_cast<std::size_t>(other)] != session.adapters()) continue;
    const Pos n = n_same(other);
    if (n <= most) continue;
    most = n;
    found = other;
  }
  return found;
}

int LlamaTarget::reusable(std::span<const Token> prefill, SeqId seq) const {
  const auto n_common = static_cast<Pos>(common_prefix(context_.content(seq), prefill));
  return reusable(prefill, n_common, prefilled_[static_cast<std::size_t>(seq)]);
}

/// Of cells that have `n_common` tokens in common with `prefill`, the first `from_prefill` of which
/// came from a prefill.
int LlamaTarget::reusable(std::span<const Token> prefill, Pos n_common, Pos from_prefill) const {
  if (options_.prefix_reuse == PrefixReuse::kOff) return 0;
  if (options_.prefix_reuse == PrefixReuse::kFast) return n_common;
  // A fresh prefill computes whole chunks up to its own last one, which is shorter. Cells that came
  // from generation were computed in other batches.
  const auto end = static_cast<Pos>(prefill.size());
  const Pos same = std::min(n_common, from_prefill);
  if (same == end && from_prefill == end) return end;
  return same / chunk_ * chunk_;
}

/// The other sequence that holds the longest beginning of the session's prompt, as the session
/// would compute it, and at least `least` tokens of it; kNoSeq: none does.
SeqId LlamaTarget::holder(const TargetSession& session, Pos least) const {
  // Only cells of attention can be shared, and the logits of cells that are there are gone.
  if (rollback_ != Rollback::kAnywhere || session.scores_prompt()) return kNoSeq;
  SeqId found = kNoSeq;
  for (SeqId other = 0; other < options_.n_seq; ++other) {
    if (other == session.seq()) continue;
    if (held_adapters_[static_cast<std::size_t>(other)] != session.adapters()) continue;
    const Pos length = reusable(session.prefill(), other);
    if (length < least || length < context_.least_prefix(other)) continue;
    least = length + 1;
    found = other;
  }
  return found;
}

/// `seq` gets the first `length` cells of `from`: both share them from now on. Of its own cells
/// only those stay that a prefill of the same batches has computed.
void LlamaTarget::take_over(SeqId from, SeqId seq, Pos length) {
  const auto common =
      static_cast<Pos>(common_prefix(context_.content(seq), context_.content(from)));
  Pos own = std::min({common, length, prefilled(seq)}) / chunk_ * chunk_;
  if (own < context_.least_prefix(seq)) own = 0;
  context_.fork({from, seq, own, context_.length(seq), length});
  prefilled(seq) = length;
}

/// Copies what the session will take from its sequence, and what closed sessions have left in
/// theirs. Returns the sequences that need not hold it any more. `needed`: comes back (may be
/// null).
std::vector<SeqId> LlamaTarget::keep_texts(const TargetSession& session,
                                           const PromptCache::Text* needed) {
  std::vector<SeqId> kept;
  if (!cache_) return kept;
  cache_->begin(needed);
  const bool others_run =
      sessions_.any_of([&session](const TargetSession& one) { return one.seq() != session.seq(); });
  bool makes_wait = false;
  for (SeqId seq = 0; seq < options_.n_seq; ++seq) {
    const bool own = seq == session.seq();
    // What comes back only as a whole serves few prompts, and the cells serve more.
    if (!own && (cache_->only_whole() || makes_wait)) continue;
    if (!own && sessions_.any_of([seq](const auto& one) { return one.seq() == seq; })) continue;
    const AdapterSet& held = held_adapters_[static_cast<std::size_t>(seq)];
    const std::span<const Token> content = context_.content(seq);
    const Pos n = std::min(n_usable(seq), static_cast<Pos>(content.size()));
    const bool alike = held == session.adapters();
    const auto n_common = static_cast<Pos>(alike ? common_prefix(content, session.prefill()) : 0);
    if (!PromptCache::is_worth(n, std::min(n, n_common))) continue;
    if (!cache_->keep(seq, held, n)) continue;
    kept.push_back(seq);
    makes_wait = !own && others_run;  // one at a time
  }
  return kept;
}

/// Empties a sequence that a closed session has left.
void LlamaTarget::leave(SeqId seq) {
  empty(seq);
  kept_texts_.emptied(seq);
  if (rollback_ == Rollback::kCopies) kept_texts_.emptied(capabilities().spare_of(seq));
}

/// What the sequences offer to a session, in tokens of its prompt.
Pos LlamaTarget::n_offered(const TargetSession& session) const {
  const std::span<const Token> prefill = session.prefill();
  const bool alike = held_adapters_[static_cast<std::size_t>(session.seq())] == session.adapters();
  Pos most = alike ? reusable(prefill, session.seq()) : 0;
  if (!context_.can_truncate(session.seq(), most)) most = 0;
  if (const SeqId other = holder(session, most + 1); other != kNoSeq) {
    most = reusable(prefill, other);
  }
  const SeqId like = most_like(session);
  if (checkpoints_ && (alike || like != session.seq())) {
    const auto n_common = static_cast<Pos>(common_prefix(context_.content(like), prefill));
    most = std::max(most, checkpoints_->longest(prefill, std::min(n_common, n_usable(like)),
                                                session.adapters()));
  }
  return most;
}

/// What a copied text would offer.
Pos LlamaTarget::n_offered(const TargetSession& session, const PromptCache::Text& text) const {
  if (text.adapters != session.adapters()) return 0;
  const std::span<const Token> prefill = session.prefill();
  const auto n_common = static_cast<Pos>(common_prefix(text.copy.tokens.tokens(), prefill));
  return cache_->n_offered(text, n_common, reusable(prefill, n_common, text.n_usable));
}

/// The copied text that offers more to a session than all sequences do; null: none does.
const PromptCache::Text* LlamaTarget::find_copy(const TargetSession& session) const {
  if (!cache_ || session.scores_prompt()) return nullptr;
  return cache_->best(n_offered(session),
                      [&](const PromptCache::Text& text) { return n_offered(session, text); });
}

/// The session's sequence gets `copy`. `kept`: sequences that need not hold their texts any more.
void LlamaTarget::bring_back(const TargetSession& session, const PromptCache::Text& copy,
                             std::span<const SeqId> kept) {
  const SeqId seq = session.seq();
  for (const SeqId one : kept) {
    if (one != seq) leave(one);
  }
  empty(seq);
  const Pos n_usable = copy.n_usable;
  if (cache_->restore(seq, copy)) prefilled(seq) = n_usable;
}

}  // namespace specbranch::llama
