#include "specbranch/decoder/cost_measurement.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <numeric>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

constexpr GenerationId kNoGeneration = 0;  ///< generations count from 1.
constexpr Pos kTextLength = 128;
constexpr std::size_t kTokens = 64;
constexpr int kCandidates = AcceptanceTable::kRanks;

// Lengths after 1, the most useful first: a middle one, then those that verifications mostly have.
// Kernels for few rows end at 8 or 16 rows, so that 9 and 17 may cost much more.
constexpr std::array kVerifyLengths{4, 2, 8, 3, 16, 9, 5, 6, 12, 17, 10, 7};
constexpr std::array kDraftWidths{4, 2, 8, 3, 16, 9, 6, 12};

constexpr int kHungWarmUps = 3;  ///< so many times the warm-up's time, and it hangs.
constexpr int kSingles = 2;      ///< of each model, before both run.
/// Of a device that records what it launches (CUDA graphs), the second step of a shape in a row is
/// the recording, and later ones replay it.
constexpr std::size_t kUnsettled = 2;
constexpr int kRounds = 3;     ///< of all lengths, if there is time.
constexpr int kMaxRounds = 5;  ///< ... and times scatter.
constexpr double kScatter = 0.05;
constexpr std::size_t kOverlapped = 8;
constexpr double kOverlapUs = 20'000;  ///< at least; a scheduler's slices take milliseconds.

// Shares of the budget.
constexpr double kSlowStep = 1.0 / 12;    ///< from here on, even the first step counts.
constexpr double kOverlapShare = 0.3;     ///< of what is left then.
constexpr double kRoundsShare = 0.06;     ///< no further round begins after this.
constexpr double kDoubtShare = 0.25;      ///< ... but what looks disturbed is measured until this.
constexpr double kScatterShare = 0.025;   ///< ... none beyond kRounds after this.
constexpr double kOverlapSlowdown = 1.5;  ///< assumed in advance.

/// What a command failed with, if it did; of a verification also its one segment.
std::exception_ptr failure_of(const Event& event) {
  if (const auto* fail = std::get_if<FailDone>(&event.body)) return fail->error;
  const auto* verify = std::get_if<VerifyDone>(&event.body);
  return verify == nullptr ? nullptr : verify->results.front().error;
}

}  // namespace

std::vector<Token> dummy_tokens(const std::vector<std::string>& pieces, const ModelLimits& limits) {
  const int n_vocab =
      limits.draft ? std::min(limits.target.n_vocab, limits.draft->n_vocab) : limits.target.n_vocab;
  std::vector<Token> useful;
  for (Token token = 0; token < n_vocab; ++token) {
    const auto index = static_cast<std::size_t>(token);
    if (index >= pieces.size() || !pieces[index].empty()) useful.push_back(token);
  }
  if (useful.empty()) return {0};
  std::vector<Token> spread;
  const std::size_t n = std::min(kTokens, useful.size());
  spread.reserve(n);
  for (std::size_t i = 0; i < n; ++i) spread.push_back(useful[i * useful.size() / n]);
  return spread;
}

CostMeasurement::CostMeasurement(const ModelLimits& limits, std::vector<Token> tokens,
                                 std::int64_t budget_us)
    : tokens_(std::move(tokens)), budget_us_(budget_us) {
  const Capabilities& target = limits.target;
  target_.limit = std::min(kTextLength, target.n_ctx);
  target_.max_n = std::min({kMaxTokens, target.max_batch, static_cast<int>(target_.limit)});
  target_.warms_up = target.warms_up;
  target_copies_ = target.rollback == Rollback::kCopies;
  if (!limits.draft) return;
  has_draft_ = true;
  const Capabilities& draft = *limits.draft;
  draft_copies_ = draft.rollback == Rollback::kCopies;
  draft_.limit = std::min(kTextLength, draft.n_ctx);
  draft_.max_n = std::min({kMaxSequences, draft.n_seq, draft.max_batch});
  draft_.warms_up = draft.warms_up;
  seq_held_.resize(static_cast<std::size_t>(draft.n_seq));
  seq_shared_.resize(seq_held_.size());
}

std::span<const ModelRole> CostMeasurement::roles() const {
  static constexpr std::array kBoth{ModelRole::kTarget, ModelRole::kDraft};
  return std::span(kBoth).first(has_draft_ ? 2 : 1);
}

std::int64_t CostMeasurement::deadline_us() const {
  // Models that hang in the warm-up are no reason to hang for good.
  return phase_ == Phase::kWarmUp ? start_us_ + kHungWarmUps * kWarmUpUs : begin_us_ + budget_us_;
}

