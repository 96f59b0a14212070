/// What samplers remember from token to token.
#pragma once

namespace specbranch {

/// What samplers remember of the tokens that were chosen. It changes only with a token of the text.
struct SamplerState {
  float mirostat_mu = 0.0F;  ///< the largest surprise that mirostat allows, in bits.
  /// Adaptive-p: the sums of the chosen tokens' probabilities and of their weights.
  float adaptive_sum = 0.0F;
  float adaptive_weight = 0.0F;
};

}  // namespace specbranch
