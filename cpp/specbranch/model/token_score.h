/// Log-probabilities of tokens, as callers want them.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// A token's log-probability: the log-softmax of the target's logits.
struct TokenLogprob {
  Token token = 0;
  float logprob = 0.0F;
};

/// The log-probability of a token after the tokens before it, and those of the best alternatives.
struct TokenScore {
  Token token = 0;
  float logprob = 0.0F;
  std::vector<TokenLogprob> top;  ///< best first.
};

/// The score of `token` by a row of logits, with `n_top` alternatives. Throws DecodeError on NaN.
TokenScore score_of(std::span<const float> logits, Token token, int n_top);

}  // namespace specbranch