Commands CostMeasurement::start(std::int64_t now_us) {
  Commands commands;
  start_us_ = begin_us_ = now_us;
  now_us_ = now_us;
  if (budget_us_ <= 0 || target_.limit < 1 || (has_draft_ && draft_.limit < 1)) {
    phase_ = Phase::kDone;
    return commands;
  }
  enter(Phase::kWarmUp);
  proceed(commands);
  return commands;
}

Commands CostMeasurement::stop() {
  Commands commands;
  if (phase_ == Phase::kClean || phase_ == Phase::kDone) return commands;
  commands.abort_target = target_.busy;
  commands.abort_draft = draft_.busy;
  enter(Phase::kClean);
  proceed(commands);
  return commands;
}

Commands CostMeasurement::on(const Event& event) {
  Commands commands;
  Model& own = model(event.role);
  if (!own.busy) {
    throw PreconditionError("[CostMeasurement::on] an event for which no command is under way");
  }
  own.busy = false;
  now_us_ = std::max(now_us_, event.end_us);
  if (const std::exception_ptr failed = failure_of(event)) {
    if (!error_ || (!is_fatal(error_) && is_fatal(failed))) error_ = failed;
    own.begun = false;
    enter(Phase::kClean);
  } else if (std::holds_alternative<AbortDone>(event.body) ||
             std::holds_alternative<CloseDone>(event.body)) {
    own.begun = false;
  } else if (std::holds_alternative<OpenDone>(event.body)) {
    own.begun = phase_ != Phase::kClean;
    own.length = 0;
    if (own.begun && own.step) issue(*own.step, commands);
  } else {
    if (const auto* verify = std::get_if<VerifyDone>(&event.body)) {
      const std::vector<Choice>& choices = verify->results.front().verification.choices;
      target_held_ = target_.length + own.step->n;
      target_.length += static_cast<Pos>(choices.size());
      if (choices.empty()) target_.begun = false;
      if (!choices.empty()) last_ = choices.back().token;
    } else {
      for (std::size_t i = 0; i < static_cast<std::size_t>(own.step->n); ++i) {
        seq_held_[i] = draft_.length + 1;
        seq_shared_[i] = draft_.length;
      }
      ++draft_.length;
    }
    finish_step(event);
  }
  proceed(commands);
  return commands;
}

void CostMeasurement::finish_step(const Event& event) {
  Model& own = model(event.role);
  const Step step = *std::exchange(own.step, std::nullopt);
  const std::int64_t us = event.end_us - event.begin_us - event.ops_us;
  const std::int64_t period_us = event.end_us - own.issued_us;
  if (phase_ == Phase::kWarmUp) {
    own.warm.insert(step.n);
  } else if (phase_ == Phase::kOverlap) {
    own.overlapped_us.push_back(period_us);
  } else if (phase_ == Phase::kFirst) {
    // A first step is slow for reasons of its own; a slow model has no time for another.
    if (static_cast<double>(us) >= kSlowStep * static_cast<double>(budget_us_)) {
      own.alone.add(1, us);
      own.periods.add(1, period_us);
    }
  } else if (phase_ != Phase::kClean && step.counted) {
    own.alone.add(step.n, us);
    if (step.n == 1) own.periods.add(1, period_us);
  }
}

// Phases --------------------------------------------------------------------------------------

void CostMeasurement::proceed(Commands& commands) {
  while (phase_ != Phase::kDone) {
    if (phase_ == Phase::kOverlap) {
      overlap(commands);
      if (busy()) return;
      enter(Phase::kRounds);
    } else if (phase_ == Phase::kClean) {
      if (busy()) return;
      clean(commands);
      if (busy()) return;
      phase_ = Phase::kDone;
    } else {
      if (busy() || issue_planned(commands)) return;
      switch (phase_) {
        case Phase::kWarmUp:
          begin_us_ = now_us_;
          enter(Phase::kFirst);
          break;
        case Phase::kFirst:
          enter(Phase::kSingles);
          break;
        case Phase::kSingles:
          enter(Phase::kOverlap);
          break;
        default:
          ++n_rounds_;
          enter(wants_round() ? Phase::kRounds : Phase::kClean);
      }
    }
  }
}

bool CostMeasurement::issue_planned(Commands& commands) {
  while (!plan_.empty()) {
    const Step step = plan_.front();
    plan_.pop_front();
    if (!fits(step)) continue;
    issue(step, commands);
    return true;
  }
  return false;
}

bool CostMeasurement::fits(const Step& step) {
  const Model& own = model(step.role);
  if (phase_ == Phase::kWarmUp) return own.warm.empty() || now_us_ < start_us_ + kWarmUpUs;
  const double needed = own.alone.empty() ? 0.0 : own.alone.estimate(step.n);
  return left_us() > 0 && needed <= static_cast<double>(left_us());
}

