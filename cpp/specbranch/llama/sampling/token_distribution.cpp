#include "specbranch/llama/sampling/token_distribution.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/sampling/logit_adjustments.h"
#include "specbranch/llama/sampling/sampler.h"

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

std::shared_ptr<const DryPenalty> make_dry_of(const SamplerPlan& plan,
                                              const SamplingOptions& options, DryFactory* dry) {
  const auto is_dry = [](SamplerKind kind) { return kind == SamplerKind::kDry; };
  if (std::ranges::none_of(plan.adjustments, is_dry) && std::ranges::none_of(plan.rest, is_dry)) {
    return nullptr;
  }
  if (dry == nullptr) throw PreconditionError("[TokenDistribution] DRY needs a vocabulary");
  return dry->make(options);
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
    if (score == kImpossible || std::isnan(score)) continue;
    values.push_back({token, static_cast<double>(score) + noise.gumbel(token) + added});
  }
  return values;
}

KeptTokens listed(const std::vector<Scored>& tokens, bool sorted) {
  KeptTokens kept;
  kept.sorted = sorted;
  kept.items.reserve(tokens.size());
  for (const auto& [token, logit] : tokens) {
    kept.items.push_back({token, logit == kImpossible ? logit : bounded_logit(logit), 0.0F});
  }
  return kept;
}

std::vector<Scored> scored(const KeptTokens& kept) {
  std::vector<Scored> result;
  result.reserve(kept.items.size());
  for (const llama_token_data& item : kept.items) result.push_back({item.id, item.logit});
  return result;
}

void sort_best(std::vector<Perturbed>& values, std::size_t n) {
  const auto end = values.begin() + static_cast<std::ptrdiff_t>(std::min(n, values.size()));
  std::partial_sort(values.begin(), end, values.end(), BetterValue{});
  values.erase(end, values.end());
}

}  // namespace

TokenDistribution::TokenDistribution(const SamplingOptions& options, DryFactory* dry,
                                     EarlyEnds early)
    : plan_(plan_samplers(options)),
      options_(without_idle(options, plan_)),
      early_(std::move(early)),
      sorted_cut_(make_sorted_cut(options_)),
      dry_(make_dry_of(plan_, options, dry)),
      initial_(initial_state(options)) {
  if (plan_.quick) return;
  samplers_ =
      make_samplers(plan_.rest, options, dry_, dry == nullptr ? nullptr : &dry->vocabulary());
  if (plan_.mirostat) samplers_.push_back(make_mirostat(options));
}

TokenDistribution::~TokenDistribution() = default;
TokenDistribution::TokenDistribution(TokenDistribution&& other) noexcept = default;
TokenDistribution& TokenDistribution::operator=(TokenDistribution&& other) noexcept = default;

bool TokenDistribution::truncates() const {
  return options_.top_k > 0 || options_.top_p < 1.0F || options_.min_p > 0.0F;
}

LogitAdjustments TokenDistribution::adjusted(std::span<float> logits,
                                             std::span<const Token> history, Pos n_skipped) const {
  const Pos pos = n_skipped + static_cast<Pos>(history.size());
  return {logits, options_, plan_.adjustments, dry_.get(), history, counts_, early_.at(pos)};
}

Token TokenDistribution::choose(std::span<float> logits, std::span<const Token> history,
                                SamplerState& state) const {
  const LogitAdjustments adjustments = adjusted(logits, history);
  const ScoreRow row = checked_row(logits);
  // top-k, top-p and min-p always keep the most probable token.
  if (plan_.quick && plan_.greedy) return row.best();
  const PositionNoise noise(options_.seed, static_cast<Pos>(history.size()));
  if (!plan_.quick) return choose_filtered(row, {history, noise, state, row.scores()}, state);
  if (!truncates()) return choose_dense(row, options_.temperature, &noise);
  const std::vector<Scored> kept = truncate(row, SoftmaxSum::kExact);
  const auto index = specbranch::choose(kept, &noise);
  return index < 0 ? -1 : kept[static_cast<std::size_t>(index)].token;
}

Token TokenDistribution::choose_filtered(const ScoreRow& row, const ChoicePoint& point,
                                         SamplerState& state) const {
  if (row.top() == kImpossible) return -1;
  const KeptTokens kept = filter(row, point);
  const auto index = specbranch::choose(scored(kept), plan_.greedy ? nullptr : &point.noise);
  if (index < 0) return -1;
  const auto chosen = static_cast<std::size_t>(index);
  if (!samplers_.empty()) state = samplers_.back()->after(kept, chosen, point);
  return kept.items[chosen].id;
}

std::vector<Candidate> TokenDistribution::rank(std::span<float> logits,
                                               std::span<const Token> history,
                                               const RankOptions& options, SoftmaxSum sum,
                                               Pos n_skipped) const {
  const LogitAdjustments adjustments = adjusted(logits, history, n_skipped);
  const ScoreRow row = checked_row(logits);
  if (plan_.quick && plan_.greedy) {
    return specbranch::rank(row.largest(kDraftCandidates), nullptr, options.k);
  }
  const PositionNoise noise(options_.seed, n_skipped + static_cast<Pos>(history.size()));
  if (!plan_.quick) {
    const SamplerState state = options.state.value_or(initial_);
    return rank_filtered(row, {history, noise, state, row.scores()}, options);
  }
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

std::vector<Candidate> TokenDistribution::rank_filtered(const ScoreRow& row,
                                                        const ChoicePoint& point,
                                                        const RankOptions& options) const {
  if (row.top() == kImpossible) return {};
  const std::vector<Scored> kept = scored(filter(row, point));
  if (plan_.greedy) return specbranch::rank(kept, nullptr, options.k);
  std::vector<Perturbed> ranked = perturb(kept, point.noise, 0.0);
  sort_best(ranked, kDraftCandidates);
  return with_confidences(ranked, options.k);
}

std::vector<Scored> TokenDistribution::candidates(std::span<float> logits,
                                                  std::span<const Token> history) const {
  const LogitAdjustments adjustments = adjusted(logits, history);
  const ScoreRow row(logits);
  if (plan_.quick) return truncate(row, SoftmaxSum::kExact);
  const PositionNoise noise(options_.seed, static_cast<Pos>(history.size()));
  return scored(filter(row, {history, noise, initial_, row.scores()}));
}

KeptTokens TokenDistribution::filter(const ScoreRow& row, const ChoicePoint& point) const {
  // A quick way of the first sampler makes the list short at once.
  const auto starts_with = [this](SamplerKind kind) {
    const bool is_quick = kind == SamplerKind::kTopK || options_.min_keep <= 1;
    return is_quick && !plan_.rest.empty() && plan_.rest.front() == kind;
  };
  KeptTokens kept;
  std::size_t next = 1;
  if (starts_with(SamplerKind::kTopK)) {
    kept = listed(row.largest(options_.top_k), /*sorted=*/true);
  } else if (starts_with(SamplerKind::kTopP)) {
    kept = listed(keep_top_p(row, options_.top_p), /*sorted=*/true);
  } else if (starts_with(SamplerKind::kMinP)) {
    kept = listed(keep_min_p(row, options_.min_p), /*sorted=*/false);
  } else {
    kept = listed(row.at_least(kImpossible), /*sorted=*/false);
    next = 0;
  }
  for (; next < samplers_.size(); ++next) samplers_[next]->apply(kept, point);
  return kept;
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
