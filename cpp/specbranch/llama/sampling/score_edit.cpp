#include "specbranch/llama/sampling/score_edit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch::llama {

bool has_penalties(const SamplingOptions& options) {
  return options.repeat_penalty != 1.0F || options.presence_penalty != 0.0F ||
         options.frequency_penalty != 0.0F;
}

void require_numbers(std::span<const float> scores) {
  // Branch-free, so that the compiler vectorises it.
  bool bad = false;
  for (const float score : scores) bad |= !(score <= std::numeric_limits<float>::max());
  if (!bad) return;
  const auto it = std::find_if(scores.begin(), scores.end(), [](float score) {
    return !(score <= std::numeric_limits<float>::max());
  });
  throw DecodeError("[LlamaModel] the score of token " + std::to_string(it - scores.begin()) +
                    " is not a finite number; the model's weights are damaged");
}

ScoreEdit::ScoreEdit(std::span<float> scores, const SamplingOptions& options,
                     std::span<const Token> path)
    : scores_(scores) {
  add_bias(options);
  if (has_penalties(options)) penalise(options, path);
}

ScoreEdit::~ScoreEdit() {
  for (auto it = saved_.rbegin(); it != saved_.rend(); ++it) scores_[it->first] = it->second;
}

void ScoreEdit::set(Token token, float score) {
  const auto index = static_cast<std::size_t>(token);
  saved_.emplace_back(index, scores_[index]);
  scores_[index] = score;
}

void ScoreEdit::add_bias(const SamplingOptions& options) {
  for (const auto& [token, bias] : options.logit_bias) {
    if (token < 0 || static_cast<std::size_t>(token) >= scores_.size()) continue;
    set(token, scores_[static_cast<std::size_t>(token)] + bias);
  }
}

void ScoreEdit::penalise(const SamplingOptions& options, std::span<const Token> path) {
  const auto window = path.last(std::min(path.size(), std::size_t{kPenaltyLastN}));
  std::vector<Token> seen(window.begin(), window.end());
  std::sort(seen.begin(), seen.end());
  for (auto it = seen.begin(); it != seen.end();) {
    const Token token = *it;
    const auto end = std::upper_bound(it, seen.end(), token);
    const auto count = static_cast<float>(end - it);
    it = end;
    if (token < 0 || static_cast<std::size_t>(token) >= scores_.size()) continue;
    // The same operations in the same order as llama.cpp's sampler: the same bits.
    float score = scores_[static_cast<std::size_t>(token)];
    score = score <= 0.0F ? score * options.repeat_penalty : score / options.repeat_penalty;
    score -= count * options.frequency_penalty + options.presence_penalty;
    set(token, score);
  }
}

}  // namespace specbranch::llama
