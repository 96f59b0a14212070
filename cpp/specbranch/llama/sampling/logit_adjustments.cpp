#include "specbranch/llama/sampling/logit_adjustments.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/llama/sampling/sampler.h"

namespace specbranch::llama {

void require_numbers(std::span<const float> logits) {
  // Branch-free, so that the compiler vectorises it.
  bool bad = false;
  for (const float logit : logits) bad |= !(logit <= std::numeric_limits<float>::max());
  if (!bad) return;
  const auto it = std::find_if(logits.begin(), logits.end(), [](float logit) {
    return !(logit <= std::numeric_limits<float>::max());
  });
  throw NonFiniteScores("[LlamaModel] the score of token " + std::to_string(it - logits.begin()) +
                        " is not a finite number; the model's weights are damaged");
}

LogitAdjustments::LogitAdjustments(std::span<float> logits, const SamplingOptions& options,
                                   std::span<const SamplerKind> order, const DryPenalty* dry,
                                   std::span<const Token> path, TokenCounts& counts,
                                   std::span<const Token> forbidden)
    : logits_(logits) {
  add_bias(options);
  for (const SamplerKind kind : order) {
    if (kind == SamplerKind::kPenalties) penalise(options, path, counts);
    if (kind == SamplerKind::kDry) penalise_repetition(*dry, path, counts);
  }
  forbid(forbidden);
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
    const float logit = logits_[static_cast<std::size_t>(token)];
    const bool forbids = bias == -std::numeric_limits<float>::infinity();
    set(token, forbids || !std::isfinite(logit) ? logit + bias : bounded_logit(logit + bias));
  }
}

void LogitAdjustments::forbid(std::span<const Token> tokens) {
  for (const Token token : tokens) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits_.size()) continue;
    // A damaged row must still be found out.
    if (!(logits_[static_cast<std::size_t>(token)] <= std::numeric_limits<float>::max())) continue;
    set(token, -std::numeric_limits<float>::infinity());
  }
}

void LogitAdjustments::penalise(const SamplingOptions& options, std::span<const Token> path,
                                TokenCounts& counts) {
  counts.count(penalty_window(options, path));
  for (const Token token : counts.distinct()) {
    if (static_cast<std::size_t>(token) >= logits_.size()) continue;
    const float logit = logits_[static_cast<std::size_t>(token)];
    if (std::isfinite(logit)) set(token, penalised(logit, counts.of(token), options));
  }
}

void LogitAdjustments::penalise_repetition(const DryPenalty& dry, std::span<const Token> path,
                                           TokenCounts& counts) {
  std::vector<llama_token_data> tokens;
  counts.count(dry.window_of(path));
  for (const Token token : counts.distinct()) {
    if (static_cast<std::size_t>(token) >= logits_.size()) continue;
    const float logit = logits_[static_cast<std::size_t>(token)];
    if (std::isfinite(logit)) tokens.push_back({token, logit, 0.0F});
  }
  dry.apply(tokens, path);
  for (const llama_token_data& item : tokens) {
    if (item.logit != logits_[static_cast<std::size_t>(item.id)]) {
      set(item.id, bounded_logit(item.logit));
    }
  }
}

std::span<const Token> penalty_window(const SamplingOptions& options, std::span<const Token> path) {
  if (options.repeat_last_n < 0) return path;
  return path.last(std::min(path.size(), static_cast<std::size_t>(options.repeat_last_n)));
}

float penalised(float logit, int count, const SamplingOptions& options) {
  // The same operations in the same order as llama.cpp's sampler: the same bits.
  logit = bounded_logit(logit <= 0.0F ? logit * options.repeat_penalty
                                      : logit / options.repeat_penalty);
  logit -= static_cast<float>(count) * options.frequency_penalty + options.presence_penalty;
  return bounded_logit(logit);
}

}  // namespace specbranch::llama
