/// What is known of a pair of models on this machine: what steps cost, what is accepted.
///
/// Plain data: measured while loading (`measurement`), refined by the `auto` planner, saved and
/// loaded by the user.
#pragma once

#include <array>
#include <vector>

namespace specbranch {

/// Times of single steps, in microseconds; each model alone on the machine.
struct StepCosts {
  std::vector<double> target_us;  ///< [n - 1]: a verification of n tokens. Empty: not measured.
  std::vector<double>
      draft_us;  ///< [b - 1]: a pass over b sequences of one token. Empty: not measured.
  double target_slowdown = 1.0;  ///< target step while the draft runs too / alone; at least 1.
  double draft_slowdown = 1.0;   ///< draft step while the target runs too / alone; at least 1.

  /// Single steps were measured; of the others some may be 0, which is: not measured.
  bool known() const {
    return !target_us.empty() && !draft_us.empty() && target_us[0] > 0.0 && draft_us[0] > 0.0;
  }
  bool operator==(const StepCosts&) const = default;
};

/// How often drafted tokens were right, by confidence and by rank. Sums that decay.
struct AcceptanceTable {
  static constexpr int kBins = 20;  ///< of the confidence, equal widths over [0, 1].
  static constexpr int kRanks = 8;

  std::array<double, kBins> hits{};        ///< first choices of that confidence that were right.
  std::array<double, kBins> expected{};    ///< sum of their confidences.
  std::array<double, kBins> seen{};        ///< first choices of that confidence, recently.
  std::array<double, kRanks> rank_hits{};  ///< [r]: rank r was right, the first one was not.
  std::array<double, kRanks> rank_expected{};  ///< sum of q_r / (1 - q_0) where that was possible.
  double first_hits = 0.0;                     ///< first choices that were right ...
  double first_count = 0.0;                    ///< ... of so many; the sum of `seen`.

  // When to look at the draft again while decoding goes without it. Not worth saving.
  double tokens_since_probe = 0.0;  ///< decoded since the last look.
  double probe_interval = 0.0;      ///< tokens between two looks; 0: as at first.
  bool paused = false;              ///< it was tried in vain, and not looked at again since.
  /// Share of the plain rate that was too little then; 0: it was given up for other reasons.
  double paused_at_rate = 0.0;

  bool operator==(const AcceptanceTable&) const = default;
};

/// A draft's confidence means different things at different temperatures.
inline constexpr int kTemperatureClasses = 3;

/// 0: greedy; 1: up to 0.5; 2: above.
constexpr int temperature_class(float temperature) {
  return temperature <= 0.0F ? 0 : temperature <= 0.5F ? 1 : 2;
}

struct PairProfile {
  StepCosts costs;
  std::array<AcceptanceTable, kTemperatureClasses> acceptance;

  bool operator==(const PairProfile&) const = default;
};

}  // namespace specbranch
