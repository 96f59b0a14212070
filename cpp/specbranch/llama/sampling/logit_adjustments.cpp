#include "specbranch/llama/sampling/logit_adjustments.h"

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

void require_numbers(std::span<const float> logits) {
  // Branch-free, so that the compiler vectorises it.
  bool bad = false;
  for (const float logit : logits) bad |= !(logit <= std::numeric_limits<float>::max());
  if (!bad) return;
  const auto it = std::find_if(logits.begin(), logits.end(), [](float logit) {
    return !(logit <= std::numeric_limits<float>::max());
  });
  throw DecodeError("[LlamaModel] the score of token " + std::to_string(it - logits.begin()) +
                    " is not a finite number; the model's weights are damaged");
}

LogitAdjustments::LogitAdjustments(std::span<float> logits, const SamplingOptions& options,
                                   std::span<const Token> path)
    : logits_(logits) {
  add_bias(options);
  if (has_penalties(options)) penalise(options, path);
}

LogitAdjustments::~LogitAdjustments() {
  for (auto it = saved_.rbegin(); it != saved_.rend(); ++it) logits_[it->first] = it->second;
}

void LogitAdjustments::set(Token token, float logit) {
  const auto index = static_cast<std::size_t>(token);
  saved_.emplace_back(index, logits_[index]);
  logits_[index] = logit;
}

void LogitAdjustments::add_bias(const SamplingOptions& options) {
  for (const auto& [token, bias] : options.logit_bias) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits_.size()) continue;
    set(token, logits_[static_cast<std::size_t>(token)] + bias);
  }
}

void LogitAdjustments::penalise(const SamplingOptions& options, std::span<const Token> path) {
  const auto window = path.last(std::min(path.size(), std::size_t{kPenaltyLastN}));
  std::vector<Token> seen(window.begin(), window.end());
  std::sort(seen.begin(), seen.end());
  for (auto it = seen.begin(); it != seen.end();) {
    const Token token = *it;
    const auto end = std::upper_bound(it, seen.end(), token);
    const auto count = static_cast<float>(end - it);
    it = end;
    if (token < 0 || static_cast<std::size_t>(token) >= logits_.size()) continue;
    // The same operations in the same order as llama.cpp's sampler: the same bits.
    float logit = logits_[static_cast<std::size_t>(token)];
    logit = logit <= 0.0F ? logit * options.repeat_penalty : logit / options.repeat_penalty;
    logit -= count * options.frequency_penalty + options.presence_penalty;
    set(token, logit);
  }
}

}  // namespace specbranch::llama
