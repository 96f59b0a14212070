#include "specbranch/model/token_score.h"

#include <cstddef>

#include "specbranch/sampling/choice.h"
#include "specbranch/sampling/score_row.h"

namespace specbranch {

TokenScore score_of(std::span<const float> logits, Token token, int n_top) {
  const double logprob = log_softmax_at(logits, token);
  const double normaliser = static_cast<double>(logits[static_cast<std::size_t>(token)]) - logprob;
  TokenScore score{token, static_cast<float>(logprob), {}};
  for (const auto& [other, logit] : ScoreRow(logits).largest(n_top)) {
    score.top.push_back({other, static_cast<float>(static_cast<double>(logit) - normaliser)});
  }
  return score;
}

}  // namespace specbranch
