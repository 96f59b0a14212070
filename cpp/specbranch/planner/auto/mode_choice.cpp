#include "specbranch/planner/auto/mode_choice.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace specbranch {
namespace {

constexpr double kSharedDevice = 1.2;  ///< slow-down above which drafting is no guess to be tried.
constexpr double kTimeSharing = 1.8;   ///< slow-down from which both at once is never better.
constexpr double kLeaveMargin = 1.03;  ///< less than this over plain decoding is not worth it.
constexpr double kEnterMargin = 1.05;
constexpr double kGiveUp = 0.97;  ///< of plain decoding, measured.
constexpr std::int64_t kTrialTokens = 64;
constexpr double kFirstBackoff = 64;
constexpr double kLongestBackoff = 2048;
constexpr double kFirstLook = 500;    ///< tokens over which the first look at a draft must pay.
constexpr std::int64_t kProbes = 12;  ///< observations of one look.
/// A draft that is right 0.95 of the time: if not even it would pay, nobody needs to look.
constexpr AcceptanceClass kHopeful[] = {{0.1, 0.6}, {0.9, 0.99}};
constexpr double kLeaveOptimism = 1.0;  ///< standard errors; what is tried shall have its chance.
constexpr double kEnterOptimism = 0.0;
constexpr double kLookShare = 0.005;  ///< of the plain time that looking may cost.
constexpr double kFewObservations = 6.0;
constexpr std::int64_t kBlindTokens = 16;
constexpr std::int64_t kReview = 8;  ///< tokens between two choices.
constexpr double kDiscount = 0.9;    ///< of a promised rate.
constexpr int kTypicalLength = 4;    ///< of a verification, for the explanation.

std::string fixed(double value) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << value;
  return out.str();
}

}  // namespace

ModeChoice::ModeChoice(const CostModel& costs, Calibration& calibration, int longest,
                       bool switching)
    : costs_(costs),
      calibration_(calibration),
      longest_(std::max(2, longest)),
      switching_(switching) {
  if (!switching_ || !costs_.known()) promised_ = expected(0.0).best();
  if (!switching_) return;
  choose(kLeaveMargin, kLeaveOptimism);
  if (!costs_.known()) return;
  if (calibration_.table().resting) {  // an earlier generation gave it up
    regime_ = Regime::kPlain;
    return;
  }
  if (calibration_.evidence() >= kFewObservations) return;
  // A draft that nobody knows is looked at first where drafting takes time from the target, and
  // where a mere guess would rule it out.
  if (regime_ == Regime::kPlain) {
    exploring_ = worth_a_look(kFirstLook, 0.0);
  } else if (costs_.target_slowdown() > kSharedDevice) {
    regime_ = Regime::kPlain;
    exploring_ = true;
  }
}

void ModeChoice::choose(double margin, double optimism) {
  if (!costs_.known()) {
    regime_ = Regime::kSerial;  // times of steps alone come first
    return;
  }
  const Prospects found = expected(optimism);
  promised_ = speculative(found);
  const bool plain = speculative(found) < margin * found.plain;
  const Regime before = regime_;
  regime_ = plain ? Regime::kPlain : shares_time() ? Regime::kSerial : Regime::kOverlap;
  if (plain != (before == Regime::kPlain)) begin();
  next_review_ = n_tokens_ + kReview;
}

Prospects ModeChoice::expected(double optimism) const {
  return prospects(costs_, calibration_.acceptance_classes(optimism), longest_);
}

bool ModeChoice::shares_time() const { return costs_.target_slowdown() >= kTimeSharing; }

double ModeChoice::speculative(const Prospects& found) const {
  return shares_time() ? found.serial : found.best();
}

void ModeChoice::begin() {
  n_tokens_ = n_observed_ = n_blind_ = next_review_ = 0;
  next_look_ = 0.0;
  meter_.reset();
}

void ModeChoice::rest(bool failed, double reached) {
  regime_ = Regime::kPlain;
  exploring_ = false;
  begin();
  AcceptanceTable& table = calibration_.table();
  if (failed) table.backoff = std::min(kLongestBackoff, 2.0 * backoff());
  table.resting = failed;
  table.unseen_tokens = 0.0;
  table.given_up_at = reached;
}

bool ModeChoice::too_slow() const { return n_tokens_ >= kTrialTokens && meter_.below(kGiveUp); }

