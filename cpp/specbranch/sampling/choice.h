/// The choice rule: one deterministic function of the target's scores (design: coupled choice).
///
/// `y = argmax_i (log p(i) + g(seed, t, i))` is an exact sample of p by the Gumbel-max theorem
/// (Maddison et al., 2014, arXiv:1411.0030). Without noise it is the most probable token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/sampling/noise.h"
#include "specbranch/sampling/perturbed_top.h"
#include "specbranch/sampling/sampler_state.h"
#include "specbranch/sampling/score_row.h"

namespace specbranch {

/// A token that the draft proposes, with its confidence.
struct Candidate {
  Token token = 0;
  double confidence = 0.0;  ///< softmax of the (perturbed) scores over the draft's candidates.
  bool beyond = false;      ///< only a loosened truncation leaves it.
};

/// How probable it is that the target allows a token beyond the draft's own truncation, relative to
/// the draft's confidence in it: as long as nothing is known of the pair.
inline constexpr double kBeyondWeight = 0.3;

/// How a draft ranks its candidates.
struct RankOptions {
  RankOptions() = default;
  RankOptions(int n) : k(n) {}  // NOLINT(google-explicit-constructor): all others are optional

  int k = 1;                             ///< candidates wanted.
  double beyond_weight = kBeyondWeight;  ///< of tokens beyond the truncation; 0: none of them.
  bool beyond_first = false;             ///< one of them may be the first candidate.
  /// What the target's samplers remember after the newest token; empty: as before the first one.
  std::optional<SamplerState> state;

  /// These options with this state.
  RankOptions with(const std::optional<SamplerState>& other) const {
    RankOptions result = *this;
    result.state = other;
    return result;
  }
};

/// Index in `scored` of the chosen token: the largest score plus noise; the lowest id on a tie.
/// `noise` null: no noise (temperature 0). -inf scores are never chosen.
/// Returns -1 when every score is -inf. Throws DecodeError on NaN.
std::int64_t choose(std::span<const Scored> scored, const PositionNoise* noise);

/// As above over a whole vocabulary, for scores that are divided by `temperature` (> 0) first.
Token choose_dense(const ScoreRow& row, float temperature, const PositionNoise* noise);

/// Candidates in the order of `ranked`, the first `k` of them; confidences are the softmax of the
/// values over all of `ranked`, of which no value is above the first by much.
std::vector<Candidate> with_confidences(std::span<const Perturbed> ranked, int k);

/// The draft's ranking: perturbs the best 64 of `scored`, returns the best `k` by perturbed score,
/// best first, with confidences normalised over those (at most 64) candidates.
std::vector<Candidate> rank(std::span<const Scored> scored, const PositionNoise* noise, int k);

/// log-softmax(scores)[token], computed in double.
double log_softmax_at(std::span<const float> scores, Token token);

/// How many of its best tokens the draft perturbs.
inline constexpr int kDraftCandidates = 64;

}  // namespace specbranch
