/// The samplers that cut the tail off a distribution, over a whole vocabulary, without sorting it.
///
/// Both keep exactly the tokens that llama.cpp's samplers keep, except that of tokens with equal
/// logits at the edge the lowest ids stay (llama.cpp's choice among them is unspecified).
#pragma once

#include <span>
#include <vector>

#include "specbranch/sampling/choice.h"

namespace specbranch::llama {

/// Nucleus: the most probable tokens whose probabilities first add up to `p`; best first.
std::vector<Scored> keep_top_p(std::span<const float> logits, float p);

/// Tokens at least `p` times as probable as the best one, in order of id.
std::vector<Scored> keep_min_p(std::span<const float> logits, float p);

}  // namespace specbranch::llama