void CostMeasurement::enter(Phase phase) {
  phase_ = phase;
  plan_.clear();
  switch (phase) {
    case Phase::kWarmUp:
      plan_warm_up();
      break;
    case Phase::kFirst:
      for (const ModelRole role : roles()) {
        if (model(role).warms_up) plan_.insert(plan_.end(), kUnsettled, {role, 1, false});
        plan_.push_back({role, 1});
      }
      break;
    case Phase::kSingles:
      for (const ModelRole role : roles()) {
        if (!model(role).alone.empty()) continue;
        for (int i = 0; i < kSingles; ++i) plan_.push_back({role, 1});
      }
      break;
    case Phase::kOverlap: {
      n_overlapped_ = 0;
      if (target_.alone.empty() || draft_.alone.empty()) break;
      const double step_us =
          kOverlapSlowdown * std::max({1.0, target_.alone.median(1), draft_.alone.median(1)});
      const auto left = static_cast<double>(left_us());
      if (step_us > left) break;
      const auto n = static_cast<std::size_t>(kOverlapShare * left / step_us);
      n_overlapped_ = std::clamp<std::size_t>(n, 1, kOverlapped);
      overlap_until_us_ = now_us_ + static_cast<std::int64_t>(std::min(kOverlapUs, 0.5 * left));
      break;
    }
    case Phase::kRounds:
      plan_round();
      break;
    default:
      break;
  }
}

void CostMeasurement::overlap(Commands& commands) {
  // A step counts if the other model was at work all the time, which the last ones need not be:
  // nothing is recorded after both have enough.
  const bool enough =
      std::min(target_.overlapped_us.size(), draft_.overlapped_us.size()) >= n_overlapped_ &&
      (n_overlapped_ == 0 || now_us_ >= overlap_until_us_);
  if (enough) {
    if (busy()) {
      // The step under way would no longer be overlapped.
      for (Model* one : {&target_, &draft_}) {
        if (one->step) one->step->counted = false;
      }
      phase_ = Phase::kRounds;
      plan_round();
    }
    return;
  }
  if (left_us() <= 0) return;
  for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
    if (!model(role).busy) issue({role, 1}, commands);
  }
}

void CostMeasurement::plan_warm_up() {
  const auto add = [&](ModelRole role, int n) {
    const Model& own = model(role);
    if (own.warms_up && n <= own.max_n) plan_.push_back({role, n, false});
  };
  for (const ModelRole role : roles()) add(role, 1);
  for (std::size_t i = 0; i < kVerifyLengths.size(); ++i) {
    add(ModelRole::kTarget, kVerifyLengths[i]);
    if (i < kDraftWidths.size()) add(ModelRole::kDraft, kDraftWidths[i]);
  }
}

void CostMeasurement::plan_round() {
  plan_.clear();
  if (n_rounds_ > 0) {
    for (const ModelRole role : roles()) {
      // llama.cpp is quicker when a step has the shape of the one before, as decoding one by one.
      plan_.insert(plan_.end(), model(role).warms_up ? kUnsettled : 1, {role, 1, false});
      plan_.push_back({role, 1});
    }
  }
  const bool full = wants_full_round();
  const auto add = [&](ModelRole role, int n) {
    const Model& own = model(role);
    const bool again = full ? own.alone.has(n) : own.alone.doubtful(n);
    if (own.warms_up && !own.warm.contains(n)) return;
    if (n <= own.max_n && (n_rounds_ == 0 || again)) plan_.push_back({role, n});
  };
  for (std::size_t i = 0; i < kVerifyLengths.size(); ++i) {
    add(ModelRole::kTarget, kVerifyLengths[i]);
    if (i < kDraftWidths.size()) add(ModelRole::kDraft, kDraftWidths[i]);
  }
}

bool CostMeasurement::wants_round() const {
  if (wants_full_round()) return true;
  if (n_rounds_ >= kMaxRounds || spent() >= kDoubtShare) return false;
  const auto doubtful = [](const Model& model) {
    return [&model](int n) { return model.alone.doubtful(n); };
  };
  return target_.alone.doubtful(1) || draft_.alone.doubtful(1) ||
         std::ranges::any_of(kVerifyLengths, doubtful(target_)) ||
         std::ranges::any_of(kDraftWidths, doubtful(draft_));
}

bool CostMeasurement::wants_full_round() const {
  if (n_rounds_ < kRounds) return spent() < kRoundsShare;
  const bool steady = target_.alone.steady(kScatter) && draft_.alone.steady(kScatter);
  return n_rounds_ < kMaxRounds && !steady && spent() < kScatterShare;
}

