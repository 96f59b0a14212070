#include "specbranch/engine/batch_scheduler.h"

#include <algorithm>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/model/kept_texts.h"
#include "specbranch/planner/padding.h"

namespace specbranch {
namespace {

/// How many texts the sequences of the models suffice for.
std::size_t possible(int n_parallel, const ModelLimits& limits) {
  int most = limits.target.n_seq;
  if (limits.draft) most = std::min(most, limits.draft->n_seq);
  return static_cast<std::size_t>(std::clamp(n_parallel, 1, std::max(1, most)));
}

SequencePool::Adapters adapters_of(const Request& request) {
  if (!request.adapters) return std::nullopt;
  return active_adapters(*request.adapters);
}

}  // namespace

BatchScheduler::BatchScheduler(ModelPair* models, const ModelLimits* limits, PairProfile* profile,
                               int n_parallel)
    : models_(models),
      limits_(limits),
      profile_(profile),
      n_parallel_(possible(n_parallel, *limits)),
      target_seqs_(static_cast<int>(n_parallel_), limits->target.splits_at_gaps),
      of_target_(
          ModelRole::kTarget, limits->target.max_batch,
          [this](int n_tokens) { return padding(n_tokens); }, limits->target.rollback,
          limits->target.splits_at_gaps),
      of_draft_(ModelRole::kDraft, limits->draft ? limits->draft->max_batch : 1, {},
                limits->draft ? limits->draft->rollback : Rollback::kAnywhere,
                limits->draft && limits->draft->splits_at_gaps),
      composer_(profile, limits->target.max_batch, limits->target.rollback == Rollback::kCopies,
                limits->target.splits_at_gaps) {
  profile_->others.longest_padded = limits->target.pads ? limits->target.max_batch : 0;
}

bool BatchScheduler::admits(const Request& next) const {
  if (full() || (drains_ && !running_.empty())) return false;
  std::vector<const Request*> running;
  running.reserve(running_.size());
  for (const Running& one : running_) running.push_back(&one.text->request());
  return fits_beside(running, next, limits_->target) &&
         (!limits_->draft || fits_beside(running, next, *limits_->draft));
}

BatchScheduler::Place BatchScheduler::take_place(const Request& request) {
  Place place{target_seqs_.take(request.prompt, adapters_of(request)), *limits_};
  if (place.limits.draft) {
    place.limits.draft->n_seq /= static_cast<int>(n_parallel_);
    place.limits.first_draft_seq = place.target_seq * place.limits.draft->n_seq;
  }
  // For the planner that is made now.
  profile_->others.n_running = static_cast<int>(running_.size());
  return place;
}

void BatchScheduler::give_back(const Place& place) {
  target_seqs_.give_back_unused(place.target_seq);
  tell_number();
}

void BatchScheduler::join(RunningText& text) {
  running_.push_back({&text, group_for(text)});
  tell_number();
}

void BatchScheduler::leave(const RunningText& text, std::optional<std::vector<Token>> kept) {
  std::erase_if(running_, [&](const Running& one) { return one.text == &text; });
  if (kept) {
    target_seqs_.give_back(text.target_seq(), std::move(*kept), adapters_of(text.request()));
  } else {
    target_seqs_.give_back_unused(text.target_seq());
  }
  if (running_.empty()) drains_ = false;
  tell_number();
}

void BatchScheduler::tell_number() {
  profile_->others.n_running = std::max(0, static_cast<int>(running_.size()) - 1);
}

/// Texts with the same adapters may share a batch. Functions of the caller may take long, so that
/// their texts go alone. A group has the number of the first text that it had, which no later one
/// has.
GenerationId BatchScheduler::group_for(const RunningText& text) const {
  if (text.request().processors) return CommandQueue::kAlone;
  const auto found = std::ranges::find_if(running_, [&](const Running& one) {
    const Request& other = one.text->request();
    return !other.processors && other.adapters == text.request().adapters;
  });
  return found == running_.end() ? text.id() : found->group;
}

GenerationId BatchScheduler::group_of(const RunningText& text) const {
  const auto found =
      std::ranges::find_if(running_, [&](const Running& one) { return one.text == &text; });
  return found == running_.end() ? CommandQueue::kAlone : found->group;
}

void BatchScheduler::dispatch(RunningText& text, Commands commands) {
  if (commands.abort_target) abort(text, ModelRole::kTarget);
  if (commands.abort_draft) abort(text, ModelRole::kDraft);
  const GenerationId group = group_of(text);
  if (commands.target) add(text, ModelRole::kTarget, std::move(*commands.target), group);
  if (commands.draft) add(text, ModelRole::kDraft, std::move(*commands.draft), group);
  if (running_.size() == 1) send_waiting();
}

void BatchScheduler::add(RunningText& text, ModelRole role, Command command, GenerationId group) {
  text.sent(role, command);
  queue(role).add(std::move(command), group);
  if (role == ModelRole::kDraft && draft_error_) fail_draft_commands();
}

void BatchScheduler::lose_draft(const std::exception_ptr& error) {
  if (draft_error_) return;
  draft_error_ = error;
  fail_draft_commands();
}

void BatchScheduler::fail_draft_commands() {
  for (Event& event : of_draft_.fail_waiting(draft_error_)) {
    drop(std::move(event));
  }
}

/// Brings an answer to a command that was never sent.
void BatchScheduler::drop(Event event) {
  event.begin_us = event.end_us = models_->now_us();
  dropped_.push_back(std::move(event));
}

void BatchScheduler::abort(const RunningText& text, ModelRole role) {
  if (text.finished()) {
    if (std::optional<Event> dropped = queue(role).drop(text.id())) {
      drop(std::move(*dropped));
    }
  }
  if (queue(role).release(text.id())) models_->request_abort(role);
}

bool BatchScheduler::awaits(const Event& event) const {
  return queue(event.role).answered_by(event);
}

std::vector<Event> BatchScheduler::answer(Event event) {
  const ModelRole role = event.role;
  const StepTime step = timer_.ended(role, event.begin_us + event.ops_us, event.end_us);
  if (running_.size() > 1) event.overlap = step.overlap;
  std::vector<Event> events = queue(role).answer(std::move(event));
  composer_.learn(events);
  note_damage(events);
  return events;
}

void BatchScheduler::note_damage(const std::vector<Event>& events) {
  const auto is_damage = is_error<NonFiniteScores>;
  for (const Event& event : events) {
    if (const auto* failed = std::get_if<FailDone>(&event.body)) {
      drains_ = drains_ || is_damage(failed->error);
    } else if (const auto* done = std::get_if<VerifyDone>(&event.body)) {
      for (const SegmentResult& result : done->results) {
        drains_ = drains_ || is_damage(result.error) || is_damage(result.verification.error);
      }
    }
  }
}

std::optional<Event> BatchScheduler::next_dropped() {
  if (dropped_.empty()) return std::nullopt;
  Event event = std::move(dropped_.front());
  dropped_.pop_front();
  return event;
}

void BatchScheduler::send_waiting() {
  if (of_target_.idle()) compose();
  send_next(ModelRole::kTarget);
  send_next(ModelRole::kDraft);
}

void BatchScheduler::send_next(ModelRole role) {
  std::optional<Command> command = queue(role).next();
  if (!command) return;
  timer_.issued(role, 0, models_->now_us());
  models_->send(role, std::move(*command));
}

void BatchScheduler::clear() {
  of_target_.clear();
  of_draft_.clear();
}

/// Makes commands of what the texts offer for the next batches of the target.
void BatchScheduler::compose() {
  const auto offers = [](const Running& one) { return one.text->offer() != nullptr; };
  for (;;) {
    const auto first = std::ranges::find_if(running_, offers);
    if (first == running_.end()) return;
    const GenerationId group = first->group;
    const bool alone = group == CommandQueue::kAlone;
    std::vector<RunningText*> texts;
    std::vector<BatchOffer> paths;
    for (const Running& one : running_) {
      if (one.group != group || !offers(one)) continue;
      texts.push_back(one.text);
      const Offer& offer = *one.text->offer();
      paths.push_back({offer.chances, offer.n_replayed, one.text->target_seq()});
      if (alone) break;
    }
    const int n_fixed = alone ? 0 : of_target_.n_waiting_tokens(group);
    const std::vector<int> lengths = composer_.lengths(paths, n_fixed);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      add(*texts[i], ModelRole::kTarget, texts[i]->take_offer(lengths[i]), group);
    }
  }
}

/// Padding tokens that make a batch faster, by the measured times.
int BatchScheduler::padding(int n_tokens) const {
  return batch_padding(n_tokens, profile_->costs.target_us, profile_->others.longest_padded);
}

}  // namespace specbranch
