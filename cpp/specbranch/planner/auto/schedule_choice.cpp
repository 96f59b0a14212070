#include "specbranch/planner/auto/schedule_choice.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <utility>

namespace specbranch {
namespace {

constexpr double kTimeSharing = 1.8;    ///< from this slow-down on, kParallel is never faster.
constexpr double kLeaveMargin = 1.03;   ///< leave speculation below this gain.
constexpr double kEnterMargin = 1.05;   ///< enter speculation above this gain.
constexpr double kBackOffBelow = 0.97;  ///< share of the rate of plain decoding, measured.
constexpr std::int64_t kTrialTokens = 64;
constexpr std::int64_t kFewTextTokens = 16;
// What speculation may lose before it is withdrawn: some tokens, and a share of all.
constexpr double kLossBudget = 2.0;
constexpr double kLossShare = 0.03;
// Beside others, where a loss is that of all of them.
constexpr double kLossShareOfAll = 0.01;
constexpr double kBackOffBelowOfAll = 0.99;
// A text may lose a share of what speculation has gained in all texts, so that a bad beginning is
// not taken for a change.
constexpr double kGainShare = 0.1;
constexpr double kMostOfGain = 4.0;
// Where speculation gains over all texts, one that is slow is the only one without it, until so
// many in a row are. One that goes on for so many tokens is not.
constexpr int kSlowTexts = 2;
constexpr std::int64_t kGoodText = 32;
constexpr double kClearGainOfTexts = 0.05;  ///< a share of the tokens of all texts.
/// Doubt of the time of a single step alone with which drafting begins.
constexpr double kSettled = 0.08;
// Verifications until this time is measured again, where the gain is clear and where it is not.
constexpr int kClearSteps = 100;
constexpr int kUnclearSteps = 20;
constexpr double kClearGain = 0.35;  ///< tokens that plain decoding would not have had, a share.
/// The same beside other texts, where such a step costs all of them a batch.
constexpr double kClearGainOfAll = 0.15;
constexpr double kProbeBudget = 0.6;  ///< tokens that a probe may cost before it ends.
// A probe ends early, after some observations, if speculation pays at this lower bound.
constexpr std::int64_t kEarlyObservations = 4;
constexpr double kProbeOptimism = -1.0;
constexpr double kFirstProbeInterval = 64;
constexpr double kLongestProbeInterval = 2048;
constexpr double kFirstProbe = 500;              ///< tokens over which the first probe must pay.
constexpr std::int64_t kProbeObservations = 12;  ///< observations per probe.
/// A draft with an acceptance rate of 0.95. If even this draft would not pay, a probe is useless.
constexpr AcceptanceClass kHopeful[] = {{0.1, 0.6}, {0.9, 0.99}};
/// Standard errors. The upper confidence bound decides when to leave speculation: optimism under
/// uncertainty.
constexpr double kLeaveOptimism = 1.0;
constexpr double kEnterOptimism = 0.0;
constexpr double kProbeShare = 0.005;  ///< share of the plain decoding time that probes may cost.
constexpr double kFewObservations = 6.0;
// Costs that only the measurement while loading knows are tried where a gain is possible.
constexpr double kPossibleGain = 1.15;
constexpr int kPossibleLength = 4;
constexpr int kOverlapTrials = 2;        ///< of kReview tokens each, in a text.
constexpr double kHopefulChance = 0.95;  ///< that of kHopeful.
constexpr std::int64_t kUnobservedTokens = 16;
constexpr std::int64_t kReview = 8;  ///< tokens between two choices.
constexpr double kDiscount = 0.9;    ///< factor of an expected rate.
constexpr int kTypicalLength = 4;    ///< of a verification, for the explanation.

std::string fixed(double value) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << value;
  return out.str();
}

}  // namespace

ScheduleChoice::ScheduleChoice(const CostModel& costs, AcceptanceModel& acceptance, int longest,
                               bool switching)
    : costs_(costs),
      acceptance_(acceptance),
      longest_(std::max(2, longest)),
      switching_(switching) {
  if (!switching_ || !costs_.known()) promised_ = expected(0.0).best();
  if (switching_) begin();
}

/// The schedule of a text from now on, beside as many others as run now.
void ScheduleChoice::begin() {
  n_texts_ = costs_.n_texts();
  choose(kLeaveMargin, kLeaveOptimism);
  if (!costs_.known()) return;
  const bool known = acceptance_.evidence() >= kFewObservations;
  const bool unasked = known && history().unasked;
  if (history().paused || unasked || (known && schedule_ == Schedule::kAutoregressive)) {
    // The best moment for a probe: the draft reads the prompt while the target does. Within a text
    // it would have to catch up first, and here with what the target holds of an earlier text.
    const bool pays = schedule_ != Schedule::kAutoregressive;
    due_ = history().tokens_since_probe >= probe_interval() || (unasked && pays);
    schedule_ = Schedule::kAutoregressive;
    return;
  }
  if (known) return;
  // The acceptance rate is unknown, and nothing but the measurement while loading says what steps
  // cost. Probe first, or do what the text does that probes for all.
  schedule_ = Schedule::kAutoregressive;
  next_review_ = 0;
  if (worth_probing(kFirstProbe * costs_.n_texts(), 0)) take_probe();
}

