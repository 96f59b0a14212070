/// One generation under a virtual clock: the real decoder and planners, no threads, no waiting.
///
/// The tests use it to deliver messages in every order; simulation uses it to tell what a schedule
/// would cost with given step times.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "specbranch/decoder/decoder.h"
#include "specbranch/model/messages.h"
#include "specbranch/model/model.h"
#include "specbranch/report/stats.h"

namespace specbranch {

/// Which of two finished commands is delivered first.
enum class DeliveryOrder : std::uint8_t {
  kByTime,    ///< by virtual time; at equal times the target first.
  kShuffled,  ///< by coin, whatever the durations: every interleaving has a chance.
};

struct VirtualOptions {
  DeliveryOrder order = DeliveryOrder::kByTime;
  std::uint64_t shuffle_seed = 0;
  /// Duration of a command in virtual microseconds. Defaults: 1,000 a target and 100 a draft step.
  std::function<std::int64_t(const Command&)> target_us;
  std::function<std::int64_t(const Command&)> draft_us;
  /// Duration of the KV operations of a command, which come before the step. Default: none.
  std::function<std::int64_t(const Command&)> ops_us;
  /// How much longer a step of one model takes while the other is at work too; at least 1.
  double target_slowdown = 1.0;
  double draft_slowdown = 1.0;
  /// Coordination: from the end of a step to the begin of one that it leads to.
  std::int64_t hop_us = 0;
  /// How much longer a verification takes that has not as many tokens as the one before: llama.cpp
  /// builds the graph anew, and sends it to a device of another host.
  std::int64_t rebuild_us = 0;
  /// How soon a command that is aborted ends; one that would have ended by then is not cut short.
  /// Negative: a coin decides whether the abort comes in time, and it takes as long as without.
  std::int64_t abort_us = -1;
  /// What the planner knows of the pair and adds to; null: nothing. Without effect on a planner
  /// that is given to `run_virtually`.
  PairProfile* profile = nullptr;
  /// Makes the source of drafts from the text. Null: there is none. `auto` and `speculative` use it
  /// where there is no draft.
  std::function<std::unique_ptr<Proposer>()> proposer;
  /// Cancel when so many events were delivered; negative: never.
  std::int64_t cancel_after_events = -1;
  /// The caller's policy (`PolicyOptions::Kind::kHook`): nothing where it cannot be asked. Answers
  /// at once, or when shuffled before or after whatever is under way. Null: it never can be.
  std::function<std::optional<Plan>(const PolicyRound&)> policy;
  /// Sees every event before the decoder does and may change it (fault injection).
  std::function<void(Event&)> tamper_event;
  /// Sees every command before the model does and may change it (fault injection).
  std::function<void(Command&)> tamper_command;
};

struct VirtualResult {
  std::vector<Token> tokens;
  std::vector<bool> from_draft;
  Finish finish = Finish::kNone;
  std::exception_ptr error;
  std::exception_ptr draft_error;  ///< `Decoder::draft_error`.
  Counters counters;
  std::int64_t n_events = 0;
  /// Virtual: from the last prompt in place before the first verification to the end.
  std::int64_t time_us = 0;
  std::int64_t prefill_us = 0;  ///< what came before.
  std::int64_t target_us = 0;
  std::int64_t draft_us = 0;
  std::int64_t overlap_us = 0;
  std::vector<TraceRound> rounds;  ///< with `Request::trace`.
  std::string mode_reason;         ///< `Decoder::mode_reason` at the end.
};

/// Runs `request` to its end. `draft` null: no draft. `planner` null: that of the request's mode.
/// Throws what the decoder throws (a broken precondition), and also a precondition that a command
/// for the draft broke, although the text survives that: it is a defect of the engine.
VirtualResult run_virtually(const Request& request, TargetModel& target, DraftModel* draft,
                            const VirtualOptions& options = {},
                            std::unique_ptr<Planner> planner = nullptr);

}  // namespace specbranch
