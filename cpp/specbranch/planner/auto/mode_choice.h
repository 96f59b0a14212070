/// Whether speculation pays: autoregressive, serial or overlapped decoding.
#pragma once

#include <cstdint>
#include <string>

#include "specbranch/planner/auto/calibration.h"
#include "specbranch/planner/auto/prospects.h"
#include "specbranch/planner/auto/rate_meter.h"

namespace specbranch {

enum class Regime : std::uint8_t { kPlain, kSerial, kOverlap };

/// *Lifecycle:* one generation; told of every verdict.
class ModeChoice {
 public:
  /// `switching` false: always overlapped.
  ModeChoice(const CostModel& costs, Calibration& calibration, int longest, bool switching);

  Regime regime() const { return regime_; }

  /// Plain decoding, while the draft's first choices are compared with the text: a short look
  /// whether it is right more often than it was.
  bool exploring() const { return exploring_; }

  bool drafts() const { return regime_ != Regime::kPlain || exploring_; }

  /// `n_tokens` more are committed.
  void on_verdict(std::int64_t now_us, int n_tokens);

  /// A first choice was compared with the text.
  void on_observation() {
    ++n_observed_;
    n_blind_ = 0;
  }

  /// Tokens a microsecond of late; never below plain decoding.
  double rate() const;

  std::string mode_reason() const;

 private:
  void choose(double margin, double optimism);
  /// With `optimism` standard errors added to what is known of the draft.
  Prospects expected(double optimism) const;
  /// What speculation promises.
  double speculative(const Prospects& found) const;
  bool shares_time() const;
  /// Counts and measurements start anew.
  void begin();
  void rest(bool failed, double reached = 0.0);
  bool too_slow() const;
  bool may_explore();
  /// A look whose cost is spread over `n_tokens`; the draft must read `n_unread` for it.
  bool worth_a_look(double n_tokens, double n_unread) const;
  double backoff() const;

  const CostModel& costs_;
  Calibration& calibration_;
  int longest_;
  bool switching_;
  Regime regime_ = Regime::kOverlap;
  bool exploring_ = false;
  std::int64_t last_us_ = -1;  ///< time of the last verdict.
  RateMeter meter_;
  double promised_ = 0.0;      ///< tokens a microsecond that speculation promised when asked last.
  std::int64_t n_tokens_ = 0;  ///< since the regime or the exploration began.
  std::int64_t n_observed_ = 0;   ///< since then.
  std::int64_t n_blind_ = 0;      ///< tokens since the last observation.
  std::int64_t next_review_ = 0;  ///< of the choice, in such tokens.
  double next_look_ = 0.0;        ///< unseen tokens at which a look is thought of again.
};

}  // namespace specbranch
