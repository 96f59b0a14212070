/// The profile of a pair of models on this machine: step costs and acceptance.
///
/// Plain data: `CostMeasurement` measures the costs while loading, the `auto` planner refines the
/// profile, and the user saves and loads it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace specbranch {

/// Times of single steps, in microseconds; each model alone on the machine.
struct StepCosts {
  std::vector<double> target_us;  ///< [n - 1]: a verification of n tokens. Empty: not measured.
  std::vector<double> draft_us;   ///< [b - 1]: a pass over b sequences. Empty: not measured.
  double target_slowdown = 1.0;   ///< target step while the draft runs too / alone; at least 1.
  double draft_slowdown = 1.0;    ///< draft step while the target runs too / alone; at least 1.

  /// Single steps were measured. Another entry may be 0: not measured.
  bool known() const {
    return !target_us.empty() && !draft_us.empty() && target_us[0] > 0.0 && draft_us[0] > 0.0;
  }
  /// Single steps of the target were measured: all that decoding without a draft needs.
  bool target_known() const { return !target_us.empty() && target_us[0] > 0.0; }
  bool operator==(const StepCosts&) const = default;
};

/// What speculation brought, verification by verification; old ones count less.
struct RateRecord {
  double n = 0.0;  ///< verifications.
  double tokens = 0.0;
  double time_us = 0.0;
  double gain = 0.0;          ///< tokens beyond those of plain decoding in the same time; sums ...
  double gain_squares = 0.0;  ///< ... of them and of their squares.

  bool operator==(const RateRecord&) const = default;
};

/// What speculation has brought, and when to probe a draft that is paused.
struct SpeculationRecord {
  double tokens_since_probe = 0.0;  ///< of each text, decoded since the last probe.
  double probe_interval = 0.0;      ///< such tokens between two probes; 0: the default.
  bool paused = false;  ///< speculation was slower than plain decoding; not probed since.
  /// The measured share of the rate of plain decoding at that time; 0: another reason.
  double paused_at_rate = 0.0;
  bool unasked = false;    ///< speculation was expected to pay, but its planner asked no draft.
  int slow_texts = 0;      ///< in a row, in which speculation was slower than plain decoding.
  RateRecord speculation;  ///< since speculation began, over all texts.

  bool operator==(const SpeculationRecord&) const = default;
};

/// Acceptance counts by confidence and by rank. The counts decay.
struct AcceptanceTable {
  static constexpr int kBins = 20;  ///< of the confidence, equal widths over [0, 1].
  static constexpr int kRanks = 8;

  std::array<double, kBins> hits{};        ///< accepted first choices of that confidence.
  std::array<double, kBins> expected{};    ///< sum of their confidences.
  std::array<double, kBins> seen{};        ///< recent first choices of that confidence.
  std::array<double, kRanks> rank_hits{};  ///< [r]: rank r was accepted, the first choice was not.
  std::array<double, kRanks> rank_expected{};  ///< sum of q_r / (1 - q_0) where that was possible.
  double first_hits = 0.0;                     ///< accepted first choices.
  double first_count = 0.0;                    ///< all first choices: the sum of `seen`.
  double beyond_hits = 0.0;                    ///< accepted tokens beyond the draft's truncation.
  double beyond_expected = 0.0;  ///< sum of their confidences, not reduced by a weight.
  double beyond_trials = 0.0;    ///< such a token could have been first, and one of both was right.
  double beyond_wins = 0.0;      ///< ... and it was that token.
  bool beyond_first = false;     ///< by these trials, such a token may be the first choice.

  SpeculationRecord alone;    ///< of texts that run alone. Not saved.
  SpeculationRecord crowded;  ///< of texts beside others, which is another trade. Not saved.
  bool probed = false;        ///< a text that runs probes the draft, for all of them. Not saved.

  bool operator==(const AcceptanceTable&) const = default;
};

/// A draft's confidence means different things at different temperatures.
inline constexpr int kTemperatureClasses = 3;

/// 0: greedy; 1: up to 0.5; 2: above.
constexpr int temperature_class(float temperature) {
  return temperature <= 0.0F ? 0 : temperature <= 0.5F ? 1 : 2;
}

/// How often something happened, and how often it was expected to.
struct RatioCount {
  double found = 0.0;
  double expected = 0.0;

  bool operator==(const RatioCount&) const = default;
};

/// What drafts from texts have brought (`TextGate`).
struct TextGain {
  static constexpr double kFirstWait = 16.0;

  /// Tokens that plain decoding would have had more, less a share of all; negative: gained.
  double lost = 0.0;
  bool closed = false;  ///< nothing is verified for now, ...
  double waited = 0.0;  ///< ... but after `wait` more tokens: tokens since the last verification.
  double wait = kFirstWait;

  bool operator==(const TextGain&) const = default;
};

/// How often texts go on as they did before, by class (`LookupAcceptance`), and what drafts from
/// texts have brought. The counts decay. Not saved.
struct LookupTable {
  static constexpr int kClasses = 96;

  std::array<double, kClasses> hits{};
  std::array<double, kClasses> count{};

  // Where a draft model has proposed a token, too (`SourceAgreement`).
  RatioCount agreed_errors;     ///< of the same token.
  RatioCount rival_draft_hits;  ///< of different tokens: the draft model was right, ...
  RatioCount rival_text_hits;   ///< ... or the text.

  // How often the tokens that a grammar forces are spelled as expected (`ForcedProposer`).
  RatioCount forced_sure;
  RatioCount forced_guesses;  ///< those that are not sure.

  TextGain alone;    ///< while one text runs.
  TextGain crowded;  ///< while several share the batches.

  bool operator==(const LookupTable&) const = default;
};

/// How certain the step costs are: the covariance of each `StepCurve`. Not saved.
struct CostDoubts {
  std::vector<double> target;
  std::vector<double> draft;

  bool operator==(const CostDoubts&) const = default;
};

/// What runs beside a text. Not saved.
struct OtherTexts {
  int n_running = 0;  ///< texts that run at the same time.
  /// Tokens of a batch of several texts at most, padding included; 0: no such batch is padded.
  int longest_padded = 0;
  /// Tokens of theirs in the last batches of the target; the newest counts most.
  double target_tokens = 0.0;
  /// Batches of the target since the last one in which each text had one token, beside no draft
  /// pass; many if there was none.
  double batches_since_plain = 1e6;
  /// When the last steps of target and draft ended that a text has learned from: a step for several
  /// texts teaches once. In microseconds; -1: none has.
  std::array<std::int64_t, 2> learned_us{-1, -1};

  bool operator==(const OtherTexts&) const = default;
};

struct PairProfile {
  StepCosts costs;
  CostDoubts doubts;
  OtherTexts others;
  std::array<AcceptanceTable, kTemperatureClasses> acceptance;
  std::array<LookupTable, kTemperatureClasses> lookup;

  bool operator==(const PairProfile&) const = default;
};

}  // namespace specbranch
