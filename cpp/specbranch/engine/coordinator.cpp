#include "specbranch/engine/coordinator.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "specbranch/base/clock.h"
#include "specbranch/base/errors.h"
#include "specbranch/model/kept_texts.h"

namespace specbranch {
namespace {

/// How many generations the sequences of the models suffice for.
std::size_t possible(int n_parallel, const ModelLimits& limits) {
  int most = limits.target.n_seq;
  if (limits.draft) most = std::min(most, limits.draft->n_seq);
  return static_cast<std::size_t>(std::clamp(n_parallel, 1, std::max(1, most)));
}

}  // namespace

Coordinator::Coordinator(const ModelLimits& limits, std::vector<std::string> pieces,
                         std::unique_ptr<Worker<TargetModel>> target,
                         std::unique_ptr<Worker<DraftModel>> draft, PairProfile profile,
                         double measure_costs_ms, std::shared_ptr<LookupStore> lookup,
                         int n_parallel)
    : pieces_(std::move(pieces)),
      target_(std::move(target)),
      draft_(std::move(draft)),
      profile_(std::move(profile)),
      lookup_(std::move(lookup)),
      n_parallel_(possible(n_parallel, limits)),
      target_seqs_(static_cast<int>(n_parallel_)),
      of_target_(ModelRole::kTarget, limits.target.max_batch,
                 [this](int n_tokens) { return padding(n_tokens); }),
      of_draft_(ModelRole::kDraft, limits.draft ? limits.draft->max_batch : 1),
      composer_(&profile_, limits.target.max_batch),
      limits_(limits),
      published_(profile_) {
  totals_.measure_costs_ms = measure_costs_ms;
}

bool Coordinator::handle(Message& message) {
  try {
    std::visit([this](auto& body) { on(body); }, message);
    while (!dropped_.empty()) {
      const Event event = std::move(dropped_.front());
      dropped_.pop_front();
      if (RunningGeneration* run = find(event.generation_id)) carry_out(*run, run->on(event));
    }
    finish_idle();
    start_next();
    send_waiting();
  } catch (const std::exception& error) {
    fail_for_good(std::make_exception_ptr(
        FatalError(std::string("the engine lost its state: ") + error.what())));
  }
  return !closing_ || !running_.empty();
}

void Coordinator::release_workers() {
  target_.reset();
  draft_.reset();
}

ModelLimits Coordinator::limits() const {
  const std::lock_guard lock(mutex_);
  return limits_;
}

EngineStats Coordinator::stats() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

PairProfile Coordinator::profile() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

std::exception_ptr Coordinator::poison() const {
  const std::lock_guard lock(mutex_);
  return poison_;
}

void Coordinator::throw_if_poisoned() const {
  if (const std::exception_ptr error = poison()) std::rethrow_exception(error);
}

/// All generations end with this error as soon as the message at hand is done.
void Coordinator::lose_target(const std::exception_ptr& error) {
  const std::lock_guard lock(mutex_);
  if (!poison_) poison_ = error;
  fatal_ = poison_;
}

void Coordinator::lose_draft(const std::exception_ptr& error) {
  // The worker and the model stay until the engine closes: this may be the worker's own thread.
  const std::lock_guard lock(mutex_);
  limits_.draft.reset();
  limits_.why_no_draft = "the draft failed in an earlier generation: " + error_text(error);
}

void Coordinator::fail_for_good(const std::exception_ptr& error) {
  {
    const std::lock_guard lock(mutex_);
    if (!poison_) poison_ = error;
  }
  // What the workers still answer finds no generation and is ignored; no other one begins.
  of_target_.clear();
  of_draft_.clear();
  for (const Running& lost : std::exchange(running_, {})) {
    lost->hand_out();
    target_seqs_.give_back(lost->target_seq());
    end_at_once(lost->submit(), Finish::kFailed, error);
  }
  start_next();
}

void Coordinator::on(SubmitMessage& message) {
  if (closing_) {
    end_at_once(message, Finish::kCancelled);
    return;
  }
  queue_.push_back(std::move(message));
}

void Coordinator::on(const CancelMessage& message) {
  if (RunningGeneration* run = find(message.generation_id)) {
    dispatch(*run, run->cancel());
    return;
  }
  const auto queued =
      std::ranges::find(queue_, message.generation_id, &SubmitMessage::generation_id);
  if (queued == queue_.end()) return;
  const SubmitMessage submit = std::move(*queued);
  queue_.erase(queued);
  end_at_once(submit, Finish::kCancelled);
}

void Coordinator::on(const CloseMessage& /*message*/) {
  closing_ = true;
  for (const SubmitMessage& queued : queue_) end_at_once(queued, Finish::kCancelled);
  queue_.clear();
  for (const Running& run : running_) dispatch(*run, run->cancel());
}

void Coordinator::on(Event& event) {
  std::vector<Event> events;
  const bool of_model = !std::holds_alternative<PolicyReply>(event.body);
  if (of_model) {
    CommandQueue& queue = event.role == ModelRole::kTarget ? of_target_ : of_draft_;
    if (queue.answered_by(event)) {
      const StepTime step = timer_.ended(event.role, event.begin_us + event.ops_us, event.end_us);
      if (running_.size() > 1) event.overlap = step.overlap;
    } else {
      notice_loss(event);
    }
    events = queue.answer(std::move(event));
    composer_.learn(events);
  } else {
    events.push_back(std::move(event));
  }
  // Nobody waits for the end of a session, nor for an answer to a generation that is lost.
  for (const Event& own : events) {
    if (RunningGeneration* run = find(own.generation_id)) carry_out(*run, run->on(own));
  }
}

/// A session that could not be closed may have left its model in an unknown state. Its text is
/// over.
void Coordinator::notice_loss(const Event& event) {
  const auto* fail = std::get_if<FailDone>(&event.body);
  if (fail == nullptr || !is_fatal(fail->error)) return;
  if (event.role == ModelRole::kDraft) {
    lose_draft(fail->error);
  } else {
    lose_target(fail->error);
  }
}

RunningGeneration* Coordinator::find(GenerationId id) const {
  const auto found = std::ranges::find(running_, id, &RunningGeneration::id);
  return found == running_.end() ? nullptr : found->get();
}

void Coordinator::start_next() {
  while (running_.size() < n_parallel_ && !target_seqs_.empty() && !queue_.empty() &&
         has_room(*queue_.front().request)) {
    const SubmitMessage submit = std::move(queue_.front());
    queue_.pop_front();
    if (const std::exception_ptr error = poison()) {
      end_at_once(submit, Finish::kFailed, error);
    } else {
      start(submit);
    }
  }
}

/// The cells of both models suffice for `next` until its end, beside all texts that run. None
/// overtakes the first that waits, so that it will come.
bool Coordinator::has_room(const Request& next) const {
  std::vector<const Request*> running;
  running.reserve(running_.size());
  for (const Running& run : running_) running.push_back(run->submit().request.get());
  return fits_beside(running, next, limits_.target) &&
         (!limits_.draft || fits_beside(running, next, *limits_.draft));
}

void Coordinator::start(const SubmitMessage& submit) {
  const SeqId seq = target_seqs_.take(submit.request->prompt);
  profile_.others.n_running = static_cast<int>(running_.size());
  try {
    running_.push_back(
        std::make_unique<RunningGeneration>(submit, limits_at(seq), pieces_, &profile_, seq));
  } catch (const std::exception&) {  // no memory, say: nothing has begun
    target_seqs_.give_back(seq);
    end_at_once(submit, Finish::kFailed, std::current_exception());
    return;
  }
  dispatch(*running_.back(), running_.back()->start());
  finish_idle();
}

void Coordinator::carry_out(RunningGeneration& run, Commands commands) {
  for (;;) {
    const bool ask_policy = commands.ask_policy;
    dispatch(run, std::move(commands));
    // Send the policy request before the chunks: a reader that gets a chunk first stops waiting.
    const bool skipped = ask_policy && !run.send_policy_request();
    run.hand_out();
    if (!skipped) return;
    Event event;
    event.generation_id = run.id();
    event.body = PolicyReply{};
    commands = run.on(event);
  }
}

void Coordinator::dispatch(RunningGeneration& run, Commands commands) {
  if (commands.abort_target) abort(run, ModelRole::kTarget);
  if (commands.abort_draft && draft_) abort(run, ModelRole::kDraft);
  const GenerationId group = group_of(*run.submit().request);
  if (commands.target) {
    run.sent(ModelRole::kTarget, *commands.target);
    of_target_.add(std::move(*commands.target), group);
  }
  if (commands.draft) {
    run.sent(ModelRole::kDraft, *commands.draft);
    of_draft_.add(std::move(*commands.draft), group);
  }
  // Others may have more for the same batch.
  if (running_.size() == 1) send_waiting();
}

void Coordinator::abort(RunningGeneration& run, ModelRole role) {
  const bool of_target = role == ModelRole::kTarget;
  CommandQueue& queue = of_target ? of_target_ : of_draft_;
  if (run.finished()) {
    if (std::optional<Event> dropped = queue.drop(run.id())) {
      dropped->begin_us = dropped->end_us = now_us();
      dropped_.push_back(std::move(*dropped));
    }
  }
  if (!queue.release(run.id())) return;
  if (of_target) {
    target_->request_abort();
  } else {
    draft_->request_abort();
  }
}

/// Makes commands of what the texts offer for the next batches of the target.
void Coordinator::compose() {
  const auto offers = [](const Running& run) { return run->offer() != nullptr; };
  for (;;) {
    const auto first = std::ranges::find_if(running_, offers);
    if (first == running_.end()) return;
    const GenerationId group = group_of(*(*first)->submit().request);
    std::vector<RunningGeneration*> runs;
    std::vector<BatchOffer> paths;
    for (const Running& run : running_) {
      if (!offers(run) || group_of(*run->submit().request) != group) continue;
      runs.push_back(run.get());
      paths.push_back({run->offer()->chances, run->offer()->n_replayed});
      if (group == CommandQueue::kAlone) break;
    }
    const int n_fixed = group == CommandQueue::kAlone ? 0 : of_target_.n_waiting_tokens(group);
    const std::vector<int> lengths = composer_.lengths(paths, n_fixed);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      Command command = runs[i]->take_offer(lengths[i]);
      runs[i]->sent(ModelRole::kTarget, command);
      of_target_.add(std::move(command), group);
    }
  }
}