void CostMeasurement::clean(Commands& commands) {
  if (error_ && is_fatal(error_)) return;
  for (const ModelRole role : roles()) {
    Model& own = model(role);
    if (std::exchange(own.cleaned, true)) continue;
    own.step.reset();
    own.busy = true;
    Command command{kNoGeneration, CloseCommand{/*forget=*/true}};
    (role == ModelRole::kTarget ? commands.target : commands.draft) = std::move(command);
  }
}

// Commands ------------------------------------------------------------------------------------

void CostMeasurement::issue(const Step& step, Commands& commands) {
  Model& own = model(step.role);
  own.step = step;
  const Pos grows = step.role == ModelRole::kTarget ? step.n : 1;
  // A sequence that cannot be cut begins anew.
  const bool spoilt =
      step.role == ModelRole::kTarget && target_copies_ && target_held_ > target_.length;
  if (!own.begun || spoilt || own.length + grows > own.limit) {
    begin_text(step.role, commands);
    return;
  }
  own.busy = true;
  own.issued_us = now_us_;
  if (step.role == ModelRole::kTarget) {
    commands.target = verify_command(step.n);
  } else {
    commands.draft = draft_command(step.n);
  }
}

void CostMeasurement::begin_text(ModelRole role, Commands& commands) {
  Request request;
  request.prompt = {tokens_.front()};  // nothing to prefill, nothing to keep
  request.mode = Mode::kAutoregressive;
  OpenCommand open{std::make_shared<const Request>(std::move(request))};
  if (role == ModelRole::kDraft) {
    open.seqs.resize(seq_held_.size());
    std::iota(open.seqs.begin(), open.seqs.end(), 0);
  }
  Command command{kNoGeneration, std::move(open)};
  Model& own = model(role);
  own.busy = true;
  own.begun = false;
  if (role == ModelRole::kTarget) {
    last_ = tokens_.front();
    target_held_ = 0;
    commands.target = std::move(command);
  } else {
    std::ranges::fill(seq_held_, 0);
    std::ranges::fill(seq_shared_, 0);
    commands.draft = std::move(command);
  }
}

Command CostMeasurement::verify_command(int n) {
  std::vector<Token> path{last_};
  while (static_cast<int>(path.size()) < n) path.push_back(next_token());
  VerifyCommand verify;
  if (target_held_ > target_.length) {
    verify.ops.emplace_back(Truncate{0, target_held_, target_.length});
  }
  verify.segments.push_back(path_segment(kNoGeneration, 0, target_.length, path));
  return {kNoGeneration, std::move(verify)};
}

Command CostMeasurement::draft_command(int n_sequences) {
  DraftCommand draft;
  draft.rank = kCandidates;
  const Pos pos = draft_.length;
  for (SeqId seq = 0; seq < n_sequences; ++seq) {
    const auto index = static_cast<std::size_t>(seq);
    if (seq > 0 && pos > 0) {
      const Pos held = seq_held_[index];
      const Pos shared = draft_copies_ && seq_shared_[index] < held ? 0 : seq_shared_[index];
      draft.ops.emplace_back(Fork{0, seq, shared, held, pos});
    }
    draft.inputs.push_back({kNoNode, seq, pos, {next_token()}});
  }
  return {kNoGeneration, std::move(draft)};
}

// Results -------------------------------------------------------------------------------------

double CostMeasurement::slowdown(const Model& model) {
  const std::vector<std::int64_t>& all = model.overlapped_us;
  if (all.empty() || !model.periods.has(1)) return 1.0;
  // Two models on one core take turns: short steps do not become longer, but wait for each other.
  // So we take the mean, waiting included. We use the faster half of the samples, because other
  // processes can only make steps slower.
  const auto mean = [](auto begin, auto end) {
    return std::accumulate(begin, end, 0.0) / static_cast<double>(end - begin);
  };
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  double overlapped = mean(middle, all.end());
  if (middle != all.begin()) overlapped = std::min(overlapped, mean(all.begin(), middle));
  return std::max(1.0, overlapped / std::max(1.0, model.periods.median(1)));
}

StepCosts CostMeasurement::costs() const {
  StepCosts costs;
  if (error_ || target_.alone.empty() || (has_draft_ && draft_.alone.empty())) return costs;
  costs.target_us = target_.alone.table(target_.max_n);
  costs.draft_us = draft_.alone.table(draft_.max_n);
  costs.target_slowdown = slowdown(target_);
  costs.draft_slowdown = slowdown(draft_);
  return costs;
}

}  // namespace specbranch
