// What a new session of the draft reuses: LlamaDraft's sequences, and texts in host memory.
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "specbranch/llama/models/draft.h"

namespace specbranch::llama {

/// Takes over a longer beginning of the prompt than the `n_own` cells of its own, if another
/// session has one; returns the number of cells afterwards.
int LlamaDraft::share_prefix(const Session& session, int n_own) {
  const SeqId other = holder(session, n_own + 1);
  if (other == kNoSeq) return n_own;
  const auto n_shared = static_cast<Pos>(context_.held(other).common(session.wanted));
  context_.fork({other, session.seqs.front(), n_own, n_own, n_shared});
  return n_shared;
}

/// The sequence of another session that holds the longest beginning of the prompt, and at least
/// `least` tokens of it; kNoSeq: none does.
SeqId LlamaDraft::holder(const Session& session, Pos least) const {
  SeqId found = kNoSeq;
  if (checkpoints_) return found;  // a part of a state cannot be copied (see keep_states)
  for (SeqId other = 0; other < context_.n_seq(); ++other) {
    if (session.has(other)) continue;
    const auto length = static_cast<Pos>(context_.held(other).common(session.wanted));
    if (length < least) continue;
    least = length + 1;
    found = other;
  }
  return found;
}

/// Cuts every sequence to its common prefix with `wanted`. The first one takes over the longest;
/// returns its length.
int LlamaDraft::keep_prefixes(std::span<const SeqId> seqs, const HashedTokens& wanted) {
  std::size_t best = 0;
  std::vector<Pos> common;
  for (const SeqId seq : seqs) {
    common.push_back(static_cast<Pos>(context_.held(seq).common(wanted)));
    if (common.back() > common[best]) best = common.size() - 1;
  }
  if (checkpoints_) return keep_states(seqs, wanted, common);
  const Pos longest = common[best];
  if (longest == 0 && static_cast<int>(seqs.size()) == context_.n_seq()) {
    // Nothing stays: one call, where cutting each sequence would visit its cells one by one.
    context_.clear();
    return 0;
  }
  const SeqId first = seqs.front();
  if (best != 0) context_.fork({seqs[best], first, common[0], context_.length(first), longest});
  for (std::size_t i = best == 0 ? 0 : 1; i < seqs.size(); ++i) {
    context_.truncate({seqs[i], context_.length(seqs[i]), common[i]});
  }
  return longest;
}

/// The same where sequences cannot be cut: one stays if all that it holds is `common` with the
/// text, and a checkpoint serves the first one if that is longer. The cells of attention layers for
/// it may be those of another session.
int LlamaDraft::keep_states(std::span<const SeqId> seqs, const HashedTokens& wanted,
                            std::span<const Pos> common) {
  const SeqId first = seqs.front();
  const auto copy_to_first = [&](SeqId from) {
    if (from == first) return;
    context_.fork({from, first, 0, context_.length(first), context_.length(from)});
  };
  SeqId whole = kNoSeq;  // holds the longest prefix, and nothing else
  for (std::size_t i = 0; i < seqs.size(); ++i) {
    const Pos length = context_.length(seqs[i]);
    if (common[i] == length && (whole == kNoSeq || length > context_.length(whole))) {
      whole = seqs[i];
    }
  }
  SeqId checkpointed = first;
  std::size_t n_most = context_.held(first).common(wanted);
  for (SeqId seq = 0; context_.can_restore_copies() && seq < context_.n_seq(); ++seq) {
    const std::size_t n = context_.held(seq).common(wanted);
    if (n <= n_most) continue;
    n_most = n;
    checkpointed = seq;
  }
  const Pos n_checkpoint =
      checkpoints_->begin(first, checkpointed, wanted.tokens(), context_.length(checkpointed));
  const Pos n_whole = whole == kNoSeq ? 0 : context_.length(whole);
  if (n_checkpoint > n_whole) {
    copy_to_first(checkpointed);
    checkpoints_->restore(first, n_checkpoint);
  } else if (whole != kNoSeq) {
    copy_to_first(whole);
  } else {
    empty(first);
  }
  for (std::size_t i = 1; i < seqs.size(); ++i) {
    const Pos length = context_.length(seqs[i]);
    if (common[i] < length) context_.truncate({seqs[i], length, 0});
  }
  return context_.length(first);
}

/// Copies what the session will take from its sequences, and what closed sessions have left in
/// theirs. Returns the sequences that need not hold it any more. `needed`: comes back (may be
/// null). `goes_on`: the session was open, and reads another part of its text from now on.
std::vector<SeqId> LlamaDraft::keep_texts(const Session& session, const PromptCache::Text* needed,
                                          bool goes_on) {
  std::vector<SeqId> kept;
  if (!cache_) return kept;
  cache_->begin(needed);
  std::vector<SeqId> seqs;
  for (SeqId seq = 0; seq < context_.n_seq(); ++seq) {
    const bool own = session.has(seq);
    const auto n_left = static_cast<Pos>(context_.held(seq).common(session.wanted));
    if (!PromptCache::is_worth(context_.length(seq), n_left)) continue;
    const auto runs = [seq](const Session& one) { return one.has(seq); };
    if (own ? !goes_on : !sessions_.any_of(runs)) seqs.push_back(seq);
  }
  // The branches of a text differ at its end only: one copy serves all.
  std::ranges::stable_sort(seqs, std::ranges::greater{},
                           [this](SeqId seq) { return context_.length(seq); });
  const bool others_run = sessions_.any_of([&](const Session& one) { return &one != &session; });
  bool makes_wait = false;
  for (const SeqId seq : seqs) {
    const Pos length = context_.length(seq);
    const bool own = session.has(seq);
    const bool is_branch = std::ranges::any_of(kept, [&](SeqId other) {
      const auto n_common = static_cast<Pos>(context_.held(other).common(context_.held(seq)));
      return PromptCache::covers(n_common, length);
    });
    if (!is_branch && !own && makes_wait) continue;
    if (!is_branch && !cache_->keep(seq, {}, length)) continue;
    kept.push_back(seq);
    makes_wait = makes_wait || (!own && others_run);  // one at a time
  }
  return kept;
}

void LlamaDraft::empty(SeqId seq) { context_.truncate({seq, context_.length(seq), 0}); }

/// What the sequences offer to a session, in tokens of its prompt.
Pos LlamaDraft::n_offered(const Session& session) const {
  Pos most = 0;
  for (SeqId seq = 0; seq < context_.n_seq(); ++seq) {
    const auto n_common = static_cast<Pos>(context_.held(seq).common(session.wanted));
    if (!checkpoints_) {
      most = std::max(most, n_common);
      continue;
    }
    const bool own = session.has(seq);
    if (own && n_common == context_.length(seq)) most = std::max(most, n_common);
    if (own || context_.can_restore_copies()) {
      most = std::max(most, checkpoints_->longest(session.wanted.tokens(), n_common, {}));
    }
  }
  return most;
}

/// What a copied text would offer.
Pos LlamaDraft::n_offered(const Session& session, const PromptCache::Text& text) const {
  const auto n_common = static_cast<Pos>(text.copy.tokens.common(session.wanted));
  return cache_->n_offered(text, n_common, n_common);
}

/// The copied text that offers more to a session than all sequences do; null: none does.
const PromptCache::Text* LlamaDraft::find_copy(const Session& session) const {
  if (!cache_) return nullptr;
  return cache_->best(n_offered(session),
                      [&](const PromptCache::Text& text) { return n_offered(session, text); });
}

/// The session's first sequence gets `copy`. `kept`: sequences that need not hold their texts any
/// more.
void LlamaDraft::bring_back(const Session& session, const PromptCache::Text& copy,
                            std::span<const SeqId> kept) {
  for (const SeqId seq : kept) {
    if (!session.has(seq)) empty(seq);
  }
  // Cells that its other sequences have in common with the text would be there twice.
  for (const SeqId seq : session.seqs) empty(seq);
  cache_->restore(session.seqs.front(), copy);
}

}  // namespace specbranch::llama