void Coordinator::send_waiting() {
  if (of_target_.idle()) compose();
  // The model is idle here, so a pending abort belongs to the previous command. Clear it.
  if (std::optional<Command> command = of_target_.next()) {
    timer_.issued(ModelRole::kTarget, 0, now_us());
    target_->clear_abort();
    target_->send(std::move(*command));
  }
  if (!draft_) return;
  if (std::optional<Command> command = of_draft_.next()) {
    timer_.issued(ModelRole::kDraft, 0, now_us());
    draft_->clear_abort();
    draft_->send(std::move(*command));
  }
}

/// Texts of the same group may share a batch: those with the same adapters. Its number is the first
/// of them that runs. Functions of the caller may take long, so that their texts go alone.
GenerationId Coordinator::group_of(const Request& request) const {
  if (request.processors) return CommandQueue::kAlone;
  const auto found = std::ranges::find_if(running_, [&](const Running& run) {
    const Request& other = *run->submit().request;
    return !other.processors && other.adapters == request.adapters;
  });
  return found == running_.end() ? CommandQueue::kAlone : (*found)->id();
}

/// Padding tokens that make a batch faster, by the measured times.
int Coordinator::padding(int n_tokens) const {
  const std::vector<double>& us = profile_.costs.target_us;
  const auto longest =
      std::min<std::size_t>(us.size(), static_cast<std::size_t>(limits_.target.max_batch));
  auto best = static_cast<std::size_t>(n_tokens);
  if (!limits_.target.pads || best > longest || !(us[best - 1] > 0.0)) return 0;
  for (std::size_t n = best + 1; n <= longest; ++n) {
    if (us[n - 1] > 0.0 && us[n - 1] < us[best - 1]) best = n;
  }
  return static_cast<int>(best) - n_tokens;
}

