/// The choice rule: one deterministic function of the target's scores (design: coupled choice).
///
/// `y = argmax_i (log p(i) + g(seed, t, i))` is an exact sample of p by the Gumbel-max theorem
/// (Maddison et al., 2014, arXiv:1411.0030). Without noise it is the most probable token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/sampling/noise.h"

namespace specbranch {

/// A token with its score (a logit after the whole sampler chain; any common offset cancels).
struct Scored {
  Token token = 0;
  float score = 0.0F;
};

/// A token that the draft proposes, with its confidence.
struct Candidate {
  Token token = 0;
  double confidence = 0.0;  ///< softmax of the (perturbed) scores over the draft's candidates.
};

/// Index in `scored` of the chosen token: the largest score plus noise; the lowest id on a tie.
/// `noise` null: no noise (temperature 0). -inf scores are never chosen.
/// Returns -1 when every score is -inf. Throws DecodeError on NaN.
std::int64_t choose(std::span<const Scored> scored, const PositionNoise* noise);

/// As above over a whole vocabulary whose token ids are the indices of `scores`.
/// Draws noise only where a bound says that the token can still win.
Token choose_dense(std::span<const float> scores, const PositionNoise* noise);

/// The draft's ranking: perturbs the best 64 of `scored`, returns the best `k` by perturbed score,
/// best first, with confidences normalised over those (at most 64) candidates.
std::vector<Candidate> rank(std::span<const Scored> scored, const PositionNoise* noise, int k);

/// The `k` largest of `scores`, best first (ties: lowest id first). O(n) plus a heap of k.
std::vector<Scored> top_scores(std::span<const float> scores, int k);

/// log-softmax(scores)[token], computed in double.
double log_softmax_at(std::span<const float> scores, Token token);

/// How many of its best tokens the draft perturbs.
inline constexpr int kDraftCandidates = 64;

}  // namespace specbranch
