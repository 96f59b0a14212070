#include "specbranch/sampling/choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

constexpr double kMinusInf = -std::numeric_limits<double>::infinity();

[[noreturn]] void refuse_nan(std::size_t token) {
  throw DecodeError("[choose] the score of token " + std::to_string(token) + " is not a number");
}

/// The best so far; the lowest token wins a tie.
struct Best {
  double value = kMinusInf;
  Token token = -1;

  bool offer(double candidate, Token id) {
    if (candidate < value || (candidate == value && (token >= 0 && id > token))) return false;
    value = candidate;
    token = id;
    return true;
  }
};

}  // namespace

std::int64_t choose(std::span<const Scored> scored, const PositionNoise* noise) {
  Best best;
  std::int64_t index = -1;
  for (std::size_t i = 0; i < scored.size(); ++i) {
    const auto& [token, score] = scored[i];
    if (std::isnan(score)) refuse_nan(static_cast<std::size_t>(token));
    if (score == -std::numeric_limits<float>::infinity()) continue;
    const double value =
        noise != nullptr ? static_cast<double>(score) + noise->gumbel(token) : score;
    if (best.offer(value, token)) index = static_cast<std::int64_t>(i);
  }
  return index;
}

Token choose_dense(const ScoreRow& row, float temperature, const PositionNoise* noise) {
  if (noise == nullptr) return row.best();
  const std::vector<Perturbed> best = perturbed_top(row, temperature, *noise, 1);
  return best.empty() ? -1 : best.front().token;
}

std::vector<Candidate> with_confidences(std::span<const Perturbed> ranked, int k) {
  if (ranked.empty()) return {};
  const double top = ranked.front().value;
  double sum = 0.0;
  for (const Perturbed& item : ranked) sum += std::exp(item.value - top);
  std::vector<Candidate> candidates;
  const std::size_t n = std::min(ranked.size(), static_cast<std::size_t>(std::max(k, 0)));
  candidates.reserve(n);
  for (const auto& [token, value] : ranked.first(n)) {
    candidates.push_back({token, std::exp(value - top) / sum});
  }
  return candidates;
}

std::vector<Candidate> rank(std::span<const Scored> scored, const PositionNoise* noise, int k) {
  std::vector<Scored> best;
  best.reserve(scored.size());
  for (const Scored& item : scored) {
    if (std::isnan(item.score)) refuse_nan(static_cast<std::size_t>(item.token));
    if (item.score != -std::numeric_limits<float>::infinity()) best.push_back(item);
  }
  if (best.size() > kDraftCandidates) {
    std::ranges::nth_element(best, best.begin() + kDraftCandidates, BetterScore{});
    best.resize(kDraftCandidates);
  }
  std::vector<Perturbed> ranked;
  ranked.reserve(best.size());
  for (const auto& [token, score] : best) {
    const double value =
        noise != nullptr ? static_cast<double>(score) + noise->gumbel(token) : score;
    ranked.push_back({token, value});
  }
  std::ranges::sort(ranked, BetterValue{});
  return with_confidences(ranked, k);
}

double log_softmax_at(std::span<const float> scores, Token token) {
  const double top = ScoreRow(scores).top();
  double sum = 0.0;
  for (const float score : scores) sum += std::exp(static_cast<double>(score) - top);
  return static_cast<double>(scores[static_cast<std::size_t>(token)]) - top - std::log(sum);
}

}  // namespace specbranch