/// The limits of a generation on this sequence of the target: the draft's sequences are divided.
ModelLimits Coordinator::limits_at(SeqId seq) const {
  ModelLimits own = limits_;
  if (own.draft) {
    own.draft->n_seq /= static_cast<int>(n_parallel_);
    own.first_draft_seq = seq * own.draft->n_seq;
  }
  return own;
}

void Coordinator::finish_idle() {
  for (std::size_t i = 0; i < running_.size();) {
    if (!running_[i]->idle()) {
      ++i;
      continue;
    }
    Running done = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    profile_.others.n_running = std::max(0, static_cast<int>(running_.size()) - 1);
    finish(std::move(done));
  }
  // The others cannot go on with a target in an unknown state.
  if (fatal_) fail_for_good(std::exchange(fatal_, nullptr));
}

void Coordinator::finish(Running done) {
  GenerationEnd end = done->end(now_us());
  if (end.error && is_fatal(end.error)) lose_target(end.error);
  if (is_fatal(end.draft_error)) lose_draft(end.draft_error);
  close_session(*done);
  target_seqs_.give_back(done->target_seq(), done->text());
  const std::shared_ptr<OutputChannel> output = done->submit().output;
  std::shared_ptr<SuffixAutomaton> own = done->submit().texts.own;
  const std::vector<Token> answer = done->answer_to_remember();
  done.reset();  // a planner may tell what it has learned when it goes
  if (lookup_) lookup_->keep(std::move(own), answer);
  publish(end.stats);
  output->send(std::move(end));
}

void Coordinator::close_session(const RunningGeneration& run) {
  target_->send(Command{run.id(), CloseCommand{}});
  if (run.has_draft()) draft_->send(Command{run.id(), CloseCommand{}});
}

void Coordinator::end_at_once(const SubmitMessage& submit, Finish finish,
                              std::exception_ptr error) {
  GenerationEnd end = ended(finish, *submit.request, std::move(error));
  publish(end.stats);
  submit.output->send(std::move(end));
}

void Coordinator::publish(const Stats& stats) {
  const std::lock_guard lock(mutex_);
  published_ = profile_;
  const Counters& counters = stats.counters;
  ++totals_.n_generations;
  totals_.n_generated += counters.n_generated;
  totals_.n_target_steps += counters.n_target_steps;
  totals_.n_drafted += counters.n_drafted;
  totals_.n_accepted += counters.n_accepted;
  totals_.n_rolled_back += counters.n_rolled_back;
  totals_.decode_ms += stats.decode_ms;
}

}  // namespace specbranch
