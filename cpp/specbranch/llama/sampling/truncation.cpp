#include "specbranch/llama/sampling/truncation.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

namespace specbranch::llama {
namespace {

constexpr std::size_t kFirstSorted = 512;

float largest(std::span<const float> logits) {
  float best = -FLT_MAX;
  for (const float logit : logits) best = logit > best ? logit : best;
  return best;
}

/// sum(exp(score - top)) with every rounding of llama.cpp's loop, in order of id. A term below
/// 2^-25 of the sum so far cannot change a float sum, so its exponential is not computed.
float softmax_sum(std::span<const float> logits, float top) {
  constexpr float kNegligible = -17.5F;  // less than log(2^-25)
  float sum = 0.0F;
  float needed = -FLT_MAX;  // a lower bound for the terms that count; rises with the sum
  float next_update = 1e-6F;
  for (const float logit : logits) {
    const float x = logit - top;
    if (x < needed) continue;
    sum += std::exp(x);
    if (sum >= next_update) {
      needed = std::log(sum) + kNegligible;
      next_update = sum * 1.5F;
    }
  }
  return sum;
}

/// Tokens with a logit of at least `least`, in order of id.
std::vector<Scored> at_least(std::span<const float> logits, float least) {
  std::vector<Scored> kept;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= least) kept.push_back({static_cast<Token>(i), logits[i]});
  }
  return kept;
}

/// Sorts as many of `kept` as the nucleus needs and cuts off the others; false when it needs more
/// than there are (`kept` is then sorted).
bool cut_to_nucleus(std::vector<Scored>& kept, float top, float sum, float p) {
  const auto better = [](const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.token < b.token);
  };
  float covered = 0.0F;
  std::size_t n_sorted = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (i == n_sorted) {
      // Most nuclei are small: sort a few, and all if that was not enough.
      n_sorted = i == 0 ? std::min(kept.size(), kFirstSorted) : kept.size();
      const auto first = kept.begin() + static_cast<std::ptrdiff_t>(i);
      const auto last = kept.begin() + static_cast<std::ptrdiff_t>(n_sorted);
      if (last != kept.end()) std::nth_element(first, last, kept.end(), better);
      std::sort(first, last, better);
    }
    covered += std::exp(kept[i].score - top) / sum;
    if (covered >= p) {
      kept.resize(i + 1);
      return true;
    }
  }
  return false;
}

}  // namespace

std::vector<Scored> keep_top_p(std::span<const float> logits, float p) {
  const float top = largest(logits);
  const float sum = softmax_sum(logits, top);
  // All tokens below `least` together weigh less than 1 - p, so the nucleus lies above it; only
  // rounding can make it reach further down.
  const float least = top + std::log((1.0F - p) * sum / static_cast<float>(logits.size()));
  std::vector<Scored> kept = at_least(logits, least);
  if (!cut_to_nucleus(kept, top, sum, p) && kept.size() < logits.size()) {
    kept = at_least(logits, -std::numeric_limits<float>::infinity());
    cut_to_nucleus(kept, top, sum, p);
  }
  return kept;
}

std::vector<Scored> keep_min_p(std::span<const float> logits, float p) {
  return at_least(logits, largest(logits) + std::log(p));
}

}  // namespace specbranch::llama
