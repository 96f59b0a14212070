/// Whether speculation pays: autoregressive, serial or overlapped decoding.
#pragma once

#include <cstdint>
#include <string>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/auto/expected_rates.h"
#include "specbranch/planner/auto/rate_meter.h"

namespace specbranch {

enum class Schedule : std::uint8_t { kAutoregressive, kSequential, kParallel };

/// *Lifecycle:* one generation; told of every verification.
class ScheduleChoice {
 public:
  /// `switching` false: always overlapped.
  ScheduleChoice(const CostModel& costs, AcceptanceModel& acceptance, int longest, bool switching);

  Schedule schedule() const { return schedule_; }

  /// Plain decoding, while the draft's first choices are compared with the text: a short look
  /// whether it is right more often than it was.
  bool probing() const { return probing_; }

  bool drafts() const { return schedule_ != Schedule::kAutoregressive || probing_; }

  /// `n_tokens` more are committed.
  void on_verification(std::int64_t now_us, int n_tokens);

  /// A first choice was compared with the text.
  void on_observation() {
    ++n_observed_;
    n_unobserved_ = 0;
  }

  /// Tokens a microsecond recently; never below plain decoding.
  double rate() const;

  std::string mode_reason() const;

 private:
  void choose(double margin, double optimism);
  /// With `optimism` standard errors added to what is known of the draft.
  ExpectedRates expected(double optimism) const;
  /// What speculation promises.
  double speculative(const ExpectedRates& found) const;
  bool shares_time() const;
  /// Counts and measurements start anew.
  void reset_counts();
  void back_off(bool failed, double reached = 0.0);
  bool too_slow() const;
  bool may_probe();
  /// A look whose cost is spread over `n_tokens`; the draft must read `n_unread` for it.
  bool worth_probing(double n_tokens, double n_unread) const;
  double probe_interval() const;

  const CostModel& costs_;
  AcceptanceModel& acceptance_;
  int longest_;
  bool switching_;
  Schedule schedule_ = Schedule::kParallel;
  bool probing_ = false;
  std::int64_t last_us_ = -1;  ///< time of the last verification.
  RateMeter meter_;
  double promised_ = 0.0;      ///< tokens a microsecond that speculation promised when asked last.
  std::int64_t n_tokens_ = 0;  ///< since the regime or the exploration began.
  std::int64_t n_observed_ = 0;    ///< since then.
  std::int64_t n_unobserved_ = 0;  ///< tokens since the last observation.
  std::int64_t next_review_ = 0;   ///< of the choice, in such tokens.
  double next_probe_ = 0.0;        ///< unseen tokens at which a look is thought of again.
};

}  // namespace specbranch
