// How both models get the prompt, and a draft that begins later the text so far.
#include <algorithm>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/decoder.h"
#include "specbranch/decoder/readable_text.h"

namespace specbranch {

void Decoder::begin_wanted_draft(Commands& commands) {
  const bool ends = finish_ != Finish::kNone || ends_with_prompt();
  if (draft_ != DraftState::kNotStarted || ends || !planner_->wants_draft(view())) return;
  begin_draft(commands);
}

void Decoder::begin_draft(Commands& commands) {
  const int n_vocab = limits_.draft->n_vocab;
  std::shared_ptr<const Request> text = request_;
  std::vector<Token> all(sequences_.text().begin(), sequences_.text().end());
  window_.move_to(static_cast<Pos>(all.size()));
  if (counters().n_generated > 0 || window_.begin() > 0 || !is_readable(all, n_vocab)) {
    auto own = std::make_shared<Request>(*request_);
    own->prompt.assign(all.begin() + window_.begin(), all.end());
    own->n_skipped = window_.begin();
    const auto n_generated = static_cast<int>(counters().n_generated);
    own->min_tokens -= n_generated;
    if (own->max_tokens >= 0) own->max_tokens -= n_generated;
    sequences_.reset(std::move(all), *limits_.draft, window_.begin(), limits_.first_draft_seq);
    make_readable(own->prompt, n_vocab);
    text = std::move(own);
  }
  draft_ = DraftState::kStarted;
  timer_.issued(ModelRole::kDraft, 0, now_us_);
  commands.draft = Command{generation_id_, OpenCommand{std::move(text), sequences_.seqs()}};
}

void Decoder::apply_open(ModelRole role, const OpenDone& done) {
  if (done.lengths.empty() || done.lengths.front() != done.n_reused) {
    throw PreconditionError("[Decoder::apply_open] the first sequence does not hold the " +
                            std::to_string(done.n_reused) + " tokens that are reused");
  }
  if (role == ModelRole::kTarget) {
    target_open_ = true;
    n_reused_ = done.n_reused;
    const Pos n_prefill = tree_.at(tree_.root()).pos;
    target_text_.open(done.lengths, n_prefill);
    if (proposer_) proposer_->force(done.forced);
    target_prompt_ = PromptReader(done.n_reused, n_prefill, limits_.target.prefill_chunk);
  } else {
    sequences_.open(done.lengths);
    draft_prompt_ =
        PromptReader(done.n_reused, sequences_.n_prefill(), limits_.draft->prefill_chunk);
  }
}

void Decoder::apply_prefill(ModelRole role, const PrefillDone& done) {
  if (role == ModelRole::kTarget) {
    target_prompt_.read(done.length);
    n_reused_ += done.n_shared;
  } else {
    draft_prompt_.read(done.length);
    sequences_.prefilled(done.length);
  }
}

/// Issues the next chunk of the prompt. False: there is none, or nobody needs it any more.
bool Decoder::read_on(ModelRole role, Commands& commands) {
  const std::optional<PrefillCommand> chunk = prompt_of(role).next();
  const bool target = role == ModelRole::kTarget;
  if (!chunk && target && ends_with_prompt()) finish_with(Finish::kLength, commands);
  if (!chunk || finish_ != Finish::kNone || (!target && !draft_usable())) return false;
  timer_.issued(role, 0, now_us_);
  (target ? commands.target : commands.draft) = Command{generation_id_, *chunk};
  return true;
}

}  // namespace specbranch
