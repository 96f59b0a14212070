#include "specbranch/engine/running_generation.h"

#include <algorithm>
#include <utility>

#include "specbranch/base/clock.h"
#include "specbranch/base/processor_channel.h"
#include "specbranch/lookup/forced_proposer.h"
#include "specbranch/report/progress.h"

namespace specbranch {
namespace {

double to_ms(std::int64_t us) { return static_cast<double>(us) / 1000.0; }

/// What proposes tokens besides the draft; null: nothing does.
std::unique_ptr<Proposer> proposer_of(const Request& request, LookupTexts texts, bool has_draft,
                                      PairProfile* profile) {
  if (!takes_proposals(request.mode, has_draft)) return nullptr;
  return with_forced(request, text_proposer(request, std::move(texts), profile), profile);
}

Event earlier(Event event, std::int64_t us) {
  event.begin_us -= us;
  event.end_us -= us;
  return event;
}

}  // namespace

GenerationEnd ended(Finish finish, const Request& request, std::exception_ptr error) {
  GenerationEnd end;
  end.finish = finish;
  end.stats.mode = request.mode;
  end.stats.seed = request.sampling.seed;
  end.stats.n_prompt = static_cast<std::int64_t>(request.prompt.size());
  end.error = std::move(error);
  if (request.processors) request.processors->close();
  return end;
}

RunningGeneration::RunningGeneration(SubmitMessage submit, const ModelLimits& limits,
                                     const std::vector<std::string>& pieces, PairProfile* profile,
                                     SeqId target_seq)
    : submit_(std::move(submit)),
      pieces_(pieces),
      target_seq_(target_seq),
      decoder_(
          submit_.request, limits, submit_.generation_id,
          make_planner(*submit_.request, profile, limits.draft.has_value()),
          [this](const Committed& committed) { return deliver(committed); }, target_seq,
          proposer_of(*submit_.request, submit_.texts, limits.draft.has_value(), profile)),
      matcher_(submit_.request->stop, submit_.request->min_tokens),
      begin_us_(now_us()) {
  if (submit_.request->trace) recorder_.emplace(begin_us_, submit_.request->progress);
}

Commands RunningGeneration::on(const Event& event) {
  const bool before_text = !decoder_.text_begun();
  // On the planner's clock the functions of the caller take no time: it would blame the mode.
  Commands commands =
      waited_us_ == 0 ? decoder_.on(event) : decoder_.on(earlier(event, waited_us_));
  waited_us_ += event.waited_us;
  if (std::holds_alternative<PolicyReply>(event.body)) return commands;
  measure(event, before_text);
  if (recorder_) recorder_->ended(event, decoder_.rounds(), now_us());
  return commands;
}

void RunningGeneration::measure(const Event& event, bool before_text) {
  const auto* open = std::get_if<OpenDone>(&event.body);
  const auto* prefill = std::get_if<PrefillDone>(&event.body);
  if (open != nullptr && event.role == ModelRole::kTarget) target_open_ = true;
  if (open != nullptr || prefill != nullptr) {
    const bool read_all = !decoder_.reading(event.role);
    const Request& request = *submit_.request;
    if (event.role == ModelRole::kTarget && request.progress) {
      const Pos held = open != nullptr ? open->n_reused : prefill->length;
      // A reader that sees the first chunk of the text sees all scores.
      if (prefill != nullptr) request.progress->add_scores(prefill->scores);
      request.progress->set_prefilled(read_all ? static_cast<Pos>(request.prompt.size()) : held);
    }
    // The text begins when all prompts are in place. A draft that is given the text only after the
    // first verification spends decoding time on it.
    if (read_all && before_text) {
      decode_begin_us_ = std::max(decode_begin_us_, event.end_us);
      meter_.start(decode_begin_us_);
    }
  }
  meter_.add(event.role, event.begin_us, event.end_us);
}

void RunningGeneration::sent(ModelRole role, const Command& command) {
  meter_.sent(role, now_us());
  if (role == ModelRole::kDraft) has_draft_ = true;
  if (recorder_) recorder_->sent(role, command);
}

bool RunningGeneration::send_policy_request() {
  OutputChannel& output = *submit_.output;
  if (!output.awaited()) return false;
  return output.send_first_if_awaited(
      PolicyRequest{std::make_shared<const PolicyRound>(decoder_.policy_round())});
}

bool RunningGeneration::deliver(const Committed& committed) {
  const auto index = static_cast<std::size_t>(committed.choice.token);
  const std::string& piece = index < pieces_.size() ? pieces_[index] : std::string();
  StopMatcher::Result text = matcher_.append(piece);
  held_.push_back(Chunk{committed.choice, std::move(text.bytes), committed.origin});
  stop_ = std::move(text.stop);
  return !stop_.empty();
}

void RunningGeneration::hand_out() {
  for (Chunk& chunk : held_) submit_.output->send(std::move(chunk));
  held_.clear();
}

std::vector<Token> RunningGeneration::answer_to_remember() const {
  if (!submit_.request->lookup_answers) return {};
  const std::span<const Token> answer = decoder_.answer();
  return {answer.begin(), answer.end()};
}

GenerationEnd RunningGeneration::end(std::int64_t end_us) {
  GenerationEnd end;
  end.finish = decoder_.finish();
  end.tail = matcher_.finish();
  end.stop = std::move(stop_);
  end.error = decoder_.error();
  end.draft_error = decoder_.draft_error();
  end.stats = stats(end_us);
  if (submit_.request->processors) submit_.request->processors->close();
  if (recorder_) end.trace = recorder_->take(std::move(decoder_.rounds()));
  return end;
}

Stats RunningGeneration::stats(std::int64_t end_us) const {
  const Request& request = *submit_.request;
  Stats stats;
  stats.counters = decoder_.counters();
  stats.mode = request.mode;
  stats.seed = request.sampling.seed;
  stats.n_prompt = static_cast<std::int64_t>(request.prompt.size());
  stats.n_reused = decoder_.n_reused();
  stats.mode_reason = decoder_.mode_reason();
  if (request.processors) {
    const ProcessorCounts counts = request.processors->counts();
    stats.n_processor_calls = counts.n_calls;
    stats.processor_ms = to_ms(counts.busy_us);
    stats.processor_wait_ms = to_ms(counts.wait_us);
  }
  if (!decoder_.text_begun()) {
    stats.prefill_ms = to_ms(end_us - begin_us_);
    return stats;
  }
  stats.prefill_ms = to_ms(decode_begin_us_ - begin_us_);
  const std::int64_t decode_us = end_us - decode_begin_us_;
  stats.decode_ms = to_ms(decode_us);
  stats.target_busy_ms = to_ms(meter_.target_us());
  stats.draft_busy_ms = to_ms(meter_.draft_us());
  stats.target_idle_ms = to_ms(decode_us - meter_.target_us());
  if (has_draft_) stats.draft_idle_ms = to_ms(decode_us - meter_.draft_us());
  stats.overlap_ms = to_ms(meter_.overlap_us());
  stats.coordination_ms =
      to_ms(decode_us - (meter_.target_us() + meter_.draft_us() - meter_.overlap_us()));
  return stats;
}

}  // namespace specbranch