void ScheduleChoice::on_open(int n_unread) {
  if (!std::exchange(due_, false)) return;
  const double unseen = history().tokens_since_probe;
  if (schedule_ != Schedule::kAutoregressive) return;
  if (history().unasked || worth_probing(unseen * n_texts_, n_unread)) begin_probe();
}

void ScheduleChoice::choose(double margin, double optimism) {
  if (!costs_.known()) {
    schedule_ = Schedule::kSequential;  // times of steps alone come first
    return;
  }
  const ExpectedRates found = expected(optimism);
  promised_ = speculative(found);
  const bool autoregressive =
      speculative(found) < margin * found.autoregressive && !gains_by_texts(margin);
  const Schedule before = schedule_;
  // A slow-down that is only known from the measurement while loading is tried for some tokens.
  const bool doubtful = costs_.slowdown_unproven() && n_overlap_trials_ < kOverlapTrials;
  const bool serial = serial_is_better() && !doubtful;
  if (!autoregressive && serial_is_better() && doubtful) ++n_overlap_trials_;
  schedule_ = autoregressive ? Schedule::kAutoregressive
              : serial       ? Schedule::kSequential
                             : Schedule::kParallel;
  if (autoregressive != (before == Schedule::kAutoregressive)) reset_counts();
  next_review_ = n_tokens_ + kReview;
}

bool ScheduleChoice::gains_by_texts(double margin) const {
  if (schedule_ == Schedule::kAutoregressive || n_text_tokens_ < kFewTextTokens) return false;
  const RateRecord& record = meter_.record();
  return record.tokens >= kFewTextTokens * 2 && meter_.measured() * plain_us() > margin;
}

ExpectedRates ScheduleChoice::expected(double optimism) const {
  return expected_rates(costs_, acceptance_.acceptance_classes(optimism), longest_);
}

/// No text waits for the draft where others share its batches.
bool ScheduleChoice::serial_is_better() const {
  return !costs_.crowded() && costs_.target_slowdown() >= kTimeSharing;
}

double ScheduleChoice::speculative(const ExpectedRates& found) const {
  if (costs_.crowded()) return found.parallel;
  return serial_is_better() ? found.sequential : found.best();
}

/// Speculation has a part in the time of the last verification: this text's, or that of others that
/// share the batch.
bool ScheduleChoice::speculates() const {
  if (costs_.crowded()) return costs_.steps_since_plain() > 0;
  return schedule_ != Schedule::kAutoregressive;
}

/// Others speculate, and this text pays for it.
bool ScheduleChoice::joins() const {
  return costs_.crowded() && speculates() && !history().paused && n_tokens_ >= next_review_ &&
         acceptance_.evidence() >= kFewObservations;
}

double ScheduleChoice::plain_us() const { return costs_.target_of_all(1, longest_); }

SpeculationRecord& ScheduleChoice::history() const {
  AcceptanceTable& table = acceptance_.table();
  return costs_.crowded() ? table.crowded : table.alone;
}

void ScheduleChoice::reset_counts() {
  n_tokens_ = n_observed_ = n_unobserved_ = next_review_ = 0;
  next_probe_ = 0.0;
  meter_.reset();
}

void ScheduleChoice::back_off_in_this_text(double reached) {
  schedule_ = Schedule::kAutoregressive;
  end_probe();
  reset_counts();
  slow_text_ = true;
  reached_ = reached;
  history().tokens_since_probe = 0.0;
}

void ScheduleChoice::back_off(bool failed, double reached) {
  schedule_ = Schedule::kAutoregressive;
  end_probe();
  reset_counts();
  SpeculationRecord& kept = history();
  if (failed && kept.paused) return;  // another text of the crowd has seen it before
  if (failed) kept.probe_interval = std::min(kLongestProbeInterval, 2.0 * probe_interval());
  kept.paused = failed;
  kept.unasked = !failed;
  kept.tokens_since_probe = 0.0;
  kept.paused_at_rate = reached;
  kept.slow_texts = 0;
  kept.speculation = {};
}

void ScheduleChoice::take_probe() {
  bool& taken = acceptance_.table().probed;
  probing_ = probing_ || !taken;
  taken = true;
}

void ScheduleChoice::end_probe() {
  if (!probing_) return;
  probing_ = trying_ = false;
  acceptance_.table().probed = false;
}

