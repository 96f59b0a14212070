#include "specbranch/simulation/virtual_run.h"

#include <algorithm>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/simulation/virtual_machine.h"

namespace specbranch {
namespace {

constexpr GenerationId kGeneration = 1;

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
        machine_(target, draft, options),
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
      if (!machine_.busy()) {
        throw PreconditionError("[run_virtually] nothing is under way, yet there is no end");
      }
      deliver(machine_.pick());
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
    result_.prefill_us = decode_begin_us_ < 0 ? machine_.now_us() : decode_begin_us_;
    result_.time_us = machine_.now_us() - result_.prefill_us;
    result_.target_us = meter_.target_us();
    result_.draft_us = meter_.draft_us();
    result_.overlap_us = meter_.overlap_us();
    return std::move(result_);
  }

 private:
  bool answers_now() {
    if (!machine_.busy()) return true;
    return options_.order != DeliveryOrder::kShuffled || machine_.coin();
  }

  void answer() {
    policy_asked_ = false;
    PolicyReply done;
    if (options_.policy) done.plan = options_.policy(decoder_->policy_round());
    const std::int64_t now_us = machine_.now_us();
    dispatch(decoder_->on(Event{ModelRole::kTarget, kGeneration, std::move(done), now_us, now_us}));
  }

  void deliver(ModelRole role) {
    Event event = machine_.complete(role);
    if (options_.tamper_event) options_.tamper_event(event);
    const bool before_text = !decoder_->text_begun();
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

  void dispatch(Commands commands) {
    if (commands.ask_policy) policy_asked_ = true;
    if (commands.abort_target) machine_.abort(ModelRole::kTarget);
    if (commands.abort_draft) machine_.abort(ModelRole::kDraft);
    if (commands.target) send(ModelRole::kTarget, std::move(*commands.target));
    if (commands.draft) send(ModelRole::kDraft, std::move(*commands.draft));
  }

  void send(ModelRole role, Command command) {
    meter_.sent(role, machine_.now_us());
    machine_.send(role, std::move(command));
  }

  TargetModel& target_;
  DraftModel* draft_;
  const VirtualOptions& options_;
  VirtualMachine machine_;
  std::shared_ptr<const Request> request_;
  std::unique_ptr<Decoder> decoder_;
  bool policy_asked_ = false;  ///< the policy has not answered yet.
  BusyMeter meter_;
  VirtualResult result_;
  std::int64_t decode_begin_us_ = -1;
};

}  // namespace

VirtualResult run_virtually(const Request& request, TargetModel& target, DraftModel* draft,
                            const VirtualOptions& options, std::unique_ptr<Planner> planner) {
  return VirtualRun(request, target, draft, options, std::move(planner)).run();
}

}  // namespace specbranch
