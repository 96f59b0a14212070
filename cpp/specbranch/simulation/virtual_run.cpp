#include "specbranch/simulation/virtual_run.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/engine/worker.h"

namespace specbranch {
namespace {

constexpr GenerationId kGeneration = 1;

/// A command on its way through a model.
struct Pending {
  Command command;
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
  std::int64_t ops_us = 0;
  bool abort = false;
};

void throw_if_broken(const std::exception_ptr& error) {
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const PreconditionError&) {
    throw;
  } catch (...) {
    return;
  }
}

class VirtualRun {
 public:
  VirtualRun(const Request& request, TargetModel& target, DraftModel* draft,
             const VirtualOptions& options, std::unique_ptr<Planner> planner)
      : target_(target),
        draft_(draft),
        options_(options),
        coin_(options.shuffle_seed),
        request_(std::make_shared<const Request>(request)) {
    ModelLimits limits;
    limits.target = target.capabilities();
    if (draft != nullptr) limits.draft = draft->capabilities();
    if (!planner) planner = make_planner(request, options.profile, draft != nullptr);
    decoder_ = std::make_unique<Decoder>(
        request_, limits, kGeneration, std::move(planner),
        [this](const Committed& committed) {
          result_.tokens.push_back(committed.choice.token);
          result_.from_draft.push_back(committed.from_draft());
          return false;
        },
        0, options.proposer ? options.proposer() : nullptr);
  }

  VirtualResult run() {
    dispatch(decoder_->start());
    while (!decoder_->idle()) {
      if (policy_asked_ && answers_now()) {
        answer();
        continue;
      }
      if (!pending_[0] && !pending_[1]) {
        throw PreconditionError("[run_virtually] nothing is under way, yet there is no end");
      }
      deliver(pick());
    }
    target_.close(kGeneration, /*forget=*/false);
    if (draft_ != nullptr) draft_->close(kGeneration, /*forget=*/false);
    result_.finish = decoder_->finish();
    result_.error = decoder_->error();
    result_.draft_error = decoder_->draft_error();
    throw_if_broken(result_.draft_error);
    result_.counters = decoder_->counters();
    result_.mode_reason = decoder_->mode_reason();
    result_.rounds = std::move(decoder_->rounds());
    result_.prefill_us = decode_begin_us_ < 0 ? now_us_ : decode_begin_us_;
    result_.time_us = now_us_ - result_.prefill_us;
    result_.target_us = meter_.target_us();
    result_.draft_us = meter_.draft_us();
    result_.overlap_us = meter_.overlap_us();
    return std::move(result_);
  }

 private:
  static std::size_t index(ModelRole role) { return role == ModelRole::kTarget ? 0 : 1; }

  bool answers_now() {
    if (!pending_[0] && !pending_[1]) return true;
    return options_.order != DeliveryOrder::kShuffled || (coin_() & 1U) != 0;
  }

  void answer() {
    policy_asked_ = false;
    PolicyReply done;
    if (options_.policy) done.plan = options_.policy(decoder_->policy_round());
    dispatch(
        decoder_->on(Event{ModelRole::kTarget, kGeneration, std::move(done), now_us_, now_us_}));
  }

  ModelRole pick() {
    if (!pending_[0]) return ModelRole::kDraft;
    if (!pending_[1]) return ModelRole::kTarget;
    const bool target_first = options_.order == DeliveryOrder::kShuffled
                                  ? (coin_() & 1U) != 0
                                  : pending_[0]->end_us <= pending_[1]->end_us;
    return target_first ? ModelRole::kTarget : ModelRole::kDraft;
  }

  void deliver(ModelRole role) {
    const Pending pending = *std::exchange(pending_[index(role)], std::nullopt);
    now_us_ = std::max(now_us_, pending.end_us);
    stretch(role == ModelRole::kTarget ? ModelRole::kDraft : ModelRole::kTarget, false);
    Event event =
        role == ModelRole::kTarget ? perform(target_, pending) : perform(*draft_, pending);
    event.begin_us = pending.begin_us;
    event.end_us = pending.end_us;
    event.ops_us = std::min(pending.ops_us, pending.end_us - pending.begin_us);
    if (options_.tamper_event) options_.tamper_event(event);
    const bool before_text = decoder_->counters().n_target_steps == 0;
    Commands commands = decoder_->on(event);
    // As the engine has it: a draft that is given the text later does not move the begin.
    const bool prompt = std::holds_alternative<OpenDone>(event.body) ||
                        std::holds_alternative<PrefillDone>(event.body);
    if (prompt && before_text && !decoder_->reading(role)) {
      decode_begin_us_ = std::max(decode_begin_us_, event.end_us);
      meter_.start(decode_begin_us_);
    }
    meter_.add(role, event.begin_us, event.end_us);
    dispatch(std::move(commands));
    if (++result_.n_events == options_.cancel_after_events) dispatch(decoder_->cancel());
  }