void ScheduleChoice::begin_probe() {
  take_probe();
  if (!probing_) return;
  tried_ = false;
  history().unasked = false;
  history().tokens_since_probe = 0.0;
  reset_counts();
  acceptance_.discount_history();
}

bool ScheduleChoice::settling() const { return !costs_.baseline_known(kSettled); }

bool ScheduleChoice::wants_plain_step() const {
  if (!switching_ || !costs_.known() || schedule_ == Schedule::kAutoregressive) return false;
  const RateRecord& record = history().speculation;
  const double share = costs_.crowded() ? kClearGainOfAll : kClearGain;
  const bool clear = record.tokens >= kTrialTokens && record.gain >= share * record.tokens;
  return costs_.plain_step_due(clear ? kClearSteps : kUnclearSteps);
}

bool ScheduleChoice::contradicted(const RateMeter& meter, double gained) const {
  const double share = costs_.crowded() ? kLossShareOfAll : kLossShare;
  const double budget = kLossBudget * costs_.n_texts() + share * meter.record().tokens + gained;
  return meter.lost() >= budget &&
         meter.below(costs_.crowded() ? kBackOffBelowOfAll : kBackOffBelow);
}

bool ScheduleChoice::all_too_slow() const {
  return contradicted(RateMeter(history().speculation), 0.0);
}

bool ScheduleChoice::text_too_slow() const {
  if (costs_.crowded()) return false;  // texts that share batches gain and lose together
  const double gained = kGainShare * history().speculation.gain;
  return contradicted(meter_, std::clamp(gained, 0.0, kMostOfGain));
}

bool ScheduleChoice::gains_over_all() const {
  const RateRecord& all = history().speculation;
  return all.tokens >= kTrialTokens && all.gain >= kClearGainOfTexts * all.tokens;
}

bool ScheduleChoice::probe_ended() {
  if (n_observed_ >= kProbeObservations || n_tokens_ >= 4 * kProbeObservations) return true;
  const double cost_us = costs_.interference() * costs_.draft(1);
  const double cost = static_cast<double>(n_observed_) * cost_us / plain_us();
  if (cost >= kProbeBudget) return true;
  if (n_observed_ < kEarlyObservations) return false;
  const ExpectedRates low = expected(kProbeOptimism);
  return speculative(low) >= kEnterMargin * low.autoregressive;
}

bool ScheduleChoice::may_probe(int n_unread) {
  const double unseen = history().tokens_since_probe;
  if (unseen < probe_interval() || unseen < next_probe_) return false;
  next_probe_ = unseen + kFirstProbeInterval;
  return costs_.known() && worth_probing(unseen * n_texts_, n_unread);
}

double ScheduleChoice::probe_interval() const {
  const double kept = history().probe_interval;
  return kept > 0.0 ? kept : kFirstProbeInterval;
}

bool ScheduleChoice::worth_probing(double n_tokens, int n_unread) const {
  const ExpectedRates hoped = expected_rates(costs_, kHopeful, longest_);
  if (speculative(hoped) < kEnterMargin * hoped.autoregressive) {
    const bool unproven = costs_.verification_unproven() || costs_.slowdown_unproven();
    if (!unproven || !could_pay(kHopefulChance)) return false;
  }
  // The draft must also read the text that was decoded without it.
  const int n_whole = n_unread / StepCurve::kLongest;  // passes of the longest batch
  const int rest = n_unread % StepCurve::kLongest;
  double read = n_whole * costs_.draft(StepCurve::kLongest);
  if (rest > 0) read += costs_.draft(rest);
  // A probe that costs more ends before it has all of its observations.
  const double looks =
      std::min(costs_.interference() * static_cast<double>(kProbeObservations) * costs_.draft(1),
               kProbeBudget * plain_us());
  return looks + costs_.interference() * read <=
         kProbeShare * n_tokens / costs_.n_texts() * plain_us();
}

bool ScheduleChoice::could_pay(double alpha) const {
  const double ratio = costs_.draft(1) / plain_us();
  double tokens = 1.0;
  double chance = 1.0;
  for (int n = 1; n <= std::min(kPossibleLength, longest_ - 1); ++n) {
    chance *= alpha;
    tokens += chance;
    if (tokens >= kPossibleGain * (1.0 + n * ratio)) return true;
  }
  return false;
}

bool ScheduleChoice::begin_trial() {
  trying_ = false;
  if (tried_ || !costs_.verification_unproven()) return false;
  const ExpectedRates found = expected(kEnterOptimism);
  if (speculative(found) >= kEnterMargin * found.autoregressive) return false;
  if (!could_pay(acceptance_.alpha())) return false;
  tried_ = trying_ = true;
  return true;
}

