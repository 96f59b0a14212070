#include "specbranch/llama/sampling/token_distribution.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "llama.h"
#include "specbranch/llama/sampling/logit_adjustments.h"

namespace specbranch::llama {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

SamplerHandle make_sorted_cut(const SamplingOptions& options) {
  SamplerHandle chain(llama_sampler_chain_init({/*no_perf=*/true}));
  if (options.top_k > 0 && options.top_p < 1.0F) {
    llama_sampler_chain_add(chain.get(), llama_sampler_init_top_p(options.top_p, /*min_keep=*/1));
  }
  if (options.min_p > 0.0F) {
    llama_sampler_chain_add(chain.get(), llama_sampler_init_min_p(options.min_p, /*min_keep=*/1));
  }
  return chain;
}

/// One pass finds both kinds of damage: NaN, and infinity as the largest logit.
ScoreRow checked_row(std::span<const float> logits) {
  const ScoreRow row(logits);
  if (row.top() == std::numeric_limits<float>::infinity()) require_numbers(logits);
  return row;
}

std::vector<Perturbed> perturb(std::span<const Scored> scored, const PositionNoise& noise,
                               double added) {
  std::vector<Perturbed> values;
  values.reserve(scored.size());
  for (const auto& [token, score] : scored) {
    if (score == kImpossible) continue;
    values.push_back({token, static_cast<double>(score) + noise.gumbel(token) + added});
  }
  return values;
}

void sort_best(std::vector<Perturbed>& values, std::size_t n) {
  const auto end = values.begin() + static_cast<std::ptrdiff_t>(std::min(n, values.size()));
  std::partial_sort(values.begin(), end, values.end(), BetterValue{});
  values.erase(end, values.end());
}

}  // namespace

TokenDistribution::TokenDistribution(const SamplingOptions& options)
    : options_(options), sorted_cut_(make_sorted_cut(options)) {}

bool TokenDistribution::truncates() const {
  return options_.top_k > 0 || options_.top_p < 1.0F || options_.min_p > 0.0F;
}

Token TokenDistribution::choose(std::span<float> logits, std::span<const Token> history) const {
  const LogitAdjustments adjustments(logits, options_, history);
  const ScoreRow row = checked_row(logits);
  // top-k, top-p and min-p always keep the most probable token.
  if (options_.temperature <= 0.0F) return row.best();
  const PositionNoise noise(options_.seed, static_cast<Pos>(history.size()));
  if (!truncates()) return choose_dense(row, options_.temperature, &noise);
  const std::vector<Scored> kept = truncate(row, SoftmaxSum::kExact);
  const auto index = specbranch::choose(kept, &noise);
  return index < 0 ? -1 : kept[static_cast<std::size_t>(index)].token;
}

std::vector<Candidate> TokenDistribution::rank(std::span<float> logits,
                                               std::span<const Token> history,
                                               const RankOptions& options, SoftmaxSum sum,
                                               Pos n_skipped) const {
  const LogitAdjustments adjustments(logits, options_, history);
  const ScoreRow row = checked_row(logits);
  if (options_.temperature <= 0.0F) {
    return specbranch::rank(row.largest(kDraftCandidates), nullptr, options.k);
  }
  const PositionNoise noise(options_.seed, n_skipped + static_cast<Pos>(history.size()));
  if (!truncates()) {
    return with_confidences(perturbed_top(row, options_.temperature, noise, kDraftCandidates),
                            options.k);
  }
  const std::vector<Scored> kept = truncate(row, sum);
  std::vector<Perturbed> ranked = perturb(kept, noise, 0.0);
  sort_best(ranked, kDraftCandidates);
  if (ranked.empty()) return {};
  std::vector<Perturbed> others;
  if (options.beyond_weight > 0.0) {
    others = perturb(beyond(row, kept), noise, std::log(options.beyond_weight));
  }
  // The target's own choice leads, whatever lies beyond the truncation.
  const std::size_t n_leading = options.beyond_first ? 0 : 1;
  const std::vector<Perturbed> leading(ranked.begin(),
                                       ranked.begin() + static_cast<std::ptrdiff_t>(n_leading));
  ranked.erase(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(n_leading));
  ranked.insert(ranked.end(), others.begin(), others.end());
  sort_best(ranked, kDraftCandidates - n_leading);
  ranked.insert(ranked.begin(), leading.begin(), leading.end());
  std::vector<Candidate> candidates = with_confidences(ranked, options.k);
  for (Candidate& candidate : candidates) {
    candidate.beyond = std::ranges::count(others, candidate.token, &Perturbed::token) > 0;
  }
  return candidates;
}

std::vector<Scored> TokenDistribution::candidates(std::span<float> logits,
                                                  std::span<const Token> history) const {
  const LogitAdjustments adjustments(logits, options_, history);
  return truncate(ScoreRow(logits), SoftmaxSum::kExact);
}

std::vector<Scored> TokenDistribution::truncate(const ScoreRow& row, SoftmaxSum sum) const {
  if (row.top() == kImpossible) return {};
  std::vector<Scored> kept;
  bool sorted = true;
  if (options_.top_k > 0) {
    kept = row.largest(options_.top_k);
  } else if (options_.top_p < 1.0F) {
    kept = keep_top_p(row, options_.top_p, sum);
  } else if (options_.min_p > 0.0F) {
    kept = keep_min_p(row, options_.min_p);
    sorted = false;
  } else {
    kept = row.at_least(kImpossible);
    sorted = false;
  }
  if (sorted && llama_sampler_chain_n(sorted_cut_.get()) > 0) {
    std::vector<llama_token_data> data;
    data.reserve(kept.size());
    for (const auto& [token, logit] : kept) data.push_back({token, logit, 0.0F});
    llama_token_data_array array{data.data(), data.size(), -1, /*sorted=*/true};
    llama_sampler_apply(sorted_cut_.get(), &array);
    kept.resize(array.size);
  }
  for (Scored& item : kept) item.score /= options_.temperature;
  return kept;
}

/// Of the 64 best tokens those that only the loosened truncation leaves, with final scores.
std::vector<Scored> TokenDistribution::beyond(const ScoreRow& row,
                                              std::span<const Scored> kept) const {
  std::vector<Scored> best = row.largest(kDraftCandidates);
  if (options_.top_k > 0) {
    best.resize(std::min(best.size(), 2 * static_cast<std::size_t>(options_.top_k)));
  }
  const auto top = static_cast<double>(row.top());
  if (options_.top_p < 1.0F) {
    double sum = 0.0;
    for (const Scored& item : best) sum += std::exp(static_cast<double>(item.score) - top);
    const double wanted = sum * 0.5 * (1.0 + static_cast<double>(options_.top_p));
    double covered = 0.0;
    std::size_t n = 0;
    while (n < best.size() && covered < wanted) {
      covered += std::exp(static_cast<double>(best[n++].score) - top);
    }
    best.resize(std::max<std::size_t>(n, 1));
  }
  if (options_.min_p > 0.0F) {
    const double least = top + std::log(0.5 * static_cast<double>(options_.min_p));
    std::erase_if(best,
                  [least](const Scored& item) { return static_cast<double>(item.score) < least; });
  }
  for (Scored& item : best) item.score /= options_.temperature;
  // Few of many kept tokens are as good as those: only they are compared one by one.
  std::vector<Token> known;
  for (const Scored& item : kept) {
    if (!best.empty() && item.score >= best.back().score) known.push_back(item.token);
  }
  std::erase_if(best,
                [&](const Scored& item) { return std::ranges::count(known, item.token) > 0; });
  return best;
}

}  // namespace specbranch::llama
