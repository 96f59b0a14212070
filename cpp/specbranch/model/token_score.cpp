#include "specbranch/model/token_score.h"

#include <algorithm>

#include "specbranch/sampling/choice.h"
#include "specbranch/sampling/score_row.h"

namespace specbranch {

TokenScore score_of(std::span<const float> logits, Token token, int n_top) {
  const ScoreRow row(logits);
  // From the best token: that of `token` may be -inf, or so small that the sum is lost beside it.
  const double normaliser =
      static_cast<double>(row.top()) - log_softmax_at(logits, std::max(0, row.best()));
  const double logprob = static_cast<double>(row.score(token)) - normaliser;
  TokenScore score{token, static_cast<float>(logprob), {}};
  for (const auto& [other, logit] : row.largest(n_top)) {
    score.top.push_back({other, static_cast<float>(static_cast<double>(logit) - normaliser)});
  }
  return score;
}

}  // namespace specbranch
