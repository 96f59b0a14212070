/// The sparse part of the sampler chain: adds logit bias and penalties to the logits.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "specbranch/model/options.h"

namespace specbranch::llama {

/// Applies bias and penalties to a row of logits in place; the destructor restores the row.
/// Touches at most 64 + the number of biases tokens. Tokens beyond the row are skipped.
class LogitAdjustments {
 public:
  /// `path`: the tokens before the position of the logits; the last 64 are penalised.
  LogitAdjustments(std::span<float> logits, const SamplingOptions& options,
                   std::span<const Token> path);
  ~LogitAdjustments();
  LogitAdjustments(const LogitAdjustments&) = delete;
  LogitAdjustments& operator=(const LogitAdjustments&) = delete;

 private:
  void set(Token token, float logit);
  void add_bias(const SamplingOptions& options);
  void penalise(const SamplingOptions& options, std::span<const Token> path);

  std::span<float> logits_;
  std::vector<std::pair<std::size_t, float>> saved_;
};

/// True if any penalty is on.
bool has_penalties(const SamplingOptions& options);

/// Throws DecodeError when a logit is NaN or +inf.
void require_numbers(std::span<const float> logits);

}  // namespace specbranch::llama
