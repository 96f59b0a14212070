/// The samplers that cut the tail off a distribution, over a whole vocabulary, without sorting it.
///
/// Both keep exactly the tokens that llama.cpp's samplers keep, except that of tokens with equal
/// logits at the edge the lowest ids stay (llama.cpp's choice among them is unspecified).
#pragma once

#include <cstdint>
#include <vector>

#include "specbranch/sampling/score_row.h"

namespace specbranch::llama {

/// How the sum of all probabilities is computed.
enum class SoftmaxSum : std::uint8_t {
  kExact,  ///< with every rounding of llama.cpp: up to a millisecond for 150,000 flat logits.
  kQuick,  ///< within 0.5 %, in a quarter of the time.
};

/// Nucleus: the most probable tokens whose probabilities first add up to `p`; best first.
std::vector<Scored> keep_top_p(const ScoreRow& logits, float p,
                               SoftmaxSum sum = SoftmaxSum::kExact);

/// Tokens at least `p` times as probable as the best one, in order of id.
std::vector<Scored> keep_min_p(const ScoreRow& logits, float p);

}  // namespace specbranch::llama
