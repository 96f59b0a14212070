/// The sparse part of the sampler chain: bias, penalties, DRY, and tokens that may not be chosen.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "specbranch/llama/sampling/dry_penalty.h"
#include "specbranch/llama/sampling/token_counts.h"
#include "specbranch/model/options.h"

namespace specbranch::llama {

/// Applies the bias, then penalties and DRY in the given order, then -inf for forbidden tokens, to
/// a row of logits in place; the destructor restores the row. Touches as many tokens as there are
/// biases and forbidden ones, and as the windows of penalties and DRY have. Tokens beyond the row
/// are skipped.
class LogitAdjustments {
 public:
  /// `order` has penalties and DRY only. `dry`: for DRY. `path`: the tokens before the position of
  /// the logits. `counts` is used during the call.
  LogitAdjustments(std::span<float> logits, const SamplingOptions& options,
                   std::span<const SamplerKind> order, const DryPenalty* dry,
                   std::span<const Token> path, TokenCounts& counts,
                   std::span<const Token> forbidden = {});
  ~LogitAdjustments();
  LogitAdjustments(const LogitAdjustments&) = delete;
  LogitAdjustments& operator=(const LogitAdjustments&) = delete;

 private:
  void set(Token token, float logit);
  void add_bias(const SamplingOptions& options);
  void penalise(const SamplingOptions& options, std::span<const Token> path, TokenCounts& counts);
  void penalise_repetition(const DryPenalty& dry, std::span<const Token> path, TokenCounts& counts);
  void forbid(std::span<const Token> tokens);

  std::span<float> logits_;
  std::vector<std::pair<std::size_t, float>> saved_;
};

/// The tokens at the end of `path` that penalties see.
std::span<const Token> penalty_window(const SamplingOptions& options, std::span<const Token> path);

/// The logit of a token that occurs `count` times in the window.
float penalised(float logit, int count, const SamplingOptions& options);

/// Throws DecodeError when a logit is NaN or +inf.
void require_numbers(std::span<const float> logits);

}  // namespace specbranch::llama
