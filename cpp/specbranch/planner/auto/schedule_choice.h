/// Chooses the schedule: autoregressive decoding, sequential speculation, or both models in
/// parallel.
#pragma once

#include <cstdint>
#include <string>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/auto/expected_rates.h"
#include "specbranch/planner/auto/rate_meter.h"

namespace specbranch {

enum class Schedule : std::uint8_t {
  kAutoregressive,  ///< the draft is paused.
  kSequential,      ///< the draft drafts a chain, then the target verifies it.
  kParallel,        ///< the draft works while the target verifies.
};

/// Speculates while speculation is expected, and measured, to be faster than plain decoding. If
/// not, backs off to plain decoding, and probes the draft from time to time.
///
/// Of texts that run at the same time, one probes at a time. The others learn from it
/// (`AcceptanceTable::probed`).
///
/// *Lifecycle:* one generation; told of every verification.
class ScheduleChoice {
 public:
  /// `switching` false: the schedule is always kParallel.
  ScheduleChoice(const CostModel& costs, AcceptanceModel& acceptance, int longest, bool switching);
  ~ScheduleChoice() { end_probe(); }
  ScheduleChoice(const ScheduleChoice&) = delete;
  ScheduleChoice& operator=(const ScheduleChoice&) = delete;

  Schedule schedule() const { return schedule_; }

  /// A probe runs: the target decodes alone, and the draft's first choices are compared with the
  /// text, to learn whether the acceptance rate has risen.
  bool probing() const { return probing_; }

  /// The probe wants a verification of two tokens: plain decoding seems faster, but only because of
  /// costs that were measured while loading.
  bool trying() const { return probing_ && trying_; }

  /// The target must decode alone for now, because the time of a step alone is not known.
  bool settling() const;

  /// While speculating, the target must decode one token alone, to compare: the last such step is
  /// long ago. The load of the machine, which changes within a text, then changes both alike.
  bool wants_plain_step() const;

  /// The draft is lost to this text: its probe, if it has one, ends without a result.
  void lose_draft() { end_probe(); }

  bool drafts() const { return schedule_ != Schedule::kAutoregressive || probing_; }

  /// The target has begun with the text. To draft, the draft would have to read `n_unread` tokens
  /// that the target need not read.
  void on_open(int n_unread);

  /// `n_tokens` more are committed, by a verification that took `step_us`. `n_unread`: see
  /// `on_open`.
  void on_verification(std::int64_t now_us, double step_us, int n_tokens, int n_unread = 0);

  /// A first choice was compared with the text.
  void on_observation() {
    ++n_observed_;
    n_unobserved_ = 0;
  }

  /// A token joined the text that a text had proposed.
  void on_text_token() { ++n_text_tokens_; }

  /// The recent tokens per microsecond; at least those of plain decoding.
  double rate() const;

  std::string mode_reason() const;

 private:
  void begin();
  void choose(double margin, double optimism);
  /// The expected rates, with `optimism` standard errors added to the acceptance rate.
  ExpectedRates expected(double optimism) const;
  /// The expected rate of speculation.
  double speculative(const ExpectedRates& found) const;
  bool serial_is_better() const;
  bool speculates() const;
  bool joins() const;
  /// Microseconds of a token without speculation.
  double plain_us() const;
  SpeculationRecord& history() const;
  /// Resets the counts and the measured rate.
  void reset_counts();
  /// Pauses the draft. `failed`: the next probe comes later. `reached`: the measured share of the
  /// rate of plain decoding; 0: not measured.
  void back_off(bool failed, double reached = 0.0);
  /// The same for this text alone: over all texts, speculation gains.
  void back_off_in_this_text(double reached);
  /// Probes from now on, unless another text does.
  void take_probe();
  void end_probe();
  /// Probes in the middle of a history.
  void begin_probe();
  /// The measured rate is below plain decoding, by more than speculation may lose; and by less than
  /// `gained` more.
  bool contradicted(const RateMeter& meter, double gained) const;
  bool all_too_slow() const;
  bool text_too_slow() const;
  /// Speculation gains clearly, over all texts.
  bool gains_over_all() const;
  /// Texts propose good tokens, and speculation with them is measured to be faster than plain
  /// decoding by `margin`, whatever is expected of the draft model alone.
  bool gains_by_texts(double margin) const;
  /// The probe has seen enough, or has cost enough: it ends.
  bool probe_ended();
  bool may_probe(int n_unread);
  /// A probe may pay if its cost is spread over `n_tokens` of all texts. The draft must first read
  /// `n_unread`.
  bool worth_probing(double n_tokens, int n_unread) const;
  /// Speculation might pay if verifications were as fast as single tokens, and the models did not
  /// slow each other down.
  bool could_pay(double alpha) const;
  /// Begins a trial of what a verification costs, if the choice depends on it.
  bool begin_trial();
  /// Tokens between two probes.
  double probe_interval() const;

  const CostModel& costs_;
  AcceptanceModel& acceptance_;
  int longest_;
  bool switching_;
  Schedule schedule_ = Schedule::kParallel;
  bool due_ = false;  ///< a probe, as soon as it is known what the draft has to read for it.
  bool probing_ = false;
  bool trying_ = false;
  int n_texts_ = 1;                 ///< that ran at the last choice.
  bool tried_ = false;              ///< in this probe.
  bool slow_text_ = false;          ///< speculation was slow in this text alone,
  double reached_ = 0.0;            ///< and reached this share of the rate of plain decoding.
  int n_overlap_trials_ = 0;        ///< in this text.
  std::int64_t last_us_ = -1;       ///< time of the last verification.
  RateMeter meter_;                 ///< of this schedule, in this text.
  double promised_ = 0.0;           ///< the last expected rate of speculation.
  std::int64_t n_tokens_ = 0;       ///< since the schedule or the probe began.
  std::int64_t n_observed_ = 0;     ///< since then.
  std::int64_t n_unobserved_ = 0;   ///< tokens since the last observation.
  std::int64_t n_text_tokens_ = 0;  ///< that texts proposed, in this text.
  std::int64_t next_review_ = 0;    ///< of the choice, in such tokens.
  double next_probe_ = 0.0;         ///< unseen tokens at which a probe is considered again.
};

}  // namespace specbranch
