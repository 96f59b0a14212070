/// The sparse part of the sampler chain: logit bias and penalties, written into the raw scores.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "specbranch/model/options.h"

namespace specbranch::llama {

/// Bias and penalties applied to a row of scores in place; the destructor puts the row back.
/// Touches at most 64 + the number of biases tokens. Tokens beyond the row are skipped.
class ScoreEdit {
 public:
  /// `path`: the tokens before the position that the scores are for; its last 64 are penalised.
  ScoreEdit(std::span<float> scores, const SamplingOptions& options, std::span<const Token> path);
  ~ScoreEdit();
  ScoreEdit(const ScoreEdit&) = delete;
  ScoreEdit& operator=(const ScoreEdit&) = delete;

 private:
  void set(Token token, float score);
  void add_bias(const SamplingOptions& options);
  void penalise(const SamplingOptions& options, std::span<const Token> path);

  std::span<float> scores_;
  std::vector<std::pair<std::size_t, float>> saved_;
};

/// Whether any penalty is on.
bool has_penalties(const SamplingOptions& options);

/// Throws DecodeError when a score is NaN or +inf.
void require_numbers(std::span<const float> scores);

}  // namespace specbranch::llama
