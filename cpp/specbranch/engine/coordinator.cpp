#include "specbranch/engine/coordinator.h"

#include <algorithm>
#include <utility>

#include "specbranch/base/clock.h"
#include "specbranch/base/errors.h"
#include "specbranch/report/progress.h"

namespace specbranch {
namespace {

double to_ms(std::int64_t us) { return static_cast<double>(us) / 1000.0; }

GenerationEnd ended(Finish finish, const Request& request, std::exception_ptr error) {
  GenerationEnd end;
  end.finish = finish;
  end.stats.mode = request.mode;
  end.stats.seed = request.sampling.seed;
  end.stats.n_prompt = static_cast<std::int64_t>(request.prompt.size());
  end.error = std::move(error);
  return end;
}

}  // namespace

Coordinator::Current::Current(SubmitMessage message, const ModelLimits& limits,
                              PairProfile* profile, CommitSink sink)
    : submit(std::move(message)),
      decoder(submit.request, limits, submit.generation_id, make_planner(*submit.request, profile),
              std::move(sink)),
      matcher(submit.request->stop),
      begin_us(now_us()) {
  if (submit.request->trace) recorder.emplace(begin_us, submit.request->progress);
}

Coordinator::Coordinator(const ModelLimits& limits, std::vector<std::string> pieces,
                         std::unique_ptr<Worker<TargetModel>> target,
                         std::unique_ptr<Worker<DraftModel>> draft, PairProfile profile,
                         double measure_costs_ms)
    : pieces_(std::move(pieces)),
      target_(std::move(target)),
      draft_(std::move(draft)),
      profile_(std::move(profile)),
      limits_(limits),
      published_(profile_) {
  totals_.measure_costs_ms = measure_costs_ms;
}

bool Coordinator::handle(Message& message) {
  try {
    std::visit([this](auto& body) { on(body); }, message);
    finish_if_idle();
    start_next();
  } catch (const std::exception& error) {
    fail_for_good(std::make_exception_ptr(
        FatalError(std::string("the engine lost its state: ") + error.what())));
  }
  return !closing_ || current_ != nullptr;
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

void Coordinator::lose_draft(const std::exception_ptr& error) {
  // The worker and the model stay until the engine closes: this may be the worker's own thread.
  const std::lock_guard lock(mutex_);
  limits_.draft.reset();
  limits_.why_no_draft = "the draft failed in an earlier generation: " + error_text(error);
}

void Coordinator::fail_for_good(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!poison_) poison_ = error;
  }
  // What the workers still answer finds no generation and is ignored; no other one begins.
  if (current_) hand_out();
  if (const std::unique_ptr<Current> lost = std::move(current_)) {
    end_at_once(lost->submit, Finish::kFailed, std::move(error));
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
  if (current_ && current_->submit.generation_id == message.generation_id) {
    dispatch(current_->decoder.cancel());
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
  if (current_) dispatch(current_->decoder.cancel());
}

void Coordinator::on(const Event& event) {
  if (!current_) return;
  const bool of_model = !std::holds_alternative<PolicyReply>(event.body);
  if (of_model) measure(event);
  Commands commands = current_->decoder.on(event);
  if (of_model && current_->recorder) {
    current_->recorder->ended(event, current_->decoder.rounds(), now_us());
  }
  carry_out(std::move(commands));
}

void Coordinator::measure(const Event& event) {
  if (event.role == ModelRole::kTarget && std::holds_alternative<BeginDone>(event.body)) {
    const Request& request = *current_->submit.request;
    if (request.progress) request.progress->set_prefilled(static_cast<Pos>(request.prompt.size()));
  }
  // The text begins when all prompts are in place. A draft that is given the text only after the
  // first verification spends decoding time on it.
  if (std::holds_alternative<BeginDone>(event.body) &&
      current_->decoder.counters().n_target_steps == 0) {
    current_->decode_begin_us = std::max(current_->decode_begin_us, event.end_us);
    current_->meter.start(current_->decode_begin_us);
  }
  current_->meter.add(event.role, event.begin_us, event.end_us);
}

void Coordinator::start_next() {
  while (!current_ && !queue_.empty()) {
    const SubmitMessage submit = std::move(queue_.front());
    queue_.pop_front();
    if (const std::exception_ptr error = poison()) {
      end_at_once(submit, Finish::kFailed, error);
      continue;
    }
    try {
      current_ = std::make_unique<Current>(submit, limits_, &profile_,
                                           [this](const Committed& c) { return deliver(c); });
    } catch (const std::exception&) {  // no memory, say: nothing has begun
      end_at_once(submit, Finish::kFailed, std::current_exception());
      continue;
    }
    dispatch(current_->decoder.start());
    finish_if_idle();
  }
}

void Coordinator::carry_out(Commands commands) {
  for (;;) {
    const bool ask_policy = commands.ask_policy;
    dispatch(std::move(commands));
    // Send the policy request before the chunks: a reader that gets a chunk first stops waiting.
    const bool skipped = ask_policy && !send_policy_request();
    hand_out();
    if (!skipped) return;
    Event event;
    event.generation_id = current_->submit.generation_id;
    event.body = PolicyReply{};
    commands = current_->decoder.on(event);
  }
}

bool Coordinator::send_policy_request() {
  OutputChannel& output = *current_->submit.output;
  if (!output.awaited()) return false;
  return output.send_first_if_awaited(
      PolicyRequest{std::make_shared<const PolicyRound>(current_->decoder.policy_round())});
}

void Coordinator::hand_out() {
  for (Chunk& chunk : current_->held) current_->submit.output->send(std::move(chunk));
  current_->held.clear();
}

void Coordinator::dispatch(Commands commands) {
  if (commands.abort_target) target_->request_abort();
  if (commands.abort_draft && draft_) draft_->request_abort();
  // The model is idle here, so a pending abort belongs to the previous command. Clear it.
  if (commands.target) {
    sent(ModelRole::kTarget, *commands.target);
    target_->clear_abort();
    target_->send(std::move(*commands.target));
  }
  if (commands.draft) {
    sent(ModelRole::kDraft, *commands.draft);
    draft_->clear_abort();
    draft_->send(std::move(*commands.draft));
  }
}

void Coordinator::sent(ModelRole role, const Command& command) {
  if (!current_) return;
  current_->meter.sent(role, now_us());
  if (role == ModelRole::kDraft) current_->has_draft = true;
  if (current_->recorder) current_->recorder->sent(role, command);
}

bool Coordinator::deliver(const Committed& committed) {
  const auto index = static_cast<std::size_t>(committed.choice.token);
  const std::string& piece = index < pieces_.size() ? pieces_[index] : std::string();
  StopMatcher::Result text = current_->matcher.append(piece);
  current_->held.push_back(Chunk{committed.choice, std::move(text.bytes), committed.origin});
  return text.stopped;
}

void Coordinator::finish_if_idle() {
  if (!current_ || !current_->decoder.idle()) return;
  std::unique_ptr<Current> done = std::move(current_);
  GenerationEnd end;
  end.finish = done->decoder.finish();
  end.tail = done->matcher.finish();
  end.error = done->decoder.error();
  end.draft_error = done->decoder.draft_error();
  end.stats = collect(*done);
  if (done->recorder) end.trace = done->recorder->take(std::move(done->decoder.rounds()));
  if (end.error && is_fatal(end.error)) {
    const std::lock_guard lock(mutex_);
    poison_ = end.error;
  }
  if (is_fatal(end.draft_error)) lose_draft(end.draft_error);
  const std::shared_ptr<OutputChannel> output = done->submit.output;
  done.reset();  // a planner may tell what it has learned when it goes
  publish(end.stats);
  output->send(std::move(end));
}

void Coordinator::end_at_once(const SubmitMessage& submit, Finish finish,
                              std::exception_ptr error) {
  GenerationEnd end = ended(finish, *submit.request, std::move(error));
  publish(end.stats);
  submit.output->send(std::move(end));
}

Stats Coordinator::collect(const Current& done) {
  const Request& request = *done.submit.request;
  const std::int64_t end_us = now_us();
  Stats stats;
  stats.counters = done.decoder.counters();
  stats.mode = request.mode;
  stats.seed = request.sampling.seed;
  stats.n_prompt = static_cast<std::int64_t>(request.prompt.size());
  stats.n_reused = done.decoder.n_reused();
  stats.mode_reason = done.decoder.mode_reason();
  if (done.decode_begin_us == 0) {
    stats.prefill_ms = to_ms(end_us - done.begin_us);
    return stats;
  }
  stats.prefill_ms = to_ms(done.decode_begin_us - done.begin_us);
  const std::int64_t decode_us = end_us - done.decode_begin_us;
  const BusyMeter& meter = done.meter;
  stats.decode_ms = to_ms(decode_us);
  stats.target_busy_ms = to_ms(meter.target_us());
  stats.draft_busy_ms = to_ms(meter.draft_us());
  stats.target_idle_ms = to_ms(decode_us - meter.target_us());
  if (done.has_draft) stats.draft_idle_ms = to_ms(decode_us - meter.draft_us());
  stats.overlap_ms = to_ms(meter.overlap_us());
  stats.coordination_ms =
      to_ms(decode_us - (meter.target_us() + meter.draft_us() - meter.overlap_us()));
  return stats;
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
