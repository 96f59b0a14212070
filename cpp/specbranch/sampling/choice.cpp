#include "specbranch/sampling/choice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

constexpr double kMinusInf = -std::numeric_limits<double>::infinity();

[[noreturn]] void refuse_nan(std::size_t token) {
  throw DecodeError("[choose] the score of token " + std::to_string(token) +
                    " is not a number; the model's weights or its input are damaged");
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

/// Which tokens can still win, by how far their score lies below the largest one.
///
/// A token d below the largest score wins only if its noise exceeds best - top + d. The probability
/// falls exponentially with d. So we compare the random bits with a precomputed threshold, and skip
/// the logarithms of most tokens.
class Bound {
 public:
  explicit Bound(float top) : top_(top) {}

  /// `best`: the value to be beaten from now on.
  void raise(double best) {
    for (std::size_t i = 0; i < needed_.size(); ++i) {
      needed_[i] = PositionNoise::bits_needed(best - top_ + static_cast<double>(i));
    }
  }

  bool excludes(float score, std::uint64_t bits) const {
    // Not a number, of two infinite scores: nothing is excluded.
    const double below = top_ - static_cast<double>(score);
    const std::size_t step = below > 0.0 ? static_cast<std::size_t>(std::min(below, kLast)) : 0;
    return bits < needed_[step];
  }

 private:
  // Noise of 21 reaches the margin of `bits_needed`: much farther below nothing more is excluded.
  static constexpr double kLast = 24.0;

  double top_;
  std::array<std::uint64_t, 25> needed_{};  ///< for scores that far below the top, rounded down.
};

/// The largest finite score; throws on NaN. -inf if there is none.
float largest(std::span<const float> scores) {
  float best = -std::numeric_limits<float>::infinity();
  bool nan = false;
  for (const float score : scores) {
    nan |= score != score;
    best = score > best ? score : best;
  }
  if (nan) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (std::isnan(scores[i])) refuse_nan(i);
    }
  }
  return best;
}

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

Token choose_dense(std::span<const float> scores, const PositionNoise* noise) {
  const float top = largest(scores);
  if (top == -std::numeric_limits<float>::infinity()) return -1;
  Best best;
  if (noise == nullptr) {
    const auto it = std::find(scores.begin(), scores.end(), top);
    return static_cast<Token>(it - scores.begin());
  }
  // Begin with the most probable token; the bound rises with every better one.
  const auto first =
      static_cast<Token>(std::find(scores.begin(), scores.end(), top) - scores.begin());
  best.offer(static_cast<double>(top) + noise->gumbel(first), first);
  Bound bound(top);
  bound.raise(best.value);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto token = static_cast<Token>(i);
    const std::uint64_t bits = noise->bits(token);
    if (bound.excludes(scores[i], bits)) continue;
    if (scores[i] == -std::numeric_limits<float>::infinity()) continue;
    const double value = static_cast<double>(scores[i]) + PositionNoise::from_bits(bits);
    if (best.offer(value, token)) bound.raise(best.value);
  }
  return best.token;
}

std::vector<Scored> top_scores(std::span<const float> scores, int k) {
  // A heap whose front is the worst of the best k.
  const auto better = [](const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.token < b.token);
  };
  std::vector<Scored> heap;
  if (k <= 0) return heap;
  const auto wanted = std::min(static_cast<std::size_t>(k), scores.size());
  heap.reserve(wanted);
  std::size_t i = 0;
  for (; i < wanted; ++i) heap.push_back({static_cast<Token>(i), scores[i]});
  std::make_heap(heap.begin(), heap.end(), better);
  for (; i < scores.size(); ++i) {
    // Ids grow, so an equal score never displaces.
    if (scores[i] <= heap.front().score) continue;
    std::pop_heap(heap.begin(), heap.end(), better);
    heap.back() = {static_cast<Token>(i), scores[i]};
    std::push_heap(heap.begin(), heap.end(), better);
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

std::vector<Candidate> rank(std::span<const Scored> scored, const PositionNoise* noise, int k) {
  std::vector<Scored> best;
  best.reserve(scored.size());
  for (const Scored& item : scored) {
    if (std::isnan(item.score)) refuse_nan(static_cast<std::size_t>(item.token));
    if (item.score != -std::numeric_limits<float>::infinity()) best.push_back(item);
  }
  const auto by_score = [](const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.token < b.token);
  };
  if (best.size() > kDraftCandidates) {
    std::nth_element(best.begin(), best.begin() + kDraftCandidates, best.end(), by_score);
    best.resize(kDraftCandidates);
  }
  std::vector<Candidate> ranked;
  ranked.reserve(best.size());
  for (const auto& [token, score] : best) {
    const double value =
        noise != nullptr ? static_cast<double>(score) + noise->gumbel(token) : score;
    ranked.push_back({token, value});
  }
  std::sort(ranked.begin(), ranked.end(), [](const Candidate& a, const Candidate& b) {
    return a.confidence > b.confidence || (a.confidence == b.confidence && a.token < b.token);
  });
  if (ranked.empty()) return ranked;
  const double top = ranked.front().confidence;
  double sum = 0.0;
  for (Candidate& candidate : ranked) {
    candidate.confidence = std::exp(candidate.confidence - top);
    sum += candidate.confidence;
  }
  if (static_cast<std::size_t>(std::max(k, 0)) < ranked.size()) {
    ranked.resize(static_cast<std::size_t>(std::max(k, 0)));
  }
  for (Candidate& candidate : ranked) candidate.confidence /= sum;
  return ranked;
}

double log_softmax_at(std::span<const float> scores, Token token) {
  const double top = largest(scores);
  double sum = 0.0;
  for (const float score : scores) sum += std::exp(static_cast<double>(score) - top);
  return static_cast<double>(scores[static_cast<std::size_t>(token)]) - top - std::log(sum);
}

}  // namespace specbranch