bool ModeChoice::may_explore() {
  const double unseen = calibration_.table().unseen_tokens;
  if (unseen < backoff() || unseen < next_look_) return false;
  next_look_ = unseen + kFirstBackoff;
  return costs_.known() && worth_a_look(unseen, unseen);
}

double ModeChoice::backoff() const {
  const double kept = calibration_.table().backoff;
  return kept > 0.0 ? kept : kFirstBackoff;
}

bool ModeChoice::worth_a_look(double n_tokens, double n_unread) const {
  const Prospects hoped = prospects(costs_, kHopeful, longest_);
  if (speculative(hoped) < kEnterMargin * hoped.plain) return false;
  // The draft must read what was written without it, too.
  const double read = costs_.draft(StepCurve::kLongest) *
                      std::ceil(n_unread / static_cast<double>(StepCurve::kLongest));
  const double cost =
      costs_.interference() * (static_cast<double>(kProbes) * costs_.draft(1) + read);
  return cost <= kLookShare * n_tokens * costs_.target(1);
}

void ModeChoice::on_verdict(std::int64_t now_us, int n_tokens) {
  if (last_us_ >= 0) {
    meter_.add(n_tokens, static_cast<double>(now_us - last_us_), costs_.padded_target(1, longest_));
  }
  last_us_ = now_us;
  n_tokens_ += n_tokens;
  n_blind_ += n_tokens;
  if (!switching_) return;

  if (exploring_) {
    if (n_observed_ < kProbes && n_tokens_ < 4 * kProbes) return;
    exploring_ = false;
    choose(kEnterMargin, kEnterOptimism);
    calibration_.table().resting = false;
    if (regime_ == Regime::kPlain) rest(true);
  } else if (regime_ == Regime::kPlain) {
    calibration_.table().unseen_tokens += static_cast<double>(n_tokens);
    if (!may_explore()) return;
    exploring_ = true;
    calibration_.table().unseen_tokens = 0.0;
    begin();
    calibration_.relax();
  } else if (too_slow()) {
    rest(true, meter_.measured() * costs_.padded_target(1, longest_));
  } else {
    const bool seen = calibration_.evidence() >= kFewObservations || n_blind_ >= kBlindTokens;
    const bool due = n_tokens_ >= next_review_;
    if (due && (seen || !costs_.known())) choose(kLeaveMargin, kLeaveOptimism);
    // A draft that is never asked can never get better: plain decoding looks at it now and then.
    if (n_blind_ >= kTrialTokens) rest(false);
    // What has paid for long is not doubted for a short slump.
    if (n_tokens_ >= 8 * kTrialTokens) calibration_.table().backoff = kFirstBackoff;
  }
}

double ModeChoice::rate() const {
  return std::max(1.0 / costs_.padded_target(1, longest_), meter_.rate(kDiscount * promised_));
}

std::string ModeChoice::mode_reason() const {
  if (!costs_.known()) return "serial: the models' step times are not known yet";
  const Prospects found = expected(0.0);
  const double s = costs_.target_slowdown();
  const std::string facts =
      "; first choices are right " + fixed(calibration_.alpha()) + " of the time, a draft step " +
      "takes " + fixed(costs_.draft(1) * found.plain) + " of a target step, a verification of " +
      std::to_string(kTypicalLength) + " tokens " +
      fixed(costs_.padded_target(kTypicalLength, longest_) * found.plain) +
      ", the target slows down " + fixed(s) + " times while the draft runs";
  switch (regime_) {
    case Regime::kPlain:
      if (exploring_) return "autoregressive while the draft is looked at" + facts;
      if (const double reached = calibration_.table().given_up_at; reached > 0.0) {
        return "autoregressive: speculation reached " + fixed(reached) +
               " of the rate of plain decoding" + facts;
      }
      return "autoregressive: the best rate expected is " +
             fixed(speculative(found) / found.plain) + " of plain decoding" + facts;
    case Regime::kSerial:
      return "serial: both models at once would only share the machine; expected " +
             fixed(found.serial / found.plain) + " of plain decoding" + facts;
    case Regime::kOverlap:
      break;
  }
  return "overlapped: up to " + fixed(found.best() / found.plain) + " of plain decoding expected" +
         facts;
}

}  // namespace specbranch