  template <class M>
  Event perform(M& model, const Pending& pending) {
    // An abort comes in time or too late; both must be right.
    const bool in_time = pending.abort && (options_.abort_us >= 0 || (coin_() & 1U) != 0);
    if (in_time) model.request_abort();
    Event event = execute(model, pending.command);
    model.clear_abort();
    return event;
  }

  void dispatch(Commands commands) {
    if (commands.ask_policy) policy_asked_ = true;
    if (commands.abort_target) abort(ModelRole::kTarget);
    if (commands.abort_draft) abort(ModelRole::kDraft);
    if (commands.target) send(ModelRole::kTarget, std::move(*commands.target));
    if (commands.draft) send(ModelRole::kDraft, std::move(*commands.draft));
  }

  void abort(ModelRole role) {
    std::optional<Pending>& pending = pending_[index(role)];
    if (!pending) return;
    if (options_.abort_us >= 0) {
      const std::int64_t stop_us = std::max(pending->begin_us, now_us_) + options_.abort_us;
      if (stop_us >= pending->end_us) return;
      pending->end_us = stop_us;
    }
    pending->abort = true;
  }

  /// The model beside `role` begins (`shared`) or ends its work: what is left of the command under
  /// way takes longer or less long from now on.
  void stretch(ModelRole role, bool shared) {
    std::optional<Pending>& pending = pending_[index(role)];
    if (!pending || pending->end_us <= now_us_) return;
    const double slowdown = slowdown_of(role);
    const auto left = static_cast<double>(pending->end_us - now_us_);
    pending->end_us = now_us_ + std::llround(shared ? left * slowdown : left / slowdown);
  }

  double slowdown_of(ModelRole role) const {
    return role == ModelRole::kTarget ? options_.target_slowdown : options_.draft_slowdown;
  }

  void send(ModelRole role, Command command) {
    if (pending_[index(role)]) {
      throw PreconditionError("[run_virtually] a command for a model that is at work");
    }
    if (options_.tamper_command) options_.tamper_command(command);
    const auto& duration = role == ModelRole::kTarget ? options_.target_us : options_.draft_us;
    const std::int64_t ops_us = options_.ops_us ? options_.ops_us(command) : 0;
    std::int64_t us = duration ? duration(command) : (role == ModelRole::kTarget ? 1000 : 100);
    us += ops_us;
    const ModelRole other = role == ModelRole::kTarget ? ModelRole::kDraft : ModelRole::kTarget;
    if (pending_[index(other)]) {
      us = std::llround(static_cast<double>(us) * slowdown_of(role));
      stretch(other, true);
    }
    meter_.sent(role, now_us_);
    const std::int64_t begin_us = now_us_ + options_.hop_us;
    pending_[index(role)] = Pending{std::move(command), begin_us, begin_us + us, ops_us, false};
  }

  TargetModel& target_;
  DraftModel* draft_;
  const VirtualOptions& options_;
  std::mt19937_64 coin_;
  std::shared_ptr<const Request> request_;
  std::unique_ptr<Decoder> decoder_;
  std::optional<Pending> pending_[2];
  bool policy_asked_ = false;  ///< the policy has not answered yet.
  BusyMeter meter_;
  VirtualResult result_;
  std::int64_t now_us_ = 0;
  std::int64_t decode_begin_us_ = -1;
};

}  // namespace

VirtualResult run_virtually(const Request& request, TargetModel& target, DraftModel* draft,
                            const VirtualOptions& options, std::unique_ptr<Planner> planner) {
  return VirtualRun(request, target, draft, options, std::move(planner)).run();
}

}  // namespace specbranch
