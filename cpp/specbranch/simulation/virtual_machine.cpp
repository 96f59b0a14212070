#include "specbranch/simulation/virtual_machine.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/engine/worker.h"

namespace specbranch {

std::int64_t VirtualMachine::next_end_us() const {
  if (!pending_[0]) return pending_[1].value().end_us;
  if (!pending_[1]) return pending_[0]->end_us;
  return std::min(pending_[0]->end_us, pending_[1]->end_us);
}

ModelRole VirtualMachine::pick() {
  if (!pending_[0]) return ModelRole::kDraft;
  if (!pending_[1]) return ModelRole::kTarget;
  const bool target_first = options_.order == DeliveryOrder::kShuffled
                                ? coin()
                                : pending_[0]->end_us <= pending_[1]->end_us;
  return target_first ? ModelRole::kTarget : ModelRole::kDraft;
}

Event VirtualMachine::complete(ModelRole role) {
  const Pending pending = std::exchange(pending_[index(role)], std::nullopt).value();
  advance_to(pending.end_us);
  stretch(role == ModelRole::kTarget ? ModelRole::kDraft : ModelRole::kTarget, false);
  Event event = role == ModelRole::kTarget ? perform(target_, pending) : perform(*draft_, pending);
  event.begin_us = pending.begin_us;
  event.end_us = pending.end_us;
  event.ops_us = std::min(pending.ops_us, pending.end_us - pending.begin_us);
  return event;
}

void VirtualMachine::advance_to(std::int64_t us) { now_us_ = std::max(now_us_, us); }

template <class M>
Event VirtualMachine::perform(M& model, const Pending& pending) {
  // An abort comes in time or too late; both must be right.
  const bool in_time = pending.abort && (options_.abort_us >= 0 || coin());
  if (in_time) model.request_abort();
  Event event = execute(model, pending.command);
  model.clear_abort();
  return event;
}

void VirtualMachine::abort(ModelRole role) {
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
void VirtualMachine::stretch(ModelRole role, bool shared) {
  std::optional<Pending>& pending = pending_[index(role)];
  if (!pending || pending->end_us <= now_us_) return;
  const double slowdown = slowdown_of(role);
  const auto left = static_cast<double>(pending->end_us - now_us_);
  pending->end_us = now_us_ + std::llround(shared ? left * slowdown : left / slowdown);
}

double VirtualMachine::slowdown_of(ModelRole role) const {
  return role == ModelRole::kTarget ? options_.target_slowdown : options_.draft_slowdown;
}

/// What a verification takes longer because of the one before it.
std::int64_t VirtualMachine::rebuild_us(const Command& command) {
  const auto* verify = std::get_if<VerifyCommand>(&command.body);
  if (verify == nullptr) return 0;
  const int before = std::exchange(n_verified_, verify->n_tokens());
  return before == 0 || before == n_verified_ ? 0 : options_.rebuild_us;
}

void VirtualMachine::send(ModelRole role, Command command) {
  if (busy(role)) throw PreconditionError("[VirtualMachine::send] the model is at work");
  if (options_.tamper_command) options_.tamper_command(command);
  const auto& duration = role == ModelRole::kTarget ? options_.target_us : options_.draft_us;
  const std::int64_t ops_us = options_.ops_us ? options_.ops_us(command) : 0;
  std::int64_t us = duration ? duration(command) : (role == ModelRole::kTarget ? 1000 : 100);
  us += ops_us;
  if (role == ModelRole::kTarget) us += rebuild_us(command);
  const ModelRole other = role == ModelRole::kTarget ? ModelRole::kDraft : ModelRole::kTarget;
  if (busy(other)) {
    us = std::llround(static_cast<double>(us) * slowdown_of(role));
    stretch(other, true);
  }
  const std::int64_t begin_us = now_us_ + options_.hop_us;
  pending_[index(role)] = Pending{std::move(command), begin_us, begin_us + us, ops_us, false};
}

}  // namespace specbranch