void ScheduleChoice::on_verification(std::int64_t now_us, double step_us, int n_tokens,
                                     int n_unread) {
  // Beside other texts, the time between two verifications may be that of their prompts.
  const double us = costs_.crowded() ? step_us : static_cast<double>(now_us - last_us_);
  // The time of a verification beside others is not that of a text alone, nor the other way round.
  const bool others_changed = n_texts_ != costs_.n_texts();
  if (last_us_ >= 0 && !(switching_ && others_changed)) {
    meter_.add(n_tokens, us, plain_us());
    if (speculates()) {
      RateMeter all(history().speculation);
      all.add(n_tokens, us, plain_us(), n_texts_);
      history().speculation = all.record();
    }
  }
  last_us_ = now_us;
  n_tokens_ += n_tokens;
  n_unobserved_ += n_tokens;
  if (!switching_) return;

  if (others_changed) {
    end_probe();
    reset_counts();
    begin();
    return;
  }
  if (probing_) {
    if (!probe_ended() || begin_trial()) return;
    end_probe();
    choose(kEnterMargin, kEnterOptimism);
    history().paused = false;
    history().paused_at_rate = 0.0;
    if (schedule_ == Schedule::kAutoregressive) {
      slow_text_ ? back_off_in_this_text(reached_) : back_off(true);
    }
  } else if (schedule_ == Schedule::kAutoregressive) {
    history().tokens_since_probe += static_cast<double>(n_tokens) / n_texts_;
    if (may_probe(n_unread)) {
      begin_probe();
    } else if (joins()) {
      choose(kEnterMargin, kEnterOptimism);
    }
  } else if (all_too_slow() || (costs_.crowded() && history().paused)) {
    back_off(true, meter_.measured() * plain_us());
  } else if (text_too_slow()) {
    const double reached = meter_.measured() * plain_us();
    const bool alone = gains_over_all() && ++history().slow_texts < kSlowTexts;
    alone ? back_off_in_this_text(reached) : back_off(true, reached);
  } else {
    const bool seen =
        acceptance_.evidence() >= kFewObservations || n_unobserved_ >= kUnobservedTokens;
    const bool due = n_tokens_ >= next_review_;
    if (due && (seen || !costs_.known())) choose(kLeaveMargin, kLeaveOptimism);
    // Without observations the acceptance rate stays unknown: go to plain decoding, which probes.
    if (n_unobserved_ >= kTrialTokens && !gains_by_texts(kLeaveMargin)) back_off(false);
    if (n_tokens_ >= kGoodText) history().slow_texts = 0;
    // A short slump must not start at the longest interval.
    if (gains_over_all()) history().probe_interval = kFirstProbeInterval;
  }
}

double ScheduleChoice::rate() const {
  return std::max(1.0 / plain_us(), meter_.rate(kDiscount * promised_));
}

std::string ScheduleChoice::mode_reason() const {
  if (!costs_.known()) {
    const bool plain = schedule_ == Schedule::kAutoregressive;
    return std::string(plain ? "autoregressive" : "serial") +
           ": the models' step times are not known yet";
  }
  const ExpectedRates found = expected(0.0);
  const double s = costs_.target_slowdown();
  const std::string others = costs_.crowded() ? " beside " + std::to_string(costs_.n_texts() - 1) +
                                                    " other texts in each batch"
                                              : "";
  const std::string facts =
      others + "; first choices are right " + fixed(acceptance_.alpha()) +
      " of the time, a draft step " + "takes " + fixed(costs_.draft(1) * found.autoregressive) +
      " of a target step, a verification of " + std::to_string(kTypicalLength) + " tokens " +
      fixed(costs_.target_of_all(kTypicalLength, longest_) * found.autoregressive) +
      ", the target slows down " + fixed(s) + " times while the draft runs";
  const bool expects = speculative(found) >= kLeaveMargin * found.autoregressive;
  if (!expects && gains_by_texts(kLeaveMargin)) {
    return std::string(schedule_ == Schedule::kSequential ? "serial" : "overlapped") +
           ": with what texts propose, " + fixed(meter_.measured() * plain_us()) +
           " of plain decoding measured" + facts;
  }
  switch (schedule_) {
    case Schedule::kAutoregressive:
      if (probing_) return "autoregressive while the draft is probed" + facts;
      if (const double reached = slow_text_ ? reached_ : history().paused_at_rate; reached > 0.0) {
        return "autoregressive: speculation reached " + fixed(reached) +
               " of the rate of plain decoding" + facts;
      }
      return "autoregressive: the best rate expected is " +
             fixed(speculative(found) / found.autoregressive) + " of plain decoding" + facts;
    case Schedule::kSequential:
      return "serial: both models at once would only share the machine; expected " +
             fixed(found.sequential / found.autoregressive) + " of plain decoding" + facts;
    case Schedule::kParallel:
      break;
  }
  return "overlapped: up to " + fixed(speculative(found) / found.autoregressive) +
         " of plain decoding expected" + facts;
}

}  // namespace specbranch
