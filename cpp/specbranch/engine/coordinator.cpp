#include "specbranch/engine/coordinator.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "specbranch/base/clock.h"
#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

/// An error after which the state of the event's model is unknown. Null: there is none.
std::exception_ptr fatal_error(const Event& event) {
  if (const auto* fail = std::get_if<FailDone>(&event.body)) {
    return is_fatal(fail->error) ? fail->error : nullptr;
  }
  if (const auto* verified = std::get_if<VerifyDone>(&event.body)) {
    for (const SegmentResult& result : verified->results) {
      if (is_fatal(result.error)) return result.error;
    }
  }
  return nullptr;
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
      limits_(limits),
      published_(profile_),
      scheduler_(this, &limits_, &profile_, n_parallel) {
  totals_.measure_costs_ms = measure_costs_ms;
}

bool Coordinator::handle(Message& message) {
  try {
    std::visit([this](auto& body) { on(body); }, message);
    while (const std::optional<Event> event = scheduler_.next_dropped()) bring(*event);
    finish_idle();
    start_next();
    scheduler_.send_waiting();
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
  scheduler_.lose_draft(error);
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
  scheduler_.clear();
  for (const Running& lost : std::exchange(running_, {})) {
    lost->hand_out();
    scheduler_.leave(*lost);
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
    scheduler_.dispatch(*run, run->cancel());
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
  for (const Running& run : running_) scheduler_.dispatch(*run, run->cancel());
}

void Coordinator::on(Event& event) {
  notice_loss(event);
  if (std::holds_alternative<PolicyReply>(event.body)) {
    bring(event);
  } else if (scheduler_.awaits(event)) {
    for (const Event& own : scheduler_.answer(std::move(event))) bring(own);
  }
}

/// Nobody waits for an answer to a generation that is lost.
void Coordinator::bring(const Event& event) {
  if (RunningGeneration* run = find(event.generation_id)) carry_out(*run, run->on(event));
}

/// Nothing else may use a model whose state is unknown. The event may answer what nobody waits for:
/// a session that could not be closed.
void Coordinator::notice_loss(const Event& event) {
  const std::exception_ptr error = fatal_error(event);
  if (!error) return;
  if (event.role == ModelRole::kDraft) {
    lose_draft(error);
  } else {
    lose_target(error);
  }
}

RunningGeneration* Coordinator::find(GenerationId id) const {
  const auto found = std::ranges::find(running_, id, &RunningGeneration::id);
  return found == running_.end() ? nullptr : found->get();
}

/// None overtakes the first that waits, so that it will come.
void Coordinator::start_next() {
  while (!queue_.empty() && scheduler_.admits(*queue_.front().request)) {
    const SubmitMessage submit = std::move(queue_.front());
    queue_.pop_front();
    if (const std::exception_ptr error = poison()) {
      end_at_once(submit, Finish::kFailed, error);
    } else {
      start(submit);
    }
  }
}

void Coordinator::start(const SubmitMessage& submit) {
  std::optional<BatchScheduler::Place> place;
  try {
    place = scheduler_.take_place(*submit.request);
    running_.push_back(std::make_unique<RunningGeneration>(submit, place->limits, pieces_,
                                                           &profile_, place->target_seq));
  } catch (const std::exception&) {  // no memory, say: nothing has begun
    if (place) scheduler_.give_back(*place);
    end_at_once(submit, Finish::kFailed, std::current_exception());
    return;
  }
  RunningGeneration& run = *running_.back();
  scheduler_.join(run);
  scheduler_.dispatch(run, run.start());
  finish_idle();
}

void Coordinator::carry_out(RunningGeneration& run, Commands commands) {
  for (;;) {
    const bool ask_policy = commands.ask_policy;
    scheduler_.dispatch(run, std::move(commands));
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

void Coordinator::send(ModelRole role, Command command) {
  // The model is idle here, so a pending abort belongs to the previous command. Clear it.
  if (role == ModelRole::kTarget) {
    target_->clear_abort();
    target_->send(std::move(command));
  } else {
    draft_->clear_abort();
    draft_->send(std::move(command));
  }
}

void Coordinator::request_abort(ModelRole role) {
  if (role == ModelRole::kTarget) {
    target_->request_abort();
  } else {
    draft_->request_abort();
  }
}

std::int64_t Coordinator::now_us() const { return specbranch::now_us(); }

void Coordinator::finish_idle() {
  for (std::size_t i = 0; i < running_.size();) {
    if (!running_[i]->idle()) {
      ++i;
      continue;
    }
    Running done = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    finish(std::move(done));
  }
  // The others cannot go on with a target in an unknown state.
  if (fatal_) fail_for_good(std::exchange(fatal_, nullptr));
}

void Coordinator::finish(Running done) {
  scheduler_.leave(*done, done->text_in_target());
  GenerationEnd end = done->end(now_us());
  close_session(*done);
  const std::shared_ptr<OutputChannel> output = done->submit().output;
  std::shared_ptr<SuffixAutomaton> own = done->submit().texts.own;
  const std::vector<Token> answer = done->answer_to_remember();
  done.reset();  // a planner may tell what it has learned when it goes
  if (lookup_) lookup_->keep(std::move(own), answer);
  publish(end.stats);
  output->send(std::move(end));
}

void Coordinator::close_session(const RunningGeneration& run) {
  if (!fatal_) target_->send(Command{run.id(), CloseCommand{}});
  if (run.has_draft() && limits_.draft) draft_->send(Command{run.id(), CloseCommand{}});
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
