#include "specbranch/report/trace.h"

#include <utility>

#include "specbranch/report/progress.h"

namespace specbranch {
namespace {

std::size_t index(ModelRole role) { return role == ModelRole::kTarget ? 0 : 1; }

TraceSpan describe(ModelRole role, const Command& command) {
  TraceSpan span;
  span.role = role;
  if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
    span.kind = TraceSpan::Kind::kVerify;
    span.n_tokens = verify->n_tokens() - verify->n_pad;
    span.n_padding = verify->n_pad;
  } else if (const auto* draft = std::get_if<DraftCommand>(&command.body)) {
    span.kind = TraceSpan::Kind::kDraft;
    span.n_branches = static_cast<int>(draft->inputs.size());
    span.n_tokens = draft->n_tokens();
  } else {
    span.kind = TraceSpan::Kind::kPrefill;
    if (const auto* chunk = std::get_if<PrefillCommand>(&command.body)) {
      span.n_tokens = chunk->end - chunk->begin;
    }
  }
  return span;
}

}  // namespace

TraceRecorder::TraceRecorder(std::int64_t begin_us, std::shared_ptr<Progress> live)
    : live_(std::move(live)) {
  trace_.begin_us = begin_us;
  if (live_) live_->begin(begin_us);
}

void TraceRecorder::sent(ModelRole role, const Command& command) {
  running_[index(role)] = describe(role, command);
}

void TraceRecorder::ended(const Event& event, std::span<TraceRound> rounds, std::int64_t now_us) {
  TraceSpan span = running_[index(event.role)];
  span.begin_us = event.begin_us - trace_.begin_us;
  span.end_us = event.end_us - trace_.begin_us;
  if (std::holds_alternative<AbortDone>(event.body)) {
    span.end = TraceSpan::End::kAborted;
  } else if (std::holds_alternative<FailDone>(event.body)) {
    span.end = TraceSpan::End::kFailed;
  } else if (std::holds_alternative<VerifyDone>(event.body)) {
    unanswered_ = trace_.spans.size();
  }
  trace_.spans.push_back(span);
  const std::span<TraceRound> fresh = rounds.subspan(n_rounds_);
  for (; n_rounds_ < rounds.size(); ++n_rounds_) {
    TraceRound& round = rounds[n_rounds_];
    round.at_us = now_us - trace_.begin_us;
    // One verification at a time: none is asked for before the last one was applied.
    if (!unanswered_) continue;
    trace_.spans[*unanswered_].applied =
        TraceSpan::Applied{round.n_accepted, round.branch_hit, round.branch_miss};
    unanswered_.reset();
  }
  if (live_) live_->record(trace_.spans.back(), fresh);
}

Trace TraceRecorder::take(std::vector<TraceRound> rounds) {
  trace_.rounds = std::move(rounds);
  return std::move(trace_);
}

}  // namespace specbranch
